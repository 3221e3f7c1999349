"""Model folders opened as runs, and folders from elsewhere that are refused."""

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_models
import tiny_runs

import sagan_jax
from sagan_jax import config as config_lib
from sagan_jax import networks
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import tensor_file
from sagan_jax.workdir import model_files, models
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.model_files import DISCRIMINATOR, GENERATOR, LIVE
from sagan_jax.workdir.models import ModelRun

STEP = tiny_models.STEP


@pytest.fixture(autouse=True)
def described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.describe_once(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a model folder with live parameters next to the averaged ones."""
    return tiny_models.folder(tmp_path / "model")


def _opened(folder: Path) -> ModelRun:
    run = models.open_model(folder)
    assert isinstance(run, ModelRun)
    return run


# What a folder gives.


def test_load_returns_the_arrays_of_the_folder_bit_for_bit(folder: Path) -> None:
    generator, variables, config = sagan_jax.load(str(folder))
    assert generator == networks.build(tiny_runs.config().model)[0]
    tiny_models.assert_same(variables, tiny_models.trees()[GENERATOR])
    assert config.model == tiny_runs.config().model


def test_the_live_generator_has_its_own_params_and_u(folder: Path) -> None:
    _, variables, _ = sagan_jax.load(folder, ema=False)
    tiny_models.assert_same(variables, tiny_models.state().generator.variables)


def test_the_discriminator_is_loaded_too(folder: Path) -> None:
    discriminator, variables, step = _opened(folder).load_discriminator()
    assert discriminator == networks.build(tiny_runs.config().model)[1]
    tiny_models.assert_same(variables, tiny_models.trees()[DISCRIMINATOR])
    assert step == STEP


def test_arrays_lie_on_one_device(folder: Path) -> None:
    _, variables, _ = sagan_jax.load(folder)
    assert {x.device for x in jax.tree.leaves(variables)} == {jax.local_devices()[0]}


def test_a_folder_is_a_run_of_one_step(folder: Path) -> None:
    run = _opened(folder)
    assert run.steps() == [STEP]
    assert run.load_generator(str(STEP))[2] == STEP
    with pytest.raises(UserError, match=f"step=3 .*{STEP} alone"):
        run.load_generator(3)


def test_outputs_go_next_to_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = folder.with_name("model-outputs")
    assert _opened(folder).workdir == outputs
    monkeypatch.chdir(folder)
    assert _opened(Path(".")).workdir == outputs


def test_the_digests_are_those_of_the_files(folder: Path) -> None:
    run = _opened(folder)
    assert run.config_digest() == model_files.config_digest(folder)
    notes = tensor_file.read_header(folder / "model.safetensors").notes
    assert run.checkpoint_digest(STEP) == notes["sha256"]


def test_settings_of_evaluation_may_be_changed(folder: Path) -> None:
    run = _opened(folder).with_evaluation({"seed": 5})
    assert isinstance(run, ModelRun)
    assert run.config.evaluation.seed == 5


@pytest.mark.parametrize(
    ("left_out", "note", "ema", "remedy"),
    [(LIVE, "averaged", False, "live=True"), (LIVE, "live", True, "ema=False")],
)
def test_other_parameters_than_the_folder_has_are_refused(
    tmp_path: Path, left_out: str, note: str, ema: bool, remedy: str
) -> None:
    trees = tiny_models.trees()
    del trees[left_out]
    folder = tiny_models.write(tmp_path / "m", trees, parameters=note)
    sagan_jax.load(folder, ema=not ema)
    with pytest.raises(UserError, match=re.escape(remedy)):
        sagan_jax.load(folder, ema=ema)


def test_no_run_is_trained_in_a_folder(folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds a model folder.*another --workdir"):
        run_lib.begin(folder, Config())


def test_a_workdir_is_still_a_workdir(tmp_path: Path) -> None:
    config = tiny_runs.config()
    run_lib.begin(tmp_path, config).record_start(step=0, command="C", images="")
    assert models.open_model(tmp_path) == run_lib.open_run(tmp_path)
    assert models.open_model(tmp_path).config == config


def test_a_readme_alone_makes_no_folder_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("My next run.\n")
    assert run_lib.begin(tmp_path, tiny_runs.config()).steps() == []


@pytest.mark.parametrize("ema", [True, False])
def test_a_folder_of_a_run_without_an_average_has_one_generator(
    tmp_path: Path, ema: bool
) -> None:
    trees = tiny_models.trees()
    del trees[LIVE]
    config = tiny_runs.config(train__ema_decay=0.0)
    folder = tiny_models.write(tmp_path / "m", trees, config, parameters="live")
    tiny_models.assert_same(sagan_jax.load(folder, ema=ema)[1], trees[GENERATOR])


# What a folder leaves out.


def test_a_config_loses_what_belongs_to_one_machine() -> None:
    config = tiny_runs.config(
        data__path="/home/me/cats",
        evaluation__reference="/home/me/real",
        evaluation__held_out="/home/me/other",
        evaluation__weights="/home/me/w.pth",
        train__trackers=("wandb",),
    )
    found = model_files.stripped(config)
    assert "/home" not in config_lib.to_json(found)
    assert (found.train.trackers, found.mesh.devices) == ((), 0)
    assert found.model == config.model
    assert config.data.path == "/home/me/cats"


def test_every_text_in_a_config_is_dropped_or_kept_on_purpose() -> None:
    # A new field that names a file or a person belongs into PLACES.
    kept = {"name", "data.dataset", "data.split", "evaluation.metrics"}
    kept |= {"evaluation.tap", *config_lib.CHOICES} - {"evaluation.encoder"}
    texts = {n for n, value, _ in config_lib.fields_of(Config()) if value == str(value)}
    assert texts - kept == set(model_files.PLACES)


def test_paths_of_another_machine_are_dropped_when_a_folder_is_read(
    folder: Path,
) -> None:
    _change(folder, "data", path="/etc")
    assert model_files.read_config(folder).data.path == ""


# What is refused.


def _change(folder: Path, group: str, **values: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config[group] |= values
    path.write_text(json.dumps(config))


def _refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        models.load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 2000
    return message


def test_other_shapes_are_named_by_leaf_with_both_shapes(folder: Path) -> None:
    _change(folder, "model", latent_dim=24)
    assert "generator.params.dense.kernel is F32 [16, 128] there and F32 [24, 128]" in (
        _refusal(folder)
    )


def _without(trees: dict[str, Any]) -> None:
    del trees[DISCRIMINATOR]["spectral"]["dense"]


def _with_more(trees: dict[str, Any]) -> None:
    trees[GENERATOR]["params"]["extra"] = np.zeros(2, np.float32)


def _of_many_axes(trees: dict[str, Any]) -> None:
    dense = trees[GENERATOR]["params"]["dense"]
    dense["kernel"] = dense["kernel"].reshape((16, 128) + (1,) * 60)


def _wider(trees: dict[str, Any]) -> None:
    dense = trees[GENERATOR]["params"]["dense"]
    dense["kernel"] = dense["kernel"].astype(np.float64)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_without, "discriminator.spectral.dense.u is missing"),
        (_with_more, "'generator.params.extra' is no array"),
        (_of_many_axes, "generator.params.dense.kernel is F32 [16, 128, 1, 1"),
        (_wider, "generator.params.dense.kernel is F64 [16, 128] there and F32"),
    ],
)
def test_missing_extra_and_other_arrays_are_named(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], reason: str
) -> None:
    trees = jax.tree.map(np.array, tiny_models.trees())
    spoil(trees)
    assert reason in _refusal(tiny_models.write(tmp_path / "m", trees))


def test_a_config_that_was_changed_later_is_found(folder: Path) -> None:
    _change(folder, "model", batch_norm_eps=0.5)
    assert "was changed after model.safetensors" in _refusal(folder)


def test_an_altered_array_is_found(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 64
    path.write_bytes(content)
    assert "damaged or was changed" in _refusal(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing" in _refusal(folder)


def test_a_folder_that_another_program_wrote_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tensor_file.write(folder / "model.safetensors", {"w": np.zeros(2, np.float32)}, {})
    assert "format 'none'" in _refusal(folder)


@pytest.mark.parametrize(
    ("group", "values"),
    [
        ("evaluation", {"rows": 1000}),
        ("evaluation", {"batch_size": 2**20}),
        ("model", {"generator_channel_multiples": [10**9, 1, 1, 1]}),
        ("model", {"attention_resolutions": [16] * 1000}),
        ("model", {"resolution": 10**9}),
        ("model", {"width": "8"}),
        ("data", {"dataset": "huggingface:somebody/code"}),
        ("data", {"dataset": "somebody.module.Class"}),
        ("evaluation", {"tap": "x" * 10**5}),
    ],
)
def test_values_that_could_harm_a_reader_are_refused(
    folder: Path, group: str, values: dict[str, Any]
) -> None:
    _change(folder, group, **values)
    assert f"{group}.{next(iter(values))}" in _refusal(folder)


def test_the_largest_networks_that_a_config_can_name_cost_no_memory(
    folder: Path,
) -> None:
    _change(folder, "model", width=4096, num_classes=10**6, latent_dim=10**5)
    begin = time.monotonic()
    assert "[1, 1, 8, 1] there and F32 [1, 1, 4096, 512]" in _refusal(folder)
    assert time.monotonic() - begin < 30


def test_a_config_of_many_megabytes_is_not_parsed(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 2**21)
    assert "is no config" in _refusal(folder)


def _harmed(content: bytes, chance: random.Random) -> bytes:
    harmed = bytearray(content)
    while bytes(harmed) == content:
        # Where the structure is: the rest are values.
        end = min(len(content), 6000)
        for _ in range(chance.randint(1, 4)):
            harmed[chance.randrange(end)] = chance.choice(b'0129[]{}":,-eE\x00\xff ')
        if chance.random() < 0.2:
            del harmed[chance.randrange(len(harmed)) :]
    return bytes(harmed)


@pytest.mark.parametrize(
    ("name", "count"), [("model.safetensors", 150), ("config.json", 25)]
)
def test_harmed_files_are_refused_in_one_sentence(
    folder: Path, name: str, count: int
) -> None:
    chance = random.Random(0)
    content = (folder / name).read_bytes()
    models.load(folder)
    for _ in range(count):
        (folder / name).write_bytes(_harmed(content, chance))
        with pytest.raises(UserError) as caught:
            models.load(folder)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 2000
