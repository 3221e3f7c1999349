"""A run on disk: what is kept, what is damaged, what another program gets of it."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny_gan
import tiny_runs
from PIL import Image

import sagan_jax
from sagan_jax import networks
from sagan_jax.commands import sample
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import manifest
from sagan_jax.pictures import sheets
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState
from sagan_jax.workdir import checkpoint, run_config


def _small_state(step: int) -> Any:
    kernel = np.random.default_rng(step).normal(size=1000).astype(np.float32)
    return GanState(
        step=np.array(step, np.int32),
        skipped=np.array(0, np.int32),
        generator={"kernel": kernel},
        discriminator={},
        ema={},
    )


def _kept(workdir: Path, config: Config, saved: range) -> list[int]:
    with checkpoint.open_manager(workdir, config) as manager:
        for step in saved:
            manager.save(_small_state(step))
    return checkpoint.steps(workdir)


def _load(workdir: Any, **arguments: Any) -> Any:
    with tiny_runs.cached_compiles():
        return sagan_jax.load(workdir, **arguments)


def _sheet(workdir: Path, **arguments: Any) -> np.ndarray:
    generator, variables, config = _load(workdir, **arguments)
    with tiny_runs.cached_compiles():
        return sheets.sheet(config, generator, variables)


def _written_sheet(workdir: Path, step: int) -> np.ndarray:
    with Image.open(workdir / "samples" / f"step_{step:08d}.png") as image:
        return np.asarray(image)


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
        manager.save(_small_state(2))
        with pytest.raises(RuntimeError, match="checkpoint 1 was not written"):
            manager.save(_small_state(1))


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


def test_a_step_below_a_damaged_one_is_free_again(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(2, 5))
    _cut_short(tmp_path / "checkpoints" / "4")
    _resume(tmp_path)
    assert _kept(tmp_path, tiny_runs.config(), range(4, 5)) == [2, 3, 4]
    assert _damage(tmp_path, 4) == ""


# Manifests.


def _damage(workdir: Path, step: int) -> str:
    return manifest.damage(workdir / "checkpoints" / str(step))


def _has_manifest(workdir: Path, step: int) -> bool:
    return (workdir / "checkpoints" / str(step) / "manifest.json").exists()


def test_every_checkpoint_gets_a_manifest(tmp_path: Path) -> None:
    for step in _kept(tmp_path, tiny_runs.config(), range(1, 4)):
        assert _has_manifest(tmp_path, step)
        assert _damage(tmp_path, step) == ""


def test_a_manifest_names_every_file(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 2))
    folder = tmp_path / "checkpoints" / "1"
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        content = path.read_bytes()
        path.unlink()
        lost = "" if path.name == "manifest.json" else " is missing"
        assert manifest.damage(folder).endswith(lost), path
        path.write_bytes(content)


def test_manifests_go_with_their_checkpoints(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(train__keep_checkpoints=1), range(1, 4))
    found = [p.parent.name for p in tmp_path.rglob("manifest.json")]
    assert found == ["3"]


def test_a_checkpoint_that_is_being_written_has_no_manifest(tmp_path: Path) -> None:
    saving = mock.patch.object(ocp.CheckpointManager, "is_saving_in_progress")
    with checkpoint.open_manager(tmp_path, tiny_runs.config()) as manager:
        manager.save(_small_state(1))
        with saving as busy:
            busy.return_value = True
            manager.settle()
            assert list(tmp_path.rglob("manifest.json")) == []


def test_a_manifest_does_not_wait_for_the_next_checkpoint(tmp_path: Path) -> None:
    with checkpoint.open_manager(tmp_path, tiny_runs.config()) as manager:
        manager.save(_small_state(1))
        manager._orbax.wait_until_finished()
        manager.settle()
        assert _has_manifest(tmp_path, 1)


def test_a_save_that_fails_gets_no_manifest(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise full

    with (
        mock.patch.object(ocp.CheckpointManager, "_finalize_checkpoint", fail),
        pytest.raises(OSError, match="No space left on device"),
        checkpoint.open_manager(tmp_path, tiny_runs.config()) as manager,
    ):
        manager.save(_small_state(1))
    assert list(tmp_path.rglob("manifest.json")) == []


def test_only_the_first_process_writes_manifests(tmp_path: Path) -> None:
    with checkpoint.open_manager(tmp_path, tiny_runs.config()) as manager:
        manager.save(_small_state(1))
        manager._orbax.wait_until_finished()
        with mock.patch.object(jax, "process_index", return_value=1):
            manager.settle()
        assert not _has_manifest(tmp_path, 1)


# Damaged checkpoints.


def _largest_file(folder: Path) -> Path:
    files = [path for path in (folder / "default").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def _cut_short(folder: Path) -> None:
    path = _largest_file(folder)
    path.write_bytes(path.read_bytes()[:-1])


def _flip_a_bit(folder: Path) -> None:
    # In the middle of the random numbers, which orbax cannot compress.
    path = _largest_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _lose_a_file(folder: Path) -> None:
    _largest_file(folder).unlink()


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _damage_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"files": ')


def _lose_manifest_and_data(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    _lose_a_file(folder)


def _lose_manifest_and_metadata(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "default" / "_METADATA").write_text("{}")


def _lose_manifest_and_item(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "default")


def _take_anothers_place(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "1", folder)


DAMAGES = {
    _cut_short: r"default/\S+ has \d+ bytes of \d+",
    _flip_a_bit: r"default/\S+ has changed",
    _lose_a_file: r"default/\S+ is missing",
    _empty: "it is empty",
    _damage_the_manifest: "manifest.json cannot be read",
    _lose_manifest_and_data: r"it cannot be read, ValueError: [^\n]+",
    _lose_manifest_and_metadata: r"it cannot be read, KeyError: [^\n]+",
    _lose_manifest_and_item: r"it cannot be read, \w+: [^\n]+",
    _take_anothers_place: "it cannot be read, ValueError: it holds the state of step 1",
}
each_damage = pytest.mark.parametrize(
    ("harm", "damage"), DAMAGES.items(), ids=lambda x: getattr(x, "__name__", "")
)


def _resume(workdir: Path) -> Any:
    return checkpoint.resume(workdir, _small_state(0))


def _warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Returns what was said beside the bar of a run that a test was first to need."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("warning: ")]


@each_damage
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    harm: Callable[[Path], None],
    damage: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 4))
    folder = tmp_path / "checkpoints" / "3"
    harm(folder)
    before = tiny_runs.tree_of(folder)
    tiny_gan.assert_same_bits(jax.device_get(_resume(tmp_path)), _small_state(2))
    aside = folder.with_name("3.damaged")
    (sentence,) = _warnings(capsys)
    assert re.fullmatch(
        rf"warning: checkpoint 3 is damaged \({damage}\); it was moved to {aside}\.",
        sentence,
    )
    assert checkpoint.steps(tmp_path) == [1, 2]
    assert tiny_runs.tree_of(aside) == before


def test_all_damaged_is_one_sentence_and_changes_nothing(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 4))
    harms = (_empty, _damage_the_manifest, _take_anothers_place)
    for step, harm in enumerate(harms, start=1):
        harm(tmp_path / "checkpoints" / str(step))
    before = tiny_runs.tree_of(tmp_path)
    sentence = (
        f"no checkpoint of workdir={str(tmp_path)!r} that was tried is whole (3: it is "
        "empty; 2: manifest.json cannot be read; 1: it is empty); nothing was changed: "
        "put back a copy, or give another step or --workdir."
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        _resume(tmp_path)
    assert tiny_runs.tree_of(tmp_path) == before


def test_a_checkpoint_without_a_manifest_counts_if_it_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    (tmp_path / "checkpoints" / "2" / "manifest.json").unlink()
    assert int(_resume(tmp_path).step) == 2
    assert capsys.readouterr().err == ""


def test_a_second_damaged_checkpoint_of_a_step_is_kept_too(tmp_path: Path) -> None:
    config = tiny_runs.config()
    for _ in range(3):
        saved = checkpoint.steps(tmp_path)
        _kept(tmp_path, config, range(2 if saved else 1, 3))
        _empty(tmp_path / "checkpoints" / "2")
        _resume(tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["1", "2.damaged", "2.damaged-2", "2.damaged-3"]


def test_only_the_first_process_moves_and_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    _lose_manifest_and_data(tmp_path / "checkpoints" / "2")
    with mock.patch.object(jax, "process_index", return_value=1):
        assert int(_resume(tmp_path).step) == 1
    assert checkpoint.steps(tmp_path) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_fault_of_the_machine_is_not_the_checkpoints(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    with (
        mock.patch.object(checkpoint, "restore", side_effect=RuntimeError("memory")),
        pytest.raises(RuntimeError, match="memory"),
    ):
        _resume(tmp_path)
    assert checkpoint.steps(tmp_path) == [1, 2]


def test_nothing_to_resume_is_none(tmp_path: Path) -> None:
    assert _resume(tmp_path) is None


def test_load_takes_the_newest_that_is_whole_and_leaves_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = shutil.copytree(tiny_runs.whole().workdir, tmp_path / "run")
    _flip_a_bit(workdir / "checkpoints" / "6")
    _empty(workdir / "checkpoints" / "4")
    before = tiny_runs.tree_of(workdir)
    _, variables, _ = _load(workdir, ema=False)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 2)["generator"]
    tiny_gan.assert_same_bits(jax.device_get(variables["params"]), saved["params"])
    six, four = _warnings(capsys)
    assert re.fullmatch(
        r"warning: checkpoint 6 is damaged \(default/\S+ has changed\); an earlier one "
        r"is used\.",
        six,
    )
    assert four.startswith("warning: checkpoint 4 is damaged (it is empty); an earlier")
    assert tiny_runs.tree_of(workdir) == before


def test_samples_name_the_step_that_was_really_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = shutil.copytree(tiny_runs.whole().workdir, tmp_path / "run")
    _cut_short(workdir / "checkpoints" / "6")
    with tiny_runs.cached_compiles():
        path = sample.save(workdir)
    assert path.name == "sample_00000004_seed1234.png"
    (sentence,) = _warnings(capsys)
    assert sentence.startswith("warning: checkpoint 6 is damaged")


def test_a_damaged_checkpoint_that_was_asked_for_is_refused(tmp_path: Path) -> None:
    workdir = shutil.copytree(tiny_runs.whole().workdir, tmp_path / "run")
    _empty(workdir / "checkpoints" / "4")
    sentence = (
        f"no checkpoint of workdir={str(workdir)!r} that was tried is whole (4: it is "
        "empty); nothing was changed: put back a copy, or give another step or "
        "--workdir."
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        sagan_jax.load(workdir, step=4)


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
    run_config.prepare(tmp_path, config)
    with tiny_runs.cached_compiles():
        state = jax.jit(lambda: state_lib.create(*parts))()
    with checkpoint.open_manager(tmp_path, config) as manager:
        manager.save(state)
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
    state = checkpoint.resume(workdir, like)
    assert state is not None
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
    run_config.prepare(tmp_path, tiny_runs.config())
    with pytest.raises(UserError, match="holds no checkpoint yet; train until"):
        sagan_jax.load(tmp_path)


def test_a_config_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=f"^{tmp_path}/config.json: the config is not"):
        sagan_jax.load(tmp_path)
