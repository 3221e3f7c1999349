"""A run on disk: its config, its checkpoints, and the generator they hold.

A workdir has `config.json` and `checkpoints/<step>/`. Orbax writes a checkpoint beside
and renames it when it is whole, so that a killed write leaves the others as they were.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from sagan_jax import config as config_lib
from sagan_jax import networks, optim
from sagan_jax import state as state_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.networks import Generator
from sagan_jax.state import GanState

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"

# A run may go on with other values of these; every other field makes another run.
MAY_CHANGE = (
    "name",
    "data.path",
    "data.max_unreadable",
    "data.threads",
    "train.steps",
    "train.log_every",
    "train.sample_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.keep_every",
)
_IDENTITY = ("model", "data", "optim", "train")


def open_manager(workdir: Path, config: Config) -> ocp.CheckpointManager:
    """Returns the manager of a workdir's checkpoints; close it, or the last is lost.

    Saving is asynchronous. The newest `keep_checkpoints` stay, and every one at a
    multiple of `keep_every`.
    """
    keep: list[Any] = [
        checkpoint_managers.LatestN(config.train.keep_checkpoints),
    ]
    if config.train.keep_every:
        keep.append(checkpoint_managers.EveryNSteps(config.train.keep_every))
    options = ocp.CheckpointManagerOptions(
        preservation_policy=checkpoint_managers.AnyPreservationPolicy(keep)
    )
    return ocp.CheckpointManager(workdir.absolute() / CHECKPOINTS, options=options)


def save(manager: ocp.CheckpointManager, state: GanState) -> None:
    """Starts to write `state` under its own step; the step must be new."""
    step = int(state.step)
    if not manager.save(step, args=ocp.args.StandardSave(state)):
        raise RuntimeError(f"checkpoint {step} was not written; there is a newer one")


def restore(manager: ocp.CheckpointManager, like: GanState, step: int) -> GanState:
    """Returns the state of `step`, placed like `like` (arrays or shapes).

    Raises:
      UserError: the checkpoint is damaged.
    """
    with _readable(manager, step):
        return manager.restore(step, args=ocp.args.StandardRestore(like))


@contextlib.contextmanager
def _readable(manager: ocp.CheckpointManager, step: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(
            f"checkpoint {step} cannot be read ({type(error).__name__}); remove "
            f"{str(manager.directory / str(step))!r} to go on from an earlier one."
        ) from error


def prepare_workdir(workdir: Path, config: Config) -> None:
    """Makes a workdir for `config`, or checks that it holds a run of the same kind.

    Raises:
      UserError: it is a file, cannot be written, or holds another run.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(
            f"workdir={str(workdir)!r} is a file; give a directory, or a new name."
        )
    path = workdir / CONFIG
    if path.exists():
        _check_same_run(workdir, config, read_config(workdir))
    if jax.process_index():
        return  # two writers of one file would take it from each other
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        beside.write_text(config_lib.to_json(config), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UserError(
            f"workdir={str(workdir)!r} cannot be written ({error.strerror}); give "
            "another with --workdir."
        ) from None


def _check_same_run(workdir: Path, config: Config, found: Config) -> None:
    changed = [
        f"{name}: {theirs!r} there, {ours!r} asked for"
        for name, ours, theirs in config_lib.differences(config, found, _IDENTITY)
        if name not in MAY_CHANGE
    ]
    if changed:
        raise UserError(
            f"workdir={str(workdir)!r} holds another run ({'; '.join(changed)}); give "
            "another --workdir, or its own settings."
        )


def read_config(workdir: Path) -> Config:
    """Returns the config of the run in a workdir.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    path = workdir / CONFIG
    if not path.is_file():
        raise UserError(
            f"workdir={str(workdir)!r} holds no run ({CONFIG} is missing); train one "
            "with --mode train, or give its --workdir."
        )
    try:
        return config_lib.from_json(path.read_text(encoding="utf-8"))
    except (UserError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None


def steps(workdir: Path) -> list[int]:
    """Returns the steps whose checkpoints are whole, in order."""
    root = workdir.absolute() / CHECKPOINTS
    if not root.is_dir():
        return []
    return sorted(ocp.utils.checkpoint_steps(root))


def load(
    workdir: str | Path, step: int | None = None, ema: bool = True
) -> tuple[Generator, dict[str, Any], Config]:
    """Returns the generator of a run, its variables, and the run's config.

    `generator.apply(variables, z, labels, train=False)` gives images in [-1, 1]. The
    variables hold the moving average of the parameters where `ema` is set and the run
    kept one, with the live running statistics, and `u` brought onto those kernels.

    Args:
      workdir: of the run.
      step: of a checkpoint; None: the newest.
      ema: the averaged parameters rather than the live ones.

    Raises:
      UserError: no run, no checkpoint, or none of that step.
    """
    workdir = Path(workdir)
    config = read_config(workdir)
    step = chosen_step(workdir, step)
    generator, discriminator = networks.build(config.model)
    shapes = jax.eval_shape(
        lambda: state_lib.create(
            config, generator, discriminator, optim.make_optimizers(config)
        )
    )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    average = ema and bool(config.train.ema_decay)
    wanted: dict[str, Any] = {"generator": shapes.generator.variables}
    if average:
        wanted["ema"] = shapes.ema
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), wanted
    )
    with (
        ocp.CheckpointManager(workdir.absolute() / CHECKPOINTS) as manager,
        _readable(manager, step),
    ):
        found = manager.restore(
            step,
            args=ocp.args.PyTreeRestore(
                item=wanted,
                restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                partial_restore=True,
            ),
        )
    variables = state_lib.generator_variables(
        generator, found["generator"], found.get("ema", {})
    )
    return generator, variables, config


def chosen_step(workdir: Path, step: int | None) -> int:
    """Returns `step`, or the newest for None.

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
        return known[-1]
    if step not in known:
        raise UserError(
            f"step={step} has no checkpoint in {str(workdir)!r}; choose among "
            f"{', '.join(map(str, known))}."
        )
    return step
