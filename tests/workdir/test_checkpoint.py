"""Checkpoints: retention, manifests, and the handling of damaged ones."""

import ast
import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import linear_gan
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
from sagan_jax.training import state as state_lib
from sagan_jax.training import train_step
from sagan_jax.training.state import GanState
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir import run as run_lib

# Where one array is damaged, orbax closes its event loop while tensorstore still reads
# others. launch.py leaves the same message out (commands/failures.py).
pytestmark = pytest.mark.filterwarnings(
    "ignore:(?s)Exception ignored in.*Event loop is closed"
    ":pytest.PytestUnraisableExceptionWarning"
)


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
        manager.save(_small_state(2))
        with saving as busy:
            busy.return_value = True
            manager.write_pending_manifest()
            assert not _has_manifest(tmp_path, 2)


def test_a_manifest_does_not_wait_for_the_next_checkpoint(tmp_path: Path) -> None:
    with _manager(tmp_path) as manager:
        manager.save(_small_state(1))
        manager.save(_small_state(2))
        manager._orbax.wait_until_finished()
        manager.write_pending_manifest()
        assert _has_manifest(tmp_path, 2)


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
        manager.save(_small_state(2))
        manager._orbax.wait_until_finished()
        with mock.patch.object(jax, "process_index", return_value=1):
            manager.write_pending_manifest()
        assert not _has_manifest(tmp_path, 2)


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
    _lose_manifest_and_item: r"default/\S+ .*missing",
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


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError("of the machine"),
        OSError(errno.EMFILE, "of the machine"),
        ValueError("of the machine [os_error_code='24']"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: of the machine"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_an_error_of_the_machine_does_not_condemn_a_checkpoint(
    fault: Exception, tmp_path: Path
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    with (
        mock.patch.object(checkpoint, "restore", side_effect=fault),
        pytest.raises(type(fault), match="of the machine"),
    ):
        _resume(tmp_path)
    assert tiny_runs.steps(tmp_path) == [1, 2]


@pytest.mark.parametrize(
    "failure",
    [
        Exception("index"),
        RuntimeError("index"),
        ZeroDivisionError("index"),
        AssertionError("index"),
        jax.errors.JaxRuntimeError("INVALID_ARGUMENT: index"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_any_other_failure_to_read_is_damage_of_that_one(
    failure: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    restore = checkpoint.restore
    _kept(tmp_path, tiny_runs.config(), range(1, 3))

    def fail_once(directory: Path, like: Any, step: int) -> Any:
        if step == 2:
            raise failure
        return restore(directory, like, step)

    with mock.patch.object(checkpoint, "restore", fail_once):
        assert int(_resume(tmp_path).step) == 1
    (sentence,) = _warnings(capsys)
    assert f"failed with {type(failure).__name__}" in sentence
    assert tiny_runs.steps(tmp_path) == [1]


def test_zeros_in_a_checkpoint_without_a_manifest_are_its_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    folder = tmp_path / "checkpoints" / "2"
    (folder / "manifest.json").unlink()
    path = _largest_file(folder)
    path.write_bytes(bytes(64) + path.read_bytes()[64:])
    assert int(_resume(tmp_path).step) == 1
    assert len(_warnings(capsys)) == 1


def test_checkpoints_of_other_networks_are_not_called_damaged(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    wider = _small_state(0).replace(generator={"kernel": np.zeros(2000, np.float32)})
    with pytest.raises(UserError, match=r"generator\.kernel .*1000.*2000") as said:
        checkpoint.resume(tmp_path / "checkpoints", wider)
    assert "config.json" in str(said.value)
    assert tiny_runs.steps(tmp_path) == [1, 2]


# Places where orbax finds nothing again, and a disk that is full.


@pytest.mark.parametrize("name", ["lr[1e-4]", "a*", "a?", "a\\b", "gs:", "\udcff"])
def test_a_place_where_checkpoints_are_lost_is_refused(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"workdir.*rename the directory") as caught:
        run_lib.begin(tmp_path / name / "run", tiny_runs.config())
    assert repr(name)[1:-1] in str(caught.value)
    assert tiny_runs.tree_of(tmp_path) == {}


@pytest.mark.parametrize(
    "name", ["{x}", "a b", "50%", "a#b", "a\nb", "ü", "it's", 'a"b', "x" * 250, "]"]
)
def test_other_names_keep_checkpoints(name: str, tmp_path: Path) -> None:
    run_lib.begin(tmp_path / name, tiny_runs.config())
    _kept(tmp_path / name, tiny_runs.config(), range(1, 2))
    assert int(_resume(tmp_path / name).step) == 1


def test_the_first_save_is_read_back(tmp_path: Path) -> None:
    # The place is not looked at here: orbax writes nothing that it can read.
    with (
        pytest.raises(UserError, match=r"first checkpoint.*manifest|written whole"),
        _manager(tmp_path / "lr[1e-4]") as manager,
    ):
        manager.save(_small_state(1))
    assert list(tmp_path.rglob("manifest.json")) == []


def test_a_first_save_that_gives_back_another_state_is_refused(tmp_path: Path) -> None:
    other = mock.patch.object(checkpoint, "restore_part", return_value={"step": 7})
    with (
        pytest.raises(UserError, match=r"cannot be restored .*step 7.*--workdir"),
        other,
        _manager(tmp_path) as manager,
    ):
        manager.save(_small_state(1))


def test_a_manifest_that_lists_too_little_is_damaged(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 2))
    path = tmp_path / "checkpoints" / "1" / "manifest.json"
    content = json.loads(path.read_text())
    del content["files"]["default/manifest.ocdbt"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"does not list default/manifest\.ocdbt"):
        _resume(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EIO])
def test_a_disk_that_fails_in_a_library_is_an_oserror(
    number: int, tmp_path: Path
) -> None:
    # As tensorstore says it, in a thread of orbax.
    text = f"RESOURCE_EXHAUSTED: Failed to write [os_error_code='{number}']"

    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError(text)

    _kept(tmp_path, tiny_runs.config(), range(1, 2))
    with (
        mock.patch.object(ocp.CheckpointManager, "_finalize_checkpoint", fail),
        pytest.raises(OSError, match=os.strerror(number)) as caught,
        _manager(tmp_path) as manager,
    ):
        manager.save(_small_state(2))
    assert caught.value.errno == number
    assert int(_resume(tmp_path).step) in (1, 2)


# Readers next to a training that removes checkpoints.


def _removed_at_first(steps: set[int]) -> Any:
    """Returns a stand-in for manifest.damage that removes `steps` first."""
    damage = manifest.damage

    def remove_and_look(folder: Path, *args: Any) -> str:
        if int(folder.name) in steps:
            shutil.rmtree(folder)
        return damage(folder, *args)

    return mock.patch.object(manifest, "damage", remove_and_look)


def test_a_checkpoint_that_has_gone_is_not_damaged(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 4))
    place, like = tmp_path / "checkpoints", _small_state(0)

    def read(step: int) -> Any:
        return checkpoint.restore(place, like, step)

    with _removed_at_first({3}):
        found = checkpoint.newest_whole(place, like, read)
    assert (found.step, found.damaged, found.gone) == (2, {}, [3])


def test_a_newer_checkpoint_takes_the_place_of_one_that_has_gone(
    tmp_path: Path,
) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 2))
    place, like = tmp_path / "checkpoints", _small_state(0)

    def read(step: int) -> Any:
        if step == 1:  # meanwhile the training saves, and removes what was there
            _kept(tmp_path, tiny_runs.config(), range(2, 3))
            shutil.rmtree(place / "1")
        return checkpoint.restore(place, like, step)

    found = checkpoint.newest_whole(place, like, read)
    assert (found.step, found.damaged, found.gone) == (2, {}, [1])


def test_a_step_that_was_asked_for_and_has_gone_is_called_that(tmp_path: Path) -> None:
    _kept(tmp_path, tiny_runs.config(), range(1, 3))
    place, like = tmp_path / "checkpoints", _small_state(0)
    with (
        _removed_at_first({1}),
        pytest.raises(checkpoint.GoneError, match=r"checkpoint 1 .*keep_checkpoints"),
    ):
        checkpoint.newest_whole(
            place, like, lambda step: checkpoint.restore(place, like, step), 1
        )


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


# Fields of a state that are younger than the first checkpoints.


def _linear(**changes: Any) -> tuple[Config, GanState, Any]:
    """Returns a config of linear_gan, a state after two steps, and its step."""
    config = Config()
    config.model.num_classes, config.train.batch_size = 0, 4
    config.train.ema_decay, config.train.ema_decays = 0.9, (0.5,)
    config.regularizers.lecam, config.regularizers.lecam_start = 0.3, 1
    for name, value in changes.items():
        group, field = name.split("__")
        setattr(getattr(config, group), field, value)
    parts = linear_gan.parts(config)
    step = jax.jit(train_step.make_train_step(*parts))
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 4, 1), np.uint8)
    batch = {"image": image, "label": np.zeros(4, np.int32)}
    with tiny_gan.quick_compiles():
        # Placed like a restored state, so that one program makes all steps.
        state = jax.device_put(
            jax.jit(lambda: state_lib.create(*parts))(), jax.local_devices()[0]
        )
        for _ in range(2):
            state, _ = step(state, batch)
    return config, state, lambda state: step(state, batch)


def test_lecam_and_further_averages_are_restored_bit_for_bit(tmp_path: Path) -> None:
    config, state, step = _linear()
    assert state.discriminator.logits["real"] != 0
    with checkpoint.open_manager(tmp_path, config.train) as manager:
        manager.save(state)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), state
    )
    restored = checkpoint.restore(tmp_path, like, 2)
    tiny_gan.assert_same_bits(restored, state)
    for after, again in zip(step(state), step(restored), strict=True):
        tiny_gan.assert_same_bits(again, after)


def test_without_them_a_checkpoint_is_as_before(tmp_path: Path) -> None:
    config, state, _ = _linear(train__ema_decays=(), regularizers__lecam=0.0)
    with checkpoint.open_manager(tmp_path, config.train) as manager:
        manager.save(state)
    stored = json.loads((tmp_path / "2" / "default" / "_METADATA").read_text())
    names = {name for key in stored["tree_metadata"] for name in ast.literal_eval(key)}
    assert {"ema", "generator", "discriminator", "spectral", "step"} <= names
    assert not names & set(state_lib.LATER)
