"""A run on disk: what is kept, what another program gets of it, what is refused."""

import re
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_gan
import tiny_runs
from PIL import Image

import sagan_jax
from sagan_jax import checkpoint, evaluation, networks, optim
from sagan_jax import config as config_lib
from sagan_jax import mesh as mesh_lib
from sagan_jax import state as state_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.state import GanState


def _small_state(step: int) -> Any:
    return GanState(
        step=np.int32(step), skipped=np.int32(0), generator={}, discriminator={}, ema={}
    )


def _kept(workdir: Path, config: Config, saved: range) -> list[int]:
    with checkpoint.open_manager(workdir, config) as manager:
        for step in saved:
            checkpoint.save(manager, _small_state(step))
    return checkpoint.steps(workdir)


def _load(workdir: Any, **arguments: Any) -> Any:
    with tiny_runs.cached_compiles():
        return sagan_jax.load(workdir, **arguments)


def _sheet(workdir: Path, **arguments: Any) -> np.ndarray:
    generator, variables, config = _load(workdir, **arguments)
    with tiny_runs.cached_compiles():
        return evaluation.sheet(config, generator, variables)


def _written_sheet(workdir: Path, step: int) -> np.ndarray:
    with Image.open(workdir / "samples" / f"step_{step:08d}.png") as image:
        return np.asarray(image)


def _refuses(sentence: str, workdir: Path, config: Config) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        checkpoint.prepare_workdir(workdir, config)


# What is kept.


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    config = tiny_runs.config(train__keep_checkpoints=2)
    assert _kept(tmp_path, config, range(1, 6)) == [4, 5]


def test_each_nth_checkpoint_is_kept_as_well(tmp_path: Path) -> None:
    config = tiny_runs.config(train__keep_checkpoints=1, train__keep_every=2)
    assert _kept(tmp_path, config, range(1, 6)) == [2, 4, 5]


def test_retention_counts_the_checkpoints_of_earlier_starts(tmp_path: Path) -> None:
    config = tiny_runs.config(train__keep_checkpoints=2)
    _kept(tmp_path, config, range(1, 3))
    assert _kept(tmp_path, config, range(3, 4)) == [2, 3]


def test_a_step_that_is_not_new_is_no_silent_loss(tmp_path: Path) -> None:
    with checkpoint.open_manager(tmp_path, tiny_runs.config()) as manager:
        checkpoint.save(manager, _small_state(2))
        with pytest.raises(RuntimeError, match="checkpoint 1 was not written"):
            checkpoint.save(manager, _small_state(1))


def test_a_workdir_without_checkpoints_has_no_steps(tmp_path: Path) -> None:
    assert checkpoint.steps(tmp_path) == []


def test_unfinished_checkpoints_are_no_steps(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 2))
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.steps(tmp_path) == [1]


def test_steps_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    assert _kept(tmp_path, tiny_runs.config(), range(9, 12)) == [9, 10, 11]


def test_a_relative_workdir_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _kept(Path("run"), tiny_runs.config(), range(1, 2)) == [1]


# What another program gets.


def test_load_gives_generator_variables_and_config() -> None:
    generator, variables, config = _load(str(tiny_runs.whole().workdir))
    assert generator == networks.build(tiny_runs.config().model)[0]
    assert set(variables) == {"params", "batch_stats", "spectral"}
    assert config == tiny_runs.config()


def test_loaded_images_are_those_of_the_trainers_own_sheet() -> None:
    workdir = tiny_runs.whole().workdir
    np.testing.assert_array_equal(_sheet(workdir), _written_sheet(workdir, 6))


def test_a_step_can_be_chosen() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir, step=4, ema=False)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 4)["generator"]
    tiny_gan.assert_same_bits(jax.device_get(variables["params"]), saved["params"])


def test_load_gives_the_average_by_default() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 6)
    tiny_gan.assert_same_bits(jax.device_get(variables["params"]), saved["ema"])


def test_load_without_the_average_gives_the_live_generator() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir, ema=False)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 6)["generator"]
    live = {name: saved[name] for name in ("params", "batch_stats", "spectral")}
    tiny_gan.assert_same_bits(jax.device_get(variables), live)


def test_the_average_comes_with_the_live_running_statistics() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 6)["generator"]
    tiny_gan.assert_same_bits(
        jax.device_get(variables["batch_stats"]), saved["batch_stats"]
    )


def test_the_average_comes_with_a_u_of_its_own_kernels() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir)
    kernel = np.asarray(variables["params"]["dense"]["kernel"], np.float64)
    u = np.asarray(variables["spectral"]["dense"]["u"], np.float64)
    top = np.linalg.svd(kernel, compute_uv=False)[0]
    # Twenty iterations and a few more: what is left is the gap to the second value.
    np.testing.assert_allclose(np.linalg.norm(kernel @ u), top, rtol=1e-2)


def test_a_run_without_an_average_loads_the_live_generator(tmp_path: Path) -> None:
    config = tiny_runs.config(train__ema_decay=0.0)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    checkpoint.prepare_workdir(tmp_path, config)
    with tiny_runs.cached_compiles():
        state = jax.jit(lambda: state_lib.create(*parts))()
    with checkpoint.open_manager(tmp_path, config) as manager:
        checkpoint.save(manager, state)
    _, variables, _ = _load(tmp_path, ema=True)
    tiny_gan.assert_same_bits(
        jax.device_get(variables), jax.device_get(state.generator.variables)
    )


