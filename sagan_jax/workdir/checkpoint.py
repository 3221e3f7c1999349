"""The checkpoints in a directory: one sub-directory per step, and a manifest in each.

Orbax writes a checkpoint under a temporary name and renames it when it is complete, so
that a killed save leaves the others as they were. Orbax verifies nothing when it reads;
the manifest of hashes does. A reader takes the newest checkpoint that is not damaged.
"""

import itertools
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sagan_jax.config import TrainConfig
from sagan_jax.errors import UserError
from sagan_jax.files import manifest
from sagan_jax.runtime import processes
from sagan_jax.training.state import GanState


class Manager:
    """Saves the checkpoints of a run while it trains, with a manifest for each.

    Saving is asynchronous: close the manager, or the last checkpoint is lost. The
    manifest is written after orbax has renamed the checkpoint into place: at the next
    `write_pending_manifest`, `save` or `close`. A kill before that leaves a checkpoint
    without a manifest.
    """

    def __init__(self, directory: Path, options: ocp.CheckpointManagerOptions):
        self._directory = directory
        self._orbax = ocp.CheckpointManager(directory, options=options)
        self._without_manifest: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._orbax.close()
        self.write_pending_manifest()

    def save(self, state: GanState) -> None:
        """Starts to save `state` under its own step, which must be a new one."""
        self._orbax.wait_until_finished()
        self.write_pending_manifest()
        step = int(state.step)
        if not self._orbax.save(step, args=ocp.args.StandardSave(state)):
            raise RuntimeError(
                f"checkpoint {step} was not saved; there is a newer checkpoint"
            )
        self._without_manifest = step

    def write_pending_manifest(self) -> None:
        """Writes the manifest of the newest checkpoint if its save has finished."""
        if self._without_manifest is None or self._orbax.is_saving_in_progress():
            return
        folder = self._directory / str(self._without_manifest)
        self._without_manifest = None
        # A save that failed leaves no directory, and orbax raises the reason.
        if processes.is_first() and folder.is_dir():
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
      UserError: there are checkpoints, and all are damaged; they are left as they are.
    """
    known = steps(directory)
    if not known:
        return None
    state, damaged = newest_whole(
        directory, known, lambda step: restore(directory, like, step)
    )
    moved = set_aside(directory, list(damaged), "damaged")
    for aside, (step, damage) in zip(moved, damaged.items(), strict=False):
        warn(f"checkpoint {step} is damaged ({damage}) and was moved to {aside}.")
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


def restore(directory: Path, like: GanState, step: int) -> GanState:
    """Returns the state of a checkpoint, placed like `like` (arrays or shapes)."""
    state: GanState = _read(directory, step, ocp.args.StandardRestore(like))
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


def newest_whole(
    directory: Path, candidates: list[int], read: Callable[[int], Any]
) -> tuple[Any, dict[int, str]]:
    """Returns `read(step)` of the newest whole checkpoint, and why newer ones are not.

    The manifest is checked first, since orbax reads arrays with a flipped bit like any
    others. A checkpoint without a manifest counts as whole if it can be read.

    Args:
      directory: the directory of the checkpoints.
      candidates: steps to try, in order; the last one is tried first.
      read: restores a step.

    Raises:
      UserError: every candidate is damaged.
    """
    damaged: dict[int, str] = {}
    for step in reversed(candidates):
        first = processes.is_first()
        damage = manifest.damage(directory / str(step)) if first else ""
        if not processes.agree(bool(damage)):
            try:
                found = read(step)
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = textwrap.shorten(str(error), 100, placeholder=" ...")
                damage = f"reading it failed with {type(error).__name__}: {reason}"
            if not processes.agree(bool(damage)):
                return found, damaged
        damaged[step] = damage
    reasons = "; ".join(f"{step}: {damage}" for step, damage in damaged.items())
    raise UserError(
        f"every checkpoint tried in {str(directory)!r} is damaged ({reasons}). Nothing "
        "was changed; restore a backup, or pass another --step or --workdir."
    )


def warn(sentence: str) -> None:
    """Prints a warning on stderr."""
    print(f"warning: {sentence}", file=sys.stderr)


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
