"""The checkpoints of a run, and the generator they hold.

They are `checkpoints/<step>/` of a workdir. Orbax writes a checkpoint beside and
renames it when it is whole, so that a killed write leaves the others as they were; a
manifest of hashes then guards it. Whoever reads takes the newest that is whole.
"""

import itertools
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sagan_jax import networks
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import manifest
from sagan_jax.networks import Generator
from sagan_jax.runtime.processes import _in_any_process
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState
from sagan_jax.workdir import run_config

CHECKPOINTS = "checkpoints"


class Manager:
    """Writes the checkpoints of a run while it goes on, and a manifest for each.

    Saving is asynchronous: close the manager, or the last checkpoint is lost. Its
    manifest follows when orbax has renamed the checkpoint into place, at the next
    `settle` or `save` or at the end; a kill before that leaves it without one.
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
        self.settle()

    def save(self, state: GanState) -> None:
        """Starts to write `state` under its own step; the step must be new."""
        self._orbax.wait_until_finished()
        self.settle()
        step = int(state.step)
        if not self._orbax.save(step, args=ocp.args.StandardSave(state)):
            raise RuntimeError(
                f"checkpoint {step} was not written; there is a newer one"
            )
        self._without_manifest = step

    def settle(self) -> None:
        """Writes the manifest of the newest checkpoint once that is whole."""
        if self._without_manifest is None or self._orbax.is_saving_in_progress():
            return
        folder = self._directory / str(self._without_manifest)
        self._without_manifest = None
        # A save that failed leaves no directory, and orbax raises what was wrong.
        if jax.process_index() == 0 and folder.is_dir():
            manifest.write(folder)


def open_manager(
    workdir: Path,
    config: Config,
    best: Callable[[Path], int | None] = lambda workdir: None,
) -> Manager:
    """Returns the manager of a workdir's checkpoints; close it by `with`.

    The newest `keep_checkpoints` stay, every one at a multiple of `keep_every`, and
    the best: orbax's own policy of that name would delete the newest.

    Args:
      workdir: of the run.
      config: of the run.
      best: from a workdir to the step that is best at the moment; asked at each save.
    """
    keep: list[Any] = [
        checkpoint_managers.LatestN(config.train.keep_checkpoints),
        _Best(lambda: best(workdir)),
    ]
    if config.train.keep_every:
        keep.append(checkpoint_managers.EveryNSteps(config.train.keep_every))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep)
    )
    return Manager(_root(workdir), options)


class _Best:
    """A policy of orbax that keeps one step."""

    def __init__(self, step: Callable[[], int | None]) -> None:
        self._step = step

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        best = self._step()
        return [found.step == best for found in checkpoints]


def resume(workdir: Path, like: GanState) -> GanState | None:
    """Returns the state of the newest checkpoint that is whole; None without any.

    Newer ones that are damaged are told of and set aside.

    Args:
      workdir: of the run.
      like: shapes with shardings, for the state's.

    Raises:
      UserError: there are checkpoints, and all are damaged; they are left as they are.
    """
    known = steps(workdir)
    if not known:
        return None
    state, damaged = _newest_whole(
        workdir, known, lambda step: restore(workdir, like, step)
    )
    moved = set_aside(workdir, list(damaged), "damaged")
    for aside, (step, damage) in zip(moved, damaged.items(), strict=False):
        _warn(f"checkpoint {step} is damaged ({damage}); it was moved to {aside}.")
    return state


def set_aside(workdir: Path, steps: list[int], why: str) -> list[Path]:
    """Renames checkpoints to `<step>.<why>`; returns their new paths, in process 0.

    Under their own names, orbax would take no step up to theirs. Nothing is removed.
    """
    moved = []
    for step in steps if jax.process_index() == 0 else []:
        aside = _free_name(_root(workdir) / f"{step}.{why}")
        (_root(workdir) / str(step)).rename(aside)
        moved.append(aside)
    _in_any_process(False)  # nobody lists the directory before that
    return moved


def restore(workdir: Path, like: GanState, step: int) -> GanState:
    """Returns the state of a checkpoint, placed like `like` (arrays or shapes)."""
    state: GanState = _read(workdir, step, ocp.args.StandardRestore(like))
    if int(state.step) != step:
        raise ValueError(f"it holds the state of step {int(state.step)}")
    return state


def _read(workdir: Path, step: int, args: Any) -> Any:
    # No manager: it would complain of every other step that is damaged.
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        found = reader.restore(
            _root(workdir) / str(step), ocp.args.Composite(default=args)
        )
    return found["default"]


def _newest_whole(
    workdir: Path, known: list[int], read: Callable[[int], Any]
) -> tuple[Any, dict[int, str]]:
    """Returns what `read` gives of the last step that is whole, and what others lack.

    The manifest is checked first: orbax reads arrays with a wrong bit like any others.
    A checkpoint without a manifest is whole when it can be read.

    Args:
      workdir: of the run.
      known: steps, in order.
      read: restores a step.

    Raises:
      UserError: none is whole.
    """
    damaged: dict[int, str] = {}
    for step in reversed(known):
        first = jax.process_index() == 0
        damage = manifest.damage(_root(workdir) / str(step)) if first else ""
        if not _in_any_process(bool(damage)):
            try:
                found = read(step)
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = textwrap.shorten(str(error), 100, placeholder=" ...")
                damage = f"it cannot be read, {type(error).__name__}: {reason}"
            if not _in_any_process(bool(damage)):
                return found, damaged
        damaged[step] = damage
    found = "; ".join(f"{step}: {damage}" for step, damage in damaged.items())
    raise UserError(
        f"no checkpoint of workdir={str(workdir)!r} that was tried is whole ({found}); "
        "nothing was changed: put back a copy, or give another step or --workdir."
    )


def _free_name(path: Path) -> Path:
    """Returns `path`, or with the first number that makes it new."""
    names = itertools.chain(
        [path], (path.with_name(f"{path.name}-{i}") for i in itertools.count(2))
    )
    return next(name for name in names if not name.exists())


def _warn(sentence: str) -> None:
    print(f"warning: {sentence}", file=sys.stderr)


def _root(workdir: Path) -> Path:
    return workdir.absolute() / CHECKPOINTS


def steps(workdir: Path) -> list[int]:
    """Returns the steps that have a checkpoint, damaged or not, in order."""
    root = _root(workdir)
    if not root.is_dir():
        return []
    names = [path.name for path in root.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))


def load(
    workdir: str | Path, step: int | None = None, ema: bool = True
) -> tuple[Generator, dict[str, Any], Config]:
    """Returns the generator of a run, its variables, and the run's config.

    `generator.apply(variables, z, labels, train=False)` gives images in [-1, 1]. The
    variables hold the moving average of the parameters where `ema` is set and the run
    kept one, with the live running statistics, and `u` brought onto those kernels.

    Args:
      workdir: of the run.
      step: of a checkpoint; None: the newest that is whole.
      ema: the averaged parameters rather than the live ones.

    Raises:
      UserError: no run, no checkpoint, none of that step, or a damaged one.
    """
    return load_with_step(Path(workdir), step, ema)[:3]


def load_with_step(
    workdir: Path, step: int | None, ema: bool
) -> tuple[Generator, dict[str, Any], Config, int]:
    """Returns what `load` does, and the step that was taken."""
    config = run_config.read(workdir)
    known = _asked_for(workdir, step)
    generator, discriminator = networks.build(config.model)
    shapes = jax.eval_shape(
        lambda: state_lib.create(
            config, generator, discriminator, optim.make_optimizers(config)
        )
    )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    average = ema and bool(config.train.ema_decay)
    wanted: dict[str, Any] = {"step": shapes.step}
    wanted["generator"] = shapes.generator.variables
    if average:
        wanted["ema"] = shapes.ema
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), wanted
    )
    part = ocp.args.PyTreeRestore(
        item=wanted,
        restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
        partial_restore=True,
    )
    found, damaged = _newest_whole(workdir, known, lambda s: _read(workdir, s, part))
    for other, damage in damaged.items():
        _warn(f"checkpoint {other} is damaged ({damage}); an earlier one is used.")
    variables = state_lib.generator_variables(
        generator, found["generator"], found.get("ema", {})
    )
    return generator, variables, config, int(found["step"])


def _asked_for(workdir: Path, step: int | None) -> list[int]:
    """Returns [step], or all for None.

    Raises:
      UserError: no checkpoint, or none of that step.
    """
    known = steps(workdir)
    if not known:
        raise UserError(
            f"workdir={str(workdir)!r} holds no checkpoint yet; train until the first "
            "one, at train.checkpoint_every steps."
        )
    if step is None:
        return known
    if step not in known:
        raise UserError(
            f"step={step} has no checkpoint in {str(workdir)!r}; choose among "
            f"{', '.join(map(str, known))}."
        )
    return [step]