def test_a_run_of_two_devices_is_loaded_onto_one() -> None:
    assert tiny_runs.config().mesh.devices == 2
    _, variables, _ = _load(tiny_runs.whole().workdir)
    assert {len(x.devices()) for x in jax.tree.leaves(variables)} == {1}


@pytest.mark.parametrize("devices", [1, 4])
def test_a_state_of_two_devices_is_restored_onto_others(devices: int) -> None:
    workdir = tiny_runs.whole().workdir
    config = tiny_runs.config(mesh__devices=devices)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    everywhere = mesh_lib.replicated(mesh_lib.make_mesh(config))
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
        jax.eval_shape(lambda: state_lib.create(*parts)),
    )
    with checkpoint.open_manager(workdir, config) as manager:
        state = checkpoint.restore(manager, like, 6)
    assert {len(x.devices()) for x in jax.tree.leaves(state)} == {devices}
    saved = tiny_runs.read_state(workdir, 6)["discriminator"]["params"]
    tiny_gan.assert_same_bits(jax.device_get(state.discriminator.params), saved)


def test_a_step_that_is_not_there_is_answered_with_those_that_are() -> None:
    workdir = tiny_runs.whole().workdir
    sentence = f"step=5 has no checkpoint in {str(workdir)!r}; choose among 2, 4, 6."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        sagan_jax.load(workdir, step=5)


def test_a_folder_without_a_run_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no run \(config.json is missing\)"):
        sagan_jax.load(tmp_path)


def test_a_run_without_a_checkpoint_is_not_loaded(tmp_path: Path) -> None:
    checkpoint.prepare_workdir(tmp_path, tiny_runs.config())
    with pytest.raises(UserError, match="holds no checkpoint yet; train until"):
        sagan_jax.load(tmp_path)


def test_a_damaged_checkpoint_is_answered_with_the_way_on(tmp_path: Path) -> None:
    workdir = shutil.copytree(tiny_runs.whole().workdir, tmp_path / "run")
    folder = workdir / "checkpoints" / "6"
    (folder / "default" / "_METADATA").write_text("{")
    sentence = f"checkpoint 6 cannot be read .*; remove '{folder}' to go on from an "
    with pytest.raises(UserError, match=sentence):
        sagan_jax.load(workdir)


def test_a_config_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=f"^{tmp_path}/config.json: the config is not"):
        sagan_jax.load(tmp_path)


# The workdir.


def test_a_workdir_is_made_with_its_config(tmp_path: Path) -> None:
    checkpoint.prepare_workdir(tmp_path / "a" / "b", tiny_runs.config())
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["config.json"]
    assert checkpoint.read_config(tmp_path / "a" / "b") == tiny_runs.config()


@pytest.mark.parametrize("name", checkpoint.MAY_CHANGE)
def test_what_may_change_is_a_field(name: str) -> None:
    assert name in [field for field, _, _ in config_lib.fields_of(Config())]


@pytest.mark.parametrize(
    "change",
    [
        {"train__steps": 9},
        {"train__checkpoint_every": 9},
        {"data__threads": 0},
        {"data__path": "elsewhere"},
        {"evaluation__rows": 2},
        {"mesh__devices": 1},
    ],
    ids=str,
)
def test_a_run_may_go_on_with_another_value_of(
    change: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint.prepare_workdir(tmp_path, tiny_runs.config())
    checkpoint.prepare_workdir(tmp_path, tiny_runs.config(**change))
    assert checkpoint.read_config(tmp_path) == tiny_runs.config(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"model__width": 16},
        {"optim__generator_lr": 0.5},
        {"train__batch_size": 8},
        {"train__seed": 7},
        {"data__seed": 7},
    ],
    ids=str,
)
def test_another_run_is_refused_by_its_fields(
    change: dict[str, Any], tmp_path: Path
) -> None:
    ours = tiny_runs.config()
    checkpoint.prepare_workdir(tmp_path, ours)
    before = tiny_runs.tree_of(tmp_path)
    (field, value), *_ = change.items()
    group, name = field.split("__")
    had = getattr(getattr(ours, group), name)
    _refuses(
        f"workdir={str(tmp_path)!r} holds another run ({group}.{name}: {had!r} there, "
        f"{value!r} asked for); give another --workdir, or its own settings.",
        tmp_path,
        tiny_runs.config(**change),
    )
    assert tiny_runs.tree_of(tmp_path) == before


def test_every_field_that_differs_is_named(tmp_path: Path) -> None:
    checkpoint.prepare_workdir(tmp_path, tiny_runs.config())
    with pytest.raises(UserError, match=r"model\.width: 8 .*; train\.seed: 0 "):
        checkpoint.prepare_workdir(
            tmp_path, tiny_runs.config(model__width=16, train__seed=7)
        )


def test_a_file_is_no_workdir(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    _refuses(
        f"workdir={str(path)!r} is a file; give a directory, or a new name.",
        path,
        tiny_runs.config(),
    )
    assert path.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_no_workdir(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / "run"
    _refuses(
        f"workdir={str(path)!r} cannot be written (Not a directory); give another with "
        "--workdir.",
        path,
        tiny_runs.config(),
    )


def test_only_the_first_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    checkpoint.prepare_workdir(tmp_path / "run", tiny_runs.config())
    assert not (tmp_path / "run").exists()
