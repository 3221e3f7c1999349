"""The comparison with PyTorch, without PyTorch: options, settings, times and ratios."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest
from scripts import ROOT

from sagan_jax.errors import UserError


@pytest.fixture
def program(monkeypatch):
    """Returns a function that imports a file of benchmarks/, as a script would."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def against(program):
    return program("against_pytorch")


@pytest.fixture
def launched(program):
    return program("launched_run")


REQUIRED = ["--preset=imagenet128", "--torch_python=python"]


def test_config_flags_become_changes(against):
    options = against.parsed(
        [*REQUIRED, "--config.model.width=8", "--config.optim.schedule=linear"]
    )
    assert options.changes == {"model.width": "8", "optim.schedule": "linear"}


@pytest.mark.parametrize("argument", ["--config.width=8", "--round=1", "more"])
def test_an_unknown_argument_is_refused(against, argument, capsys):
    with pytest.raises(SystemExit):
        against.parsed([*REQUIRED, argument])
    assert f"{argument!r} is not an option" in capsys.readouterr().err


def test_a_number_of_rounds_is_at_least_one(against, capsys):
    with pytest.raises(SystemExit):
        against.parsed([*REQUIRED, "--rounds=0"])
    assert "--rounds" in capsys.readouterr().err


def test_changes_are_parsed_as_the_type_of_the_field(against):
    changes = {
        "model.width": "8",
        "model.attention_resolutions": "16,64",
        "model.stop_gradient_uv": "True",
        "optim.beta2": "0.9",
    }
    config = against.configured(against.PRESETS["imagenet128"], changes)
    assert config.model.width == 8
    assert config.model.attention_resolutions == (16, 64)
    assert config.model.stop_gradient_uv is True
    assert config.optim.beta2 == 0.9


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model.depth": "8"}, "config.model.depth does not exist"),
        ({"model.width": "wide"}, "config.model.width='wide' is not supported"),
        ({"model.stop_gradient_uv": "maybe"}, "pass a value of type bool"),
    ],
)
def test_a_wrong_change_is_refused(against, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        against.configured(against.PRESETS["imagenet128"], changes)


@pytest.mark.parametrize("preset", ["imagenet128", "cifar10", "cifar10_64"])
def test_presets_have_width_64_and_the_classes_of_the_synthetic_images(against, preset):
    settings = against.torch_settings(against.configured(against.PRESETS[preset]))
    assert settings["num_classes"] == 4
    assert settings["first"] == (256 if preset == "cifar10" else 1024)
    assert settings["batch_size"] == (8 if preset == "imagenet128" else 16)
    assert settings["d_steps"] == 1


def test_the_blocks_of_pytorch_are_those_of_the_config(against):
    config = against.configured(against.PRESETS["quickstart"])
    settings = against.torch_settings(config)
    assert settings["generator"] == [
        {"features": 64, "resample": "up", "attention": ""},
        {"features": 32, "resample": "up", "attention": "attention16"},
        {"features": 16, "resample": "up", "attention": ""},
    ]
    assert [block["resample"] for block in settings["discriminator"]] == [
        *("down", "down", "", "")
    ]
    assert json.loads(json.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("train.order", "generator_first"), ("model.batch_norm_group_size", 4)],
)
def test_a_config_that_pytorch_s_side_lacks_is_refused(against, name, value):
    config = against.configured(against.PRESETS["imagenet128"], {name: value})
    with pytest.raises(UserError, match=f"{name}={value!r} is not supported"):
        against.torch_settings(config)


def test_an_interpreter_without_torch_is_refused(against, tmp_path):
    # An empty module of this name keeps the test true where torch is installed.
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(UserError, match=r"cannot import PyTorch \(.*no torch here\)"):
        against.main(["--preset=quickstart", f"--torch_python={python}"])
    with pytest.raises(UserError, match="cannot import PyTorch"):
        against.check_torch(str(tmp_path / "missing"))


def measured(wall, cpu):
    figures = {"wall": wall, "cpu": cpu, "page_faults": [0.0], "peak_rss_gb": 1.0}
    return {**figures, "first_step": 1.0}


def test_ratios_are_paired_within_a_round(against):
    # A machine twice as slow in the second round changes no ratio.
    rounds = [
        {
            "ours": measured([2.0 * slow, 2.0 * slow, 90.0], [4.0 * slow]),
            "contiguous": measured([3.0 * slow], [5.0 * slow]),
            "channels_last": measured([2.5 * slow], [6.0 * slow, 10.0 * slow]),
            "contiguous+memory": measured([1.0 * slow], [1.0 * slow]),
        }
        for slow in (1, 2)
    ]
    found = against.summary(rounds)
    ratios = found["ratios"]
    assert ratios["contiguous"]["wall"] == {
        **{"min": 1.5, "median": 1.5, "max": 1.5},
        "rounds": [1.5, 1.5],
    }
    assert ratios["channels_last"]["cpu"]["median"] == 2.0
    assert found["best"] == "channels_last"
    assert found["best_with_memory_setting"] == "contiguous+memory"
    assert found["sides"]["ours"]["wall"] == [2.0, 4.0]


