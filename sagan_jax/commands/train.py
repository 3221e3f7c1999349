"""Training: the one place where time passes."""

import contextlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sagan_jax import config as config_lib
from sagan_jax import networks
from sagan_jax.config import Config
from sagan_jax.data import pipeline, sources
from sagan_jax.data import source as source_lib
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import progress, results
from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.files import json_lines, lock
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.pictures import sheets
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.runtime.stop import StopRequest
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.collapse import Sign, Watch
from sagan_jax.training.state import GanState
from sagan_jax.training.train_step import make_train_step
from sagan_jax.workdir import checkpoint, rollback, run_config, telemetry

STEPS_AHEAD = 2

_ADVICE = "If it stays so, lower the rates; train.rollbacks goes back by itself."
_MEND = (
    "the state is saved in {workdir}; look at metrics.jsonl, and start again with "
    "lower optim.generator_lr and optim.discriminator_lr."
)


class _Run(NamedTuple):
    """What stays the same from the first start to the last step."""

    config: Config
    workdir: Path
    command: str
    changes: list[run_config.Change]
    images: str
    mesh: jax.sharding.Mesh
    source: source_lib.Source
    generator: Generator
    discriminator: Discriminator
    scorer: Scorer | None


def train(config: Config, workdir: Path, command: str = "the same command") -> None:
    """Trains until `train.steps`, from the newest whole checkpoint if there is one.

    Writes into `workdir`: config.json, starts.jsonl, metrics.jsonl, tensorboard/,
    checkpoints/, samples/ (a sheet of real images before the first step, then fixed
    latents, classes by rows), and for the synthetic source the scores at the end.
    SIGINT and SIGTERM save and return. Signs of collapse are said, and with
    `train.rollbacks` answered by going back to a checkpoint.

    Args:
      config: of the run.
      workdir: is made; may hold an earlier part of the same run.
      command: what a user types to go on; part of what is said at a stop.

    Raises:
      UserError: a field that cannot work, or another process at work in `workdir`,
        found before anything compiles; or a step whose losses or gradients were not
        finite.
    """
    config_lib.validate(config)
    networks_of_run = networks.build(config.model)
    mesh = mesh_lib.make_mesh(config)
    source = sources.make_source(config)
    # What scoring needs is found now: no run should end for the lack of it.
    wanted = config.evaluation.every or results.is_wanted(config)
    scorer = Scorer(config, source) if wanted else None
    images = source_lib.digest(source)
    with _held(workdir):  # before a file of it is touched
        changes = run_config.prepare(workdir, config, images)
    run = _Run(
        config,
        workdir,
        command,
        changes,
        images,
        mesh,
        source,
        *networks_of_run,
        scorer,
    )
    rollbacks = rollback.count(workdir)
    with _held(workdir):
        while (collapse := _go_on(run, rollbacks)) is not None:
            print(rollback.go_back(workdir, *collapse))
            rollbacks += 1
            run = run._replace(changes=[])  # they have been told


@contextlib.contextmanager
def _held(workdir: Path) -> Iterator[None]:
    # One process holds it for all of a run's.
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            with naming("workdir"):
                stack.enter_context(lock.held(workdir))
        yield


