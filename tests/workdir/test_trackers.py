"""Trackers get what metrics.jsonl and samples/ have, and can neither stop nor delay."""

import importlib
import json
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagan_jax.config import CHOICES, Config
from sagan_jax.pictures import grid
from sagan_jax.workdir import tracker_clients, trackers
from sagan_jax.workdir.run import Run
from sagan_jax.workdir.telemetry import Telemetry

# Records each call of the API that wandb and trackio share.
FAKE = """
    calls = []
    offline = True
    url = "https://user:password@host/run"
    dir = "/somewhere/offline-run/files"

    def login(prompt=True):
        calls.append(("login", prompt))
        return False

    def Settings(**fields):
        return fields

    def init(**fields):
        calls.append(("init", fields))
        return Run()

    def Image(path):
        with open(path, "rb") as file:
            return file.read()

    class Run:
        offline, url, dir = offline, url, dir

        def __init__(self):
            self.config = self

        def __getattr__(self, name):
            def called(*args, **fields):
                calls.append((name, args, fields))
            return called
"""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that installs fake modules, with code that is added."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)

    def install(name: str, more: str = "") -> None:
        code = textwrap.dedent(FAKE) + textwrap.dedent(more)
        (folder / f"{name}.py").write_text(code)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)

    return install


def _run(workdir: Path, *names: str) -> Run:
    config = Config()
    config.train.trackers = names
    return Run(workdir, config)


def _train(run: Run, start: int, *steps: int, value: float = 0.5) -> None:
    """Reports as a run does: numbers and sheets of steps, and a score."""
    with Telemetry(run, start=start) as report:
        for step in steps:
            scalars = {"loss/discriminator": value * step, "loss/generator": -value}
            report.log(step, scalars | {"images_per_second": 7.0})
            picture = np.full((4, 6, 3), step, np.uint8)
            path = run.samples / f"step_{step:08d}.png"
            grid.save_png(picture, path)
            report.show(step, "samples", path)
        report.log_scores(steps[-1], {"evaluation/fid": value, "evaluation/n": 5})


def _lines(run: Run) -> dict[int, dict[str, float]]:
    """Returns the numbers of metrics.jsonl by step."""
    lines = [json.loads(text) for text in run.metrics.read_text().splitlines()]
    for line in lines:
        del line["time"]
    return {line.pop("step"): line for line in lines}


def _calls(name: str, of: str) -> list[Any]:
    return [call[1:] for call in sys.modules[name].calls if call[0] == of]


def test_the_choices_are_those_of_the_table() -> None:
    assert CHOICES["train.trackers"] == tuple(tracker_clients.CLIENTS)


def test_mlflow_has_the_numbers_and_sheets_of_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    from mlflow import tracking

    run = _run(tmp_path / "mine", "mlflow")
    _train(run, 0, 1, 2, 3, 4)
    _train(run, 2, 3, 4, 5, value=0.25)  # resumed from the checkpoint of step 2
    client = tracking.MlflowClient()
    experiment = client.get_experiment_by_name("sagan_jax")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("mine", "FINISHED")
    assert found.data.params["optim.beta2"] == "0.999"
    assert found.data.params["data.path"] == ""
    history: dict[int, dict[str, float]] = {}
    for name in found.data.metrics:
        for metric in client.get_metric_history(found.info.run_id, name):
            history.setdefault(metric.step, {})[name] = metric.value  # the last wins
    assert history[4].pop("evaluation/fid") == 0.5
    assert history[5].pop("evaluation/fid") == 0.25
    assert history == _lines(run)
    for path in run.samples.iterdir():
        local = client.download_artifacts(found.info.run_id, f"samples/{path.name}")
        assert Path(local).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_each_step_reaches_the_same_run_after_a_resume(
    tmp_path: Path, fakes: Any, name: str
) -> None:
    fakes(name)
    run = _run(tmp_path / "mine", name)
    _train(run, 0, 1, 2)
    _train(run, 2, 3)
    first, second = (fields for (fields,) in _calls(name, "init"))
    assert first == second
    assert first["project"] == "sagan_jax"
    assert first["resume"] == "allow"
    kept = json.loads(run.trackers.read_text())
    assert kept.keys() == {"id"}
    assert kept["id"][:8] in (first.get("id") or first["name"])[-16:]
    history: dict[int, dict[str, float]] = {}
    pictures: dict[int, bytes] = {}
    for (values,), fields in _calls(name, "log"):
        step = values.pop("step", None) or fields["step"]
        if "samples" in values:
            pictures[step] = values["samples"]
        else:
            history.setdefault(step, {}).update(values)
    assert [history[step].pop("evaluation/fid") for step in (2, 3)] == [0.5, 0.5]
    assert history == _lines(run)
    assert pictures == {
        step: (run.samples / f"step_{step:08d}.png").read_bytes() for step in (1, 2, 3)
    }


