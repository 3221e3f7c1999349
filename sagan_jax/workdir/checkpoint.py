"""The checkpoints in a directory: one sub-directory per step, and a manifest in each.

Orbax writes a checkpoint under a temporary name and renames it when it is complete, so
that a killed save leaves the others as they were. Orbax verifies nothing when it reads;
the manifest of hashes does. A reader takes the newest checkpoint that is not damaged.
A training may remove checkpoints meanwhile: one that has gone is not damaged.
"""

import dataclasses
import itertools
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sagan_jax.config import TrainConfig
from sagan_jax.errors import UserError
from sagan_jax.files import manifest
from sagan_jax.runtime import processes
from sagan_jax.training import adam
from sagan_jax.training.state import LATER, GanState
from sagan_jax.workdir import disk

NEEDED = ("_CHECKPOINT_METADATA", "default/_METADATA", "default/manifest.ocdbt")
"""Files without which orbax restores nothing; every manifest lists them."""

_MOST_GONE = 20  # checkpoints that may vanish under a reader before it gives up


class Manager:
    """Saves the checkpoints of a run while it trains, with a manifest for each.

    Saving is asynchronous: close the manager, or the last checkpoint is lost. The
    manifest is written after orbax has renamed the checkpoint into place: at the next
    `write_pending_manifest`, `save` or `close`. A kill before that leaves a checkpoint
    without a manifest.
    """

    def __init__(self, directory: Path, options: ocp.CheckpointManagerOptions):
        self._directory = directory
        with disk.errors(directory):
            self._orbax = ocp.CheckpointManager(directory, options=options)
        self._without_manifest: int | None = None
        self._read_back = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with disk.errors(self._directory):
            self._orbax.close()
        self.write_pending_manifest()

    def save(self, state: GanState) -> None:
        """Starts to save `state` under its own step, which must be a new one.

        The first save is complete when this returns, and has been read back: a place
        where nothing can be restored shows at once.

        Raises:
          UserError: the first checkpoint cannot be restored.
          OSError: the disk failed, for this save or for the one before.
        """
        self._finish()
        step = int(state.step)
        with disk.errors(self._directory):
            saved = self._orbax.save(step, args=ocp.args.StandardSave(_stored(state)))
        if not saved:
            raise RuntimeError(
                f"checkpoint {step} was not saved; there is a newer checkpoint"
            )
        self._without_manifest = step
        if not self._read_back:
            self._finish()
            _check_restores(self._directory, state, step)
            self._read_back = True

    def _finish(self) -> None:
        """Waits for the save in progress; one that failed gets no manifest."""
        pending, self._without_manifest = self._without_manifest, None
        with disk.errors(self._directory):
            self._orbax.wait_until_finished()
        self._without_manifest = pending
        self.write_pending_manifest()

    def write_pending_manifest(self) -> None:
        """Writes the manifest of the newest checkpoint if its save has finished."""
        if self._without_manifest is None or self._orbax.is_saving_in_progress():
            return
        folder = self._directory / str(self._without_manifest)
        self._without_manifest = None
        # A save that failed leaves no directory, and orbax raises the reason.
        if processes.is_first() and folder.is_dir():
            if damage := manifest.damage(folder, NEEDED):
                raise UserError(
                    f"checkpoint {folder.name} in {str(self._directory)!r} was not "
                    f"written whole ({damage}); check the disk, or pass another "
                    "--workdir."
                )
            manifest.write(folder)


def open_manager(
    directory: Path,
    train: TrainConfig,
    best: Callable[[], int | None] = lambda: None,
) -> Manager:
    """Returns a manager of the checkpoints in `directory`; close it with `with`.

    It keeps the newest `train.keep_checkpoints`, each one at a multiple of
    `train.keep_every`, and the best. (Orbax's own policy for the best deletes the
    newest.)

    Args:
      directory: the directory of the checkpoints.
      train: the run's `config.train`.
      best: returns the step that is the best at the moment; called at each save.
    """
    keep: list[Any] = [
        checkpoint_managers.LatestN(train.keep_checkpoints),
        _KeepBest(best),
    ]
    if train.keep_every:
        keep.append(checkpoint_managers.EveryNSteps(train.keep_every))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep)
    )
    return Manager(directory, options)


class _KeepBest:
    """A preservation policy of orbax that keeps one step."""

    def __init__(self, step: Callable[[], int | None]) -> None:
        self._step = step

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        best = self._step()
        return [found.step == best for found in checkpoints]


def steps(directory: Path) -> list[int]:
    """Returns the steps that have a checkpoint, damaged or not, in order."""
    if not directory.is_dir():
        return []
    names = [path.name for path in directory.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))


