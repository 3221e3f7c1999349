"""Training: the one place where time passes."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan_jax import config as config_lib
from sagan_jax import networks
from sagan_jax.commands.loop import Collapse, Loop, Parts
from sagan_jax.commands.options import Options
from sagan_jax.commands.stored_step import StoredStep
from sagan_jax.config import Config, objectives
from sagan_jax.data import sources
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import results
from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.files import json_lines, lock, names, paths
from sagan_jax.networks import Discriminator
from sagan_jax.runtime import allocator, devices, processes
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import fine_tuning, frozen, optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.repeated import repeated
from sagan_jax.training.state import GanState
from sagan_jax.training.train_step import make_train_step
from sagan_jax.workdir import rollback
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.run import Run


def main(options: Options) -> None:
    """Trains the config of the command line."""
    config = options.needed_config()
    remarks = mesh_lib.start(config)
    if processes.is_first():
        print(f"training on {devices.in_words(config.mesh.devices)}")
        for remark in remarks + _of_slow_loops(config) + objectives.remarks(config):
            print(remark)
    train(config, options.workdir_path(), options.command, store=True)


def train(
    config: Config,
    workdir: Path,
    command: str = "the same command",
    *,
    store: bool = False,
) -> None:
    """Trains until `train.steps`, from the newest undamaged checkpoint if there is one.

    Writes config.json, starts.jsonl, metrics.jsonl, tensorboard/, checkpoints/ and
    samples/ (a sheet of real images, then sheets at fixed latents with one row per
    class, from step 0 on) into `workdir`, and scores at the end. SIGINT and SIGTERM
    save and return. Signs of collapse are reported, and with `train.rollbacks` the run
    goes back to an earlier checkpoint.

    Args:
      config: the config of the run.
      workdir: the directory of the run; it may hold an earlier part of the same run.
      command: the command that resumes the run, for messages.
      store: whether to keep the compiled step in the cache directory for later starts.

    Raises:
      UserError: a field that cannot work, or another process in `workdir`, both found
        before anything is compiled; or a step with non-finite losses or gradients.
    """
    workdir = paths.local(workdir)
    config_lib.validate(config)
    built = networks.build(config.model)
    mesh = mesh_lib.make_mesh(config)
    _check_kernel(config, mesh)
    source = sources.make_source(config)
    sources.check_apart(source, config, workdir)
    # What scoring needs is found now, so that no run fails at its end.
    wanted = config.evaluation.every or results.is_wanted(config)
    scorer = Scorer(config, source) if wanted else None
    _check_start(config, workdir)
    images = source.digest()
    with _held(workdir):  # before any file in it is touched
        run = run_lib.begin(workdir, config, images)
    parts = Parts(run, command, images, mesh, source, *built, scorer)
    with _held(workdir):
        rollbacks = rollback.count(run)
        while collapse := train_until_interrupted(parts, rollbacks, store=store):
            print(rollback.go_back(run, *collapse))
            rollbacks += 1
            # The changes of this start have been recorded.
            parts = parts._replace(run=Run(run.workdir, config))


def _check_start(config: Config, workdir: Path) -> None:
    """Raises UserError if a new run has nothing to start from, and should."""
    path = config.train.init_from
    if path and not Run(workdir, config).steps():
        with naming("train.init_from", path):
            run_lib.open_run(path).check_step(None)


def _first_state(
    config: Config,
    discriminator: Discriminator,
    state: GanState,
    say: Callable[[str], None],
) -> GanState:
    """Returns the state of step 0, which starts from `train.init_from` if that is set.

    Args:
      config: the config of the run.
      discriminator: the discriminator.
      state: the state with its initial values.
      say: prints a sentence.

    Raises:
      UserError: there is nothing to start from, or it does not fit.
    """
    path = config.train.init_from
    if not path:
        return state
    with naming("train.init_from", path):
        source, step = run_lib.open_run(path).load_source()
        kept = frozen.layers(discriminator, config.train.freeze_discriminator)
        started, words = fine_tuning.started_from(state, source, kept)
    say(f"started from step {step} of {names.shown(path)}: {words}")
    # Copies with the sharding of the new state, which a step may donate.
    return jax.tree.map(
        lambda old, new: (
            old
            if new is old
            else jax.device_put(jnp.array(new, copy=True), old.sharding)
        ),
        state,
        started,
    )


def _check_kernel(config: Config, mesh: jax.sharding.Mesh) -> None:
    platform = mesh.devices.flat[0].platform
    if config.model.attention_kernel == "cudnn" and platform != "gpu":
        raise UserError(
            "model.attention_kernel='cudnn' needs an NVIDIA GPU, but this run is on a "
            f"{platform.upper()}; choose plain or xla."
        )


def _of_slow_loops(config: Config) -> list[str]:
    """Returns a remark if steps are made in a loop on a CPU."""
    if config.train.steps_per_dispatch == 1 or jax.devices()[0].platform != "cpu":
        return []
    return [
        f"note: train.steps_per_dispatch={config.train.steps_per_dispatch} makes steps "
        "in a loop, where convolutions on a CPU are much slower; choose 1."
    ]


@contextlib.contextmanager
def _held(workdir: Path) -> Iterator[None]:
    # The first process holds the workdir for all processes of the run.
    with contextlib.ExitStack() as stack:
        if processes.is_first():
            with naming("workdir", str(workdir)):
                stack.enter_context(lock.held(workdir))
        yield


def train_until_interrupted(
    parts: Parts, rollbacks: int, *, store: bool = False
) -> Collapse | None:
    """Trains from the newest checkpoint until the end, a stop request or a collapse.

    Args:
      parts: the run and what it is made of.
      rollbacks: how many rollbacks the run has made so far.
      store: whether to keep the compiled step for later starts.

    Returns:
      The collapse that a rollback should answer, or None.
    """
    run, config = parts.run, parts.run.config
    seeded = rollback.reseeded(config, rollbacks)
    built = (
        seeded,
        parts.generator,
        parts.discriminator,
        optim.make_optimizers(config),
    )
    seed = mesh_lib.everywhere(np.uint32(seeded.train.seed), parts.mesh)
    create = jax.jit(
        lambda seed: state_lib.create(*built, seed),
        out_shardings=mesh_lib.replicated(parts.mesh),
    )
    unfinished = max(run.steps(), default=0) < config.train.steps
    stored = StoredStep(seeded, parts.mesh) if store and unfinished else None
    saved = run.resume(mesh_lib.placed(jax.eval_shape(create, seed), parts.mesh))
    start, steps = (int(saved.step) if saved else 0), config.train.steps
    if start > steps or (start == steps and results.is_finished(run)):
        print(
            f"{names.shown(run.workdir)} has all of its {start} steps; raise "
            "train.steps to train further."
        )
        return None
    step = make_train_step(*built, mesh_lib.constrain(parts.mesh))
    step_fn: Any = mesh_lib.jit_step(step, parts.mesh, seeded=True)
    several_fn = mesh_lib.jit_step(
        repeated(step), parts.mesh, stacked=True, seeded=True
    )
    if processes.is_first():
        json_lines.drop_after(run.evaluations, start)
    with contextlib.ExitStack() as stack:
        loop = Loop(
            parts,
            stack,
            start=start,
            seed=seeded.train.seed,
            may_roll_back=rollbacks < config.train.rollbacks,
        )
        state = saved or _first_state(
            config, parts.discriminator, create(seed), loop.say
        )
        loop.report_start(state, resumed=saved is not None)
        # Compiling takes long, so the start is on record by now.
        if stored and not loop.is_stopping:
            step_fn, remark = stored.get(step_fn, (state, seed), loop.answer_stop)
            loop.say(remark)
            allocator.release()
        outcome = loop.steps(
            lambda state, batch: step_fn(state, batch, seed),
            lambda state, batches: several_fn(state, batches, seed),
            state,
        )
    if isinstance(outcome, Collapse):
        return outcome
    if outcome < steps:
        saved_at = (
            f"and saved at step {outcome}" if outcome else "before the first step"
        )
        print(f"stopped {saved_at}; resume with: {parts.command}")
        return None
    if processes.is_first():
        print(f"{steps} steps done; pictures in {names.shown(run.samples)}")
    report = results.finish(run, rollbacks=rollbacks)
    if processes.is_first() and report:
        print(report)
    return None