def test_wandb_is_offline_rather_than_to_ask_for_a_key(
    tmp_path: Path, fakes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes("wandb")
    _train(_run(tmp_path / "mine", "wandb"), 0, 1)
    assert _calls("wandb", "login") == [(False,)]
    ((fields,),) = _calls("wandb", "init")
    assert fields["mode"] == "offline"
    shown = capsys.readouterr().out
    assert "offline; upload with: wandb sync /somewhere/offline-run\n" in shown


def test_wandb_with_a_key_is_online_and_no_password_is_shown(
    tmp_path: Path, fakes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes("wandb", "def login(prompt): return True\nRun.offline = False")
    _train(_run(tmp_path / "mine", "wandb"), 0, 1)
    ((fields,),) = _calls("wandb", "init")
    assert fields["mode"] is None
    assert "wandb: https://host/run\n" in capsys.readouterr().out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_null_in_metrics_is_left_out(
    tmp_path: Path, fakes: Any, value: float
) -> None:
    fakes("trackio")
    run = _run(tmp_path / "mine", "trackio")
    _train(run, 0, 1, value=value)
    (values,), _ = _calls("trackio", "log")[0]
    assert values == {"images_per_second": 7.0}
    assert _lines(run)[1] == values | {
        "loss/discriminator": None,
        "loss/generator": None,
    }


def test_a_tracker_that_raises_is_reported_once_and_tried_again(
    tmp_path: Path, fakes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = """
    def log(self, values, step):
        calls.append(("log", step))
        raise OSError("https://me:secret@host is down\\nand more")
    Run.log = log
    """
    fakes("trackio", failing)
    run = _run(tmp_path / "mine", "trackio")
    _train(run, 0, 1, 2, 3)
    assert len(_calls("trackio", "log")) == 7
    shown = capsys.readouterr().out
    expected = "warning: the tracker trackio failed (https://host is down), and misses"
    assert shown.count("warning") == 1
    assert expected in shown
    assert len(_lines(run)) == 3


def test_a_tracker_that_cannot_be_started_is_reported_once(
    tmp_path: Path, fakes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes("wandb", "def init(**fields): raise RuntimeError")
    fakes("trackio")
    run = _run(tmp_path / "mine", "wandb", "trackio", "wandb")
    _train(run, 0, 1, 2)
    shown = capsys.readouterr().out
    assert shown.count("wandb could not be started (RuntimeError)") == 1
    assert len(_calls("trackio", "log")) == 5
    assert len(_lines(run)) == 2


def test_a_tracker_that_hangs_holds_up_neither_steps_nor_the_end(
    tmp_path: Path,
    fakes: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trackers, "LAST_WAIT", 0.2)
    monkeypatch.setattr(trackers, "QUEUED", 4)
    hanging = """
    import threading
    released = threading.Event()
    def log(self, values, step):
        released.wait()
    Run.log = log
    """
    fakes("trackio", hanging)
    run = _run(tmp_path / "mine", "trackio")
    before = time.monotonic()
    _train(run, 0, *range(1, 9))
    # Without threads it would never end; with an unbounded wait, the same.
    assert time.monotonic() - before < 5
    shown = capsys.readouterr().out
    assert shown.count("warning") == 1
    assert "trackio is more than 4 readings behind, and misses some" in shown
    assert len(_lines(run)) == 8
    sys.modules["trackio"].released.set()
    for thread in threading.enumerate():
        if thread.name == "tracker trackio":
            thread.join()


def test_a_tracker_that_is_not_installed_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "wandb" else find(name),
    )
    with Telemetry(_run(tmp_path / "mine", "wandb"), start=0):
        assert capsys.readouterr().out == (
            "train.trackers: wandb is not installed and gets nothing; install it with: "
            "pip install wandb\n"
        )


@pytest.mark.parametrize(("names", "enabled"), [((), True), (("wandb",), False)])
def test_without_trackers_or_in_other_processes_nothing_is_made(
    tmp_path: Path, names: tuple[str, ...], enabled: bool
) -> None:
    run = _run(tmp_path / "mine", *names)
    with Telemetry(run, start=0, enabled=enabled):
        assert not run.trackers.exists()
        assert not [t for t in threading.enumerate() if t.name.startswith("tracker")]
