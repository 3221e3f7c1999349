"""Checkpoints: retention, manifests, and the handling of damaged ones."""

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

import sagan_jax
from sagan_jax.commands import sample
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import manifest
from sagan_jax.training.state import GanState
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir import run as run_lib


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
    directory = workdir.absolute() / "checkpoints"
    with checkpoint.open_manager(directory, config.train) as manager:
        for step in saved:
            manager.save(_small_state(step))
    return checkpoint.steps(directory)


def _manager(workdir: Path) -> checkpoint.Manager:
    train = tiny_runs.config().train
    return checkpoint.open_manager(workdir / "checkpoints", train)


def _load(workdir: Any, **arguments: Any) -> Any:
    with tiny_runs.cached_compiles():
        return sagan_jax.load(workdir, **arguments)


# Retention.


def test_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    config = tiny_runs.config(train__keep_checkpoints=2)
    assert _kept(tmp_path, config, range(1, 6)) == [4, 5]


def test_every_nth_checkpoint_is_kept_too(tmp_path: Path) -> None:
    config = tiny_runs.config(train__keep_checkpoints=1, train__keep_every=2)
    assert _kept(tmp_path, config, range(1, 6)) == [2, 4, 5]


def test_retention_counts_the_checkpoints_of_earlier_starts(tmp_path: Path) -> None:
    config = tiny_runs.config(train__keep_checkpoints=2)
    _kept(tmp_path, config, range(1, 3))
    assert _kept(tmp_path, config, range(3, 4)) == [2, 3]


def test_saving_an_older_step_raises(tmp_path: Path) -> None:
    with _manager(tmp_path) as manager:
        manager.save(_small_state(2))
        with pytest.raises(RuntimeError, match="checkpoint 1 was not saved"):
            manager.save(_small_state(1))


def test_a_workdir_without_checkpoints_has_no_steps(tmp_path: Path) -> None:
    assert tiny_runs.steps(tmp_path) == []


def test_unfinished_checkpoints_do_not_count(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 2))
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp").mkdir()
    assert tiny_runs.steps(tmp_path) == [1]


def test_steps_are_sorted_as_numbers(tmp_path: Path) -> None:
    assert _kept(tmp_path, tiny_runs.config(), range(9, 12)) == [9, 10, 11]


def test_a_relative_workdir_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _kept(Path("run"), tiny_runs.config(), range(1, 2)) == [1]


def test_the_step_of_a_damaged_checkpoint_can_be_saved_again(tmp_path: Path) -> None:
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


def test_a_manifest_lists_every_file(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 2))
    folder = tmp_path / "checkpoints" / "1"
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        content = path.read_bytes()
        path.unlink()
        lost = "" if path.name == "manifest.json" else " is missing"
        assert manifest.damage(folder).endswith(lost), path
        path.write_bytes(content)


def test_manifests_are_deleted_with_their_checkpoints(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(train__keep_checkpoints=1), range(1, 4))
    found = [p.parent.name for p in tmp_path.rglob("manifest.json")]
    assert found == ["3"]


def test_a_checkpoint_that_is_being_written_has_no_manifest(tmp_path: Path) -> None:
    saving = mock.patch.object(ocp.CheckpointManager, "is_saving_in_progress")
    with _manager(tmp_path) as manager:
        manager.save(_small_state(1))
        with saving as busy:
            busy.return_value = True
            manager.write_pending_manifest()
            assert list(tmp_path.rglob("manifest.json")) == []


def test_a_manifest_does_not_wait_for_the_next_checkpoint(tmp_path: Path) -> None:
    with _manager(tmp_path) as manager:
        manager.save(_small_state(1))
        manager._orbax.wait_until_finished()
        manager.write_pending_manifest()
        assert _has_manifest(tmp_path, 1)


def test_a_save_that_fails_gets_no_manifest(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise full

    with (
        mock.patch.object(ocp.CheckpointManager, "_finalize_checkpoint", fail),
        pytest.raises(OSError, match="No space left on device"),
        _manager(tmp_path) as manager,
    ):
        manager.save(_small_state(1))
    assert list(tmp_path.rglob("manifest.json")) == []


def test_only_the_first_process_writes_manifests(tmp_path: Path) -> None:
    with _manager(tmp_path) as manager:
        manager.save(_small_state(1))
        manager._orbax.wait_until_finished()
        with mock.patch.object(jax, "process_index", return_value=1):
            manager.write_pending_manifest()
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
    _cut_short: r"default/\S+ .*\d+ bytes .*\d+",
    _flip_a_bit: r"default/\S+ .*changed",
    _lose_a_file: r"default/\S+ .*missing",
    _empty: "empty",
    _damage_the_manifest: r"manifest\.json .*damaged",
    _lose_manifest_and_data: r"ValueError: \S+",
    _lose_manifest_and_metadata: r"KeyError: \S+",
    _lose_manifest_and_item: r"\w+Error: \S+",
    _take_anothers_place: "ValueError: .*step 1",
}
each_damage = pytest.mark.parametrize(
    ("harm", "damage"), DAMAGES.items(), ids=lambda x: getattr(x, "__name__", "")
)