def _go_on(run: _Run, rollbacks: int) -> tuple[Sign, int] | None:
    """Trains from the newest whole checkpoint until the end, a stop, or a collapse.

    Returns the sign and the step of a collapse that a rollback should answer.
    """
    config, workdir, generator = run.config, run.workdir, run.generator
    seeded = rollback.reseeded(config, rollbacks)
    parts = (seeded, generator, run.discriminator, optim.make_optimizers(config))
    create = jax.jit(
        lambda: state_lib.create(*parts), out_shardings=mesh_lib.replicated(run.mesh)
    )
    saved = checkpoint.resume(workdir, _placed(jax.eval_shape(create), run.mesh))
    start, steps = (int(saved.step) if saved else 0), config.train.steps
    if start > steps or (start == steps and results.is_finished(workdir, config)):
        print(f"{workdir} has all of its {start} steps; raise train.steps to go on.")
        return None
    constrain = mesh_lib.constrain(run.mesh)
    step_fn = mesh_lib.jit_step(make_train_step(*parts, constrain), run.mesh)
    main = jax.process_index() == 0
    if main:
        json_lines.drop_after(workdir / progress.FILE, start)
    watch = Watch(json_lines.read_metrics(workdir / "metrics.jsonl", start))
    with (
        checkpoint.open_manager(workdir, config, _best_step) as manager,
        telemetry.Telemetry(
            workdir / "metrics.jsonl",
            start=start,
            steps=steps,
            events=workdir / "tensorboard",
            enabled=main,
        ) as report,
        pipeline.batches(
            run.source,
            batch_size=config.train.batch_size * config.train.d_steps,
            seed=seeded.train.seed,
            start=start,
            horizontal_flip=config.data.horizontal_flip,
            random_crop=config.data.random_crop,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=config.data.threads,
        ) as stream,
        StopRequest() as stop,
    ):
        for sentence in source_lib.news(run.source):
            report.say(sentence)
        state = saved or create()
        if saved:
            report.say(f"resumed at step {start}")
        if main:
            _record_start(run, start, report)
        if main and not saved:
            report.show(0, "real", sheets.save_real(config, run.source, workdir))
            report.show(0, "samples", sheets.save(config, generator, state, workdir))
        skipped, finite_until = int(state.skipped), start
        pace = telemetry.Pace(config.train.batch_size, start)
        running: deque[Any] = deque()
        step = start
        for step in range(start + 1, steps + 1):
            batch = mesh_lib.global_batch(next(stream), run.mesh)
            state, metrics = step_fn(state, batch)
            # Two steps ahead of the device keep it busy; more would only make the bar
            # tell of work that is not done, and a stop wait for it.
            running.append(metrics)
            if len(running) > STEPS_AHEAD:
                jax.block_until_ready(running.popleft())
            report.advance()
            last = step == steps or stop.requested
            if step % config.train.log_every == 0 or last:
                scalars = {k: float(v) for k, v in jax.device_get(metrics).items()}
                for sentence in watch.read(step, scalars):
                    report.say(f"warning: {sentence} {_ADVICE}")
                scalars["collapse_signs"] = float(len(watch.standing))
                scalars["images_replaced"] = float(source_lib.replaced(run.source))
                report.log(step, scalars | {"images_per_second": pace.rate(step)})
                for sentence in source_lib.news(run.source):
                    (report.say if main else print)(sentence)
                manager.settle()
                collapse = watch.lasting(step)
                if scalars["skipped"] > skipped:
                    sentence = _not_finite(step, scalars, skipped)
                    collapse = Sign("not_finite", finite_until + 1, sentence)
                if collapse and rollbacks < config.train.rollbacks and not last:
                    return collapse, step
                if scalars["skipped"] > skipped:
                    manager.save(state)
                    raise UserError(f"{sentence}; {_MEND.format(workdir=workdir)}")
                finite_until = step
            if main and (step % config.train.sample_every == 0 or step == steps):
                picture = sheets.save(config, generator, state, workdir)
                report.show(step, "samples", picture)
            every = config.evaluation.every
            scored = every > 0 and step % every == 0
            if scored:
                _score(run, state, step, report)
            if step % config.train.checkpoint_every == 0 or scored or last:
                manager.save(state)
            if last:
                break
    if step < steps:
        print(f"stopped and saved at step {step}; go on with: {run.command}")
        return None
    if main:
        print(f"{steps} steps done; pictures in {workdir / 'samples'}")
    said = results.finish(workdir, config, rollbacks=rollbacks)
    if main and said:
        print(said)
    return None


def _score(run: _Run, state: GanState, step: int, report: telemetry.Telemetry) -> None:
    assert run.scorer is not None
    variables = generator_lib.evaluated(run.config, run.generator, state)
    scores = progress.observe(
        run.workdir, run.config, run.scorer, run.generator, variables, step
    )
    report.also(step, {f"evaluation/{name}": x for name, x in scores.items()})


def _best_step(workdir: Path) -> int | None:
    found = progress.best(workdir)
    return found["step"] if found else None


def _record_start(run: _Run, start: int, report: telemetry.Telemetry) -> None:
    run_config.record_start(
        run.workdir,
        run.config,
        step=start,
        command=run.command,
        changes=run.changes,
        images=run.images,
    )
    for name, before, now in run.changes:
        report.say(f"{name}: {before!r} before, {now!r} from step {start} on")


def _placed(shapes: GanState, mesh: jax.sharding.Mesh) -> GanState:
    """Returns the shapes of a state that lies on every device."""
    everywhere = mesh_lib.replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )


def _not_finite(step: int, scalars: dict[str, float], skipped: int) -> str:
    return (
        f"{int(scalars['skipped']) - skipped} of the steps up to {step} were not "
        "finite and changed nothing"
    )