def test_ratios_have_a_minimum_a_median_and_a_maximum(against):
    rounds = [
        {"ours": measured([1.0], [1.0]), "contiguous": measured([wall], [1.0])}
        for wall in (3.0, 1.0, 1.5)
    ]
    spread = against.summary(rounds)["ratios"]["contiguous"]["wall"]
    assert spread == {"min": 1.0, "median": 1.5, "max": 3.0, "rounds": [3.0, 1.0, 1.5]}


def test_times_per_step_start_after_the_warm_up(launched):
    lines = "".join(
        json.dumps({"step": step, "time": at, "loss/generator": 0.0}) + "\n"
        for step, at in ((1, 50.0), (3, 60.0), (4, 61.5), (6, 65.5))
    )
    usages = [(9.0, 900), (10.0, 1000), (13.0, 1004), (20.0, 1004)]
    moments = [
        launched.Moment(step, at, launched.Usage(*used))
        for (step, at), used in zip(launched.read_times(lines), usages, strict=True)
    ]
    assert launched.per_step(moments, warm_up=3) == {
        "wall": [1.5, 2.0],
        "cpu": [3.0, 3.5],
        "page_faults": [4.0, 0.0],
    }
    with pytest.raises(ValueError, match="1 lines after step 6"):
        launched.per_step(moments, warm_up=6)


def test_the_cpu_time_of_a_process_is_read_from_outside(launched):
    used = "import time\nwhile time.process_time() < 0.3: pass\ninput()"
    process = subprocess.Popen([sys.executable, "-c", used], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while launched.usage(process.pid).cpu < 0.25:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found = launched.usage(process.pid)
        assert found.cpu < 2
        assert found.page_faults > 100  # of the interpreter's start
        assert 0.001 < launched.peak_rss_gb(process.pid) < 1
    finally:
        process.communicate(b"\n")


LAUNCH = """
import pathlib, sys, time
print(" ".join(sys.argv))
if "fail" in sys.argv:
    raise SystemExit(1)
workdir = pathlib.Path(sys.argv[-1])
workdir.mkdir()
with open(workdir / "metrics.jsonl", "a") as file:
    for step in range(1, 1000):
        end = time.process_time() + 0.1
        while time.process_time() < end:
            pass
        file.write('{"step": %d, "time": %.3f}\\n' % (step, time.time()))
        file.flush()
"""


@pytest.fixture
def launch(launched, tmp_path, monkeypatch):
    """Puts a program in the place of launch.py that works 0.1 s per step."""
    (tmp_path / "launch.py").write_text(LAUNCH)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(launched, "ROOT", tmp_path)
    monkeypatch.setattr(launched.tempfile, "tempdir", str(tmp_path / "scratch"))
    return tmp_path


def test_a_run_is_timed_then_killed_and_its_workdir_removed(launched, launch):
    found = launched.timed([], steps=3, warm_up=1)
    assert len(found["wall"]) == len(found["cpu"]) == 3
    assert min(found["wall"]) > 0.09
    assert 0.2 < sum(found["cpu"]) < 0.5  # three steps, at ticks of 10 ms
    assert found["first_step"] > 0.1
    assert list((launch / "scratch").iterdir()) == []


def test_a_run_that_ends_early_is_reported_with_its_output(launched, launch):
    with pytest.raises(RuntimeError, match=r"(?s)early.*fail .*train.log_every=5"):
        launched.timed(["fail"], steps=5, warm_up=5, log_every=5)


@pytest.mark.parametrize("preset", ["imagenet128", "cifar10", "cifar10_64"])
def test_the_fields_of_a_timed_run_are_fields_of_a_config(against, launched, preset):
    fields = launched.QUIET | {"train.log_every": 1}
    config = against.configured(against.PRESETS[preset], fields)
    assert config.train.sample_every > config.train.steps


@pytest.mark.slow
def test_our_step_equals_pytorch_s(program):
    """Run with TORCH_PYTHON=PYTHON, an interpreter that has torch, and -m slow."""
    python = os.environ.get("TORCH_PYTHON", sys.executable)
    if python == sys.executable and not importlib.util.find_spec("torch"):
        pytest.skip("this interpreter has no torch, and TORCH_PYTHON is not set")
    parity = program("pytorch_parity")
    for case in ("quickstart", "cifar10"):
        worst = parity.differences(case, "float64", python)
        assert max(worst.values()) <= parity.TOLERANCES["float64"], case