def resume(directory: Path, like: GanState) -> GanState | None:
    """Returns the state of the newest checkpoint that is not damaged; None if none.

    Newer checkpoints that are damaged are reported on stderr and renamed.

    Args:
      directory: the directory of the checkpoints.
      like: shapes with shardings, for those of the state.

    Raises:
      UserError: there are checkpoints, and all are damaged, or they are those of other
        networks; they are left as they are.
    """
    if not steps(directory):
        return None
    found = newest_whole(directory, like, lambda step: restore(directory, like, step))
    moved = set_aside(directory, list(found.damaged), "damaged")
    for aside, (step, damage) in zip(moved, found.damaged.items(), strict=False):
        warn(f"checkpoint {step} is damaged ({damage}) and was moved to {aside}.")
    state: GanState = found.value
    return state


def set_aside(directory: Path, steps: list[int], why: str) -> list[Path]:
    """Renames checkpoints to `<step>.<why>`; returns the new paths, in process 0.

    Under their own names orbax would refuse to save any step up to theirs. Nothing is
    removed.
    """
    moved = []
    for step in steps if processes.is_first() else []:
        aside = _free_name(directory / f"{step}.{why}")
        (directory / str(step)).rename(aside)
        moved.append(aside)
    processes.wait_for_all()  # nobody may list the directory before that
    return moved


def keep_only(directory: Path, step: int) -> None:
    """Removes all checkpoints but that of `step`; call it when the run has ended."""
    if processes.is_first():
        for other in directory.iterdir():
            if other.is_dir() and other.name != str(step):
                shutil.rmtree(other)


def restore(directory: Path, like: GanState, step: int) -> GanState:
    """Returns the state of a checkpoint, placed like `like` (arrays or shapes).

    Checkpoints of earlier versions hold the first moments of an Adam with beta1 = 0.
    They are read like everything else, so that damage shows, and dropped.
    """
    earlier, folder = adam.with_first_moment(like), directory / str(step)
    state: GanState
    if _named(like).keys() < _named(earlier).keys() <= _shapes(folder).keys():
        state = adam.without_first_moment(_read_state(directory, step, earlier))
    else:
        state = _read_state(directory, step, like)
    if int(state.step) != step:
        raise ValueError(f"it holds the state of step {int(state.step)}")
    return state


def restore_part(directory: Path, like: Any, step: int) -> Any:
    """Returns those parts of a checkpoint that `like` has, placed like it."""
    part = ocp.args.PyTreeRestore(
        item=like,
        restore_args=ocp.checkpoint_utils.construct_restore_args(like),
        partial_restore=True,
    )
    return _read(directory, step, part)


class Found(NamedTuple):
    """A checkpoint that was read.

    Attributes:
      value: what was read.
      step: its step.
      damaged: newer steps that are damaged, with the reason.
      gone: steps that were removed before they were read.
    """

    value: Any
    step: int
    damaged: dict[int, str]
    gone: list[int]


class GoneError(UserError):
    """A checkpoint is not there, or was removed before it could be read."""


def newest_whole(
    directory: Path, like: Any, read: Callable[[int], Any], step: int | None = None
) -> Found:
    """Reads the newest whole checkpoint.

    The manifest is checked first, since orbax reads arrays with a flipped bit like any
    others. A checkpoint without a manifest counts as whole if it can be read. The
    checkpoints are listed again after each one that cannot be read, since a training
    may have removed it.

    Args:
      directory: the directory of the checkpoints.
      like: the shapes that `read` needs.
      read: restores a step.
      step: the only step to try; None: all of them, the newest first.

    Raises:
      UserError: every checkpoint is damaged, or they are those of other networks.
      GoneError: every checkpoint has been removed since.
    """
    disk.check_path(directory, writing=False)
    damaged: dict[int, str] = {}
    gone: list[int] = []
    while len(gone) < _MOST_GONE:
        known = [step] if step is not None else steps(directory)
        left = [found for found in known if found not in damaged and found not in gone]
        chosen = processes.number_of_first(left[-1] if left else -1)
        if chosen < 0:
            break
        value, damage = _try(directory, chosen, like, read)
        if not damage:
            return Found(value, chosen, damaged, gone)
        if processes.agree(disk.is_gone(directory / str(chosen))):
            gone.append(chosen)
        else:
            damaged[chosen] = damage
    if not damaged:
        raise GoneError(
            f"checkpoint {', '.join(map(str, gone))} in {str(directory)!r} was removed "
            "before it was read, by the training that writes there; raise its "
            "train.keep_checkpoints, or try again."
        )
    reasons = "; ".join(f"{step}: {damage}" for step, damage in damaged.items())
    raise UserError(
        f"every checkpoint tried in {str(directory)!r} is damaged ({reasons}). Nothing "
        "was changed; restore a backup, or pass another --step or --workdir."
    )