def _resume(workdir: Path) -> Any:
    return checkpoint.resume(workdir / "checkpoints", _small_state(0))


def _warnings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Returns the warnings on stderr, without the progress bars of whole runs."""
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("warning: ")]


@each_damage
def test_resume_skips_a_damaged_checkpoint_and_moves_it(
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
    assert re.search(rf"checkpoint 3 .*damaged.*{damage}.* {aside}\b", sentence)
    assert tiny_runs.steps(tmp_path) == [1, 2]
    assert tiny_runs.tree_of(aside) == before


def test_if_all_are_damaged_each_is_named_and_nothing_changes(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 4))
    harms = (_empty, _damage_the_manifest, _take_anothers_place)
    for step, harm in enumerate(harms, start=1):
        harm(tmp_path / "checkpoints" / str(step))
    before = tiny_runs.tree_of(tmp_path)
    reasons = r"3: [^;]*empty; 2: manifest\.json [^;]*damaged; 1: [^;]*empty"
    with pytest.raises(UserError, match=f"{tmp_path}.*{reasons}.*backup"):
        _resume(tmp_path)
    assert tiny_runs.tree_of(tmp_path) == before


def test_a_checkpoint_without_a_manifest_is_used_if_readable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    (tmp_path / "checkpoints" / "2" / "manifest.json").unlink()
    assert int(_resume(tmp_path).step) == 2
    assert capsys.readouterr().err == ""


def test_a_second_damaged_checkpoint_of_a_step_is_kept_too(tmp_path: Path) -> None:
    config = tiny_runs.config()
    for _ in range(3):
        saved = tiny_runs.steps(tmp_path)
        _kept(tmp_path, config, range(2 if saved else 1, 3))
        _empty(tmp_path / "checkpoints" / "2")
        _resume(tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["1", "2.damaged", "2.damaged-2", "2.damaged-3"]


def test_only_the_first_process_moves_and_warns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    _lose_manifest_and_data(tmp_path / "checkpoints" / "2")
    with mock.patch.object(jax, "process_index", return_value=1):
        assert int(_resume(tmp_path).step) == 1
    assert tiny_runs.steps(tmp_path) == [1, 2]
    assert capsys.readouterr().err == ""


def test_an_error_of_the_machine_does_not_condemn_a_checkpoint(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    with (
        mock.patch.object(checkpoint, "restore", side_effect=RuntimeError("memory")),
        pytest.raises(RuntimeError, match="memory"),
    ):
        _resume(tmp_path)
    assert tiny_runs.steps(tmp_path) == [1, 2]


def test_resume_without_checkpoints_returns_none(tmp_path: Path) -> None:
    assert _resume(tmp_path) is None


def test_load_uses_the_newest_undamaged_checkpoint_and_moves_none(
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
    assert re.search(r"checkpoint 6 .*default/\S+ .*changed.*earlier", six)
    assert re.search(r"checkpoint 4 .*empty.*earlier", four)
    assert tiny_runs.tree_of(workdir) == before


def test_samples_are_named_after_the_restored_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = shutil.copytree(tiny_runs.whole().workdir, tmp_path / "run")
    _cut_short(workdir / "checkpoints" / "6")
    with tiny_runs.cached_compiles():
        path = sample.save(run_lib.open_run(workdir))
    assert path.name == "sample_00000004_seed1234.png"
    (sentence,) = _warnings(capsys)
    assert re.search("checkpoint 6 .*damaged", sentence)


def test_a_damaged_checkpoint_is_refused_if_chosen_by_step(tmp_path: Path) -> None:
    workdir = shutil.copytree(tiny_runs.whole().workdir, tmp_path / "run")
    _empty(workdir / "checkpoints" / "4")
    with pytest.raises(UserError, match=r"damaged.*4: .*empty.*backup"):
        sagan_jax.load(workdir, step=4)