def _try(
    directory: Path, step: int, like: Any, read: Callable[[int], Any]
) -> tuple[Any, str]:
    """Returns what `read` gives and '', or None and the damage of the checkpoint."""
    folder = directory / str(step)
    damage = manifest.damage(folder, NEEDED) if processes.is_first() else ""
    if processes.agree(bool(damage)):
        return None, damage or "another process found it damaged"
    try:
        _check_shapes(folder, like)
        value = read(step)
    except _OtherShapesError as error:
        if not manifest.digest(folder):
            return None, f"reading it failed: {error}"
        raise UserError(
            f"checkpoint {step} in {str(directory)!r} holds other networks than "
            f"config.json describes ({error}); restore config.json as the run wrote "
            "it, from a backup or from the last line of starts.jsonl."
        ) from None
    # Damaged files raise nearly anything; only what is short here is no damage.
    except Exception as error:
        if disk.is_shortage(error):
            raise
        reason = textwrap.shorten(str(error), 100, placeholder=" ...")
        damage = f"reading it failed with {type(error).__name__}: {reason}"
    if processes.agree(bool(damage)):
        return None, damage or "another process found it damaged"
    return value, ""


def warn(sentence: str) -> None:
    """Prints a warning on stderr."""
    print(f"warning: {sentence}", file=sys.stderr)


class _OtherShapesError(Exception):
    """The arrays of a checkpoint are not those of the networks."""


def _check_shapes(folder: Path, like: Any) -> None:
    """Raises _OtherShapesError unless a checkpoint has the arrays of `like`.

    Orbax would find out while it reads, in threads that go on after it has failed.
    """
    stored = _shapes(folder)
    for path, leaf in _named(like).items():
        if path not in stored:
            raise _OtherShapesError(f"{path} is missing there")
        if stored[path] != tuple(leaf.shape):
            raise _OtherShapesError(
                f"{path} is {stored[path]} there and {tuple(leaf.shape)} by config.json"
            )


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every array in a checkpoint, by dotted name."""
    # The handler alone: a Checkpointer would warn of a file that is never there.
    tree = ocp.StandardCheckpointHandler().metadata(folder / "default").tree
    return {name: tuple(leaf.shape) for name, leaf in _named(tree).items()}


def _named(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }


def _check_restores(directory: Path, state: GanState, step: int) -> None:
    """Raises UserError unless a checkpoint has every array of `state` and its step."""
    try:
        _check_shapes(directory / str(step), state)
        like = jax.eval_shape(lambda: {"step": state.step})
        found = int(restore_part(directory, like, step)["step"])
        damage = "" if found == step else f"it holds the state of step {found}"
    except Exception as error:
        if disk.is_shortage(error):
            raise
        damage = textwrap.shorten(str(error), 100, placeholder=" ...")
    if processes.agree(bool(damage)):
        raise UserError(
            f"the first checkpoint of this start, {str(directory / str(step))!r}, "
            f"cannot be restored ({damage}); train in another --workdir, on another "
            "disk or under a plain name."
        )


def _read_state(directory: Path, step: int, like: GanState) -> GanState:
    found = _read(directory, step, ocp.args.StandardRestore(_stored(like)))
    state: GanState = _from_stored(found, like)
    return state


def _stored(tree: Any) -> Any:
    """Returns a state as it is stored: without the empty fields in `state.LATER`.

    Orbax refuses to restore a tree with a field that the stored one lacks, even if it
    is empty.
    """
    if not dataclasses.is_dataclass(tree) or isinstance(tree, type):
        return tree
    fields = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)}
    return {
        name: _stored(value)
        for name, value in fields.items()
        if name not in LATER or value
    }


def _from_stored(found: Any, like: Any) -> Any:
    """Returns what was restored in the form of `like`; the inverse of `_stored`."""
    if not dataclasses.is_dataclass(like) or isinstance(like, type):
        return found
    return dataclasses.replace(
        like,
        **{
            name: _from_stored(part, getattr(like, name))
            for name, part in found.items()
        },
    )


def _read(directory: Path, step: int, args: Any) -> Any:
    # No CheckpointManager: it would complain about every other step that is damaged.
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        found = reader.restore(directory / str(step), ocp.args.Composite(default=args))
    return found["default"]


def _free_name(path: Path) -> Path:
    """Returns `path`, or the path with the first suffix -2, -3, ... that is free."""
    names = itertools.chain(
        [path], (path.with_name(f"{path.name}-{i}") for i in itertools.count(2))
    )
    return next(name for name in names if not name.exists())
