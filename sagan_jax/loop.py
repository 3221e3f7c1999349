"""Training: the one place where time passes."""

import signal
from collections import deque
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import jax
import numpy as np

from sagan_jax import (
    checkpoint,
    evaluation,
    networks,
    optim,
    run_config,
    telemetry,
    visual,
)
from sagan_jax import config as config_lib
from sagan_jax import mesh as mesh_lib
from sagan_jax import state as state_lib
from sagan_jax.config import Config
from sagan_jax.data import pipeline, sources
from sagan_jax.errors import UserError
from sagan_jax.networks import Generator
from sagan_jax.state import GanState
from sagan_jax.train_step import make_train_step

STEPS_AHEAD = 2


def train(config: Config, workdir: Path, command: str = "the same command") -> None:
    """Trains until `train.steps`, from the newest whole checkpoint if there is one.

    Writes into `workdir`: config.json, metrics.jsonl, tensorboard/, checkpoints/,
    samples/ (a sheet of real images before the first step, then fixed latents, classes
    by rows), and for the synthetic source the scores at the end. SIGINT and SIGTERM
    save and return.

    Args:
      config: of the run.
      workdir: is made; may hold an earlier part of the same run.
      command: what a user types to go on; part of what is said at a stop.

    Raises:
      UserError: a field that cannot work, found before anything compiles; or a step
        whose losses or gradients were not finite.
    """
    config_lib.validate(config)
    generator, discriminator = networks.build(config.model)
    mesh = mesh_lib.make_mesh(config)
    source = sources.make_source(config)
    run_config.prepare(workdir, config)
    parts = (config, generator, discriminator, optim.make_optimizers(config))
    create = jax.jit(
        lambda: state_lib.create(*parts), out_shardings=mesh_lib.replicated(mesh)
    )
    saved = checkpoint.resume(workdir, _placed(jax.eval_shape(create), mesh))
    start, steps = (int(saved.step) if saved else 0), config.train.steps
    if start > steps or (start == steps and _is_scored(config, workdir)):
        print(f"{workdir} has all of its {start} steps; raise train.steps to go on.")
        return
    step_fn = mesh_lib.jit_step(make_train_step(*parts, mesh_lib.constrain(mesh)), mesh)
    main = jax.process_index() == 0
    with (
        checkpoint.open_manager(workdir, config) as manager,
        telemetry.Telemetry(
            workdir / "metrics.jsonl",
            start=start,
            steps=steps,
            events=workdir / "tensorboard",
            enabled=main,
        ) as report,
        pipeline.batches(
            source,
            batch_size=config.train.batch_size * config.train.d_steps,
            seed=config.train.seed,
            start=start,
            horizontal_flip=config.data.horizontal_flip,
            random_crop=config.data.random_crop,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=config.data.threads,
        ) as stream,
        _StopRequest() as stop,
    ):
        for sentence in sources.news(source):
            report.say(sentence)
        state = saved or create()
        if saved:
            report.say(f"resumed at step {start}")
        elif main:
            report.show(0, "real", _save_real_sheet(config, source, workdir))
            report.show(0, "samples", _save_sheet(config, generator, state, workdir))
        skipped = int(state.skipped)
        pace = telemetry.Pace(config.train.batch_size, start)
        running: deque[Any] = deque()
        step = start
        for step in range(start + 1, steps + 1):
            state, metrics = step_fn(state, mesh_lib.global_batch(next(stream), mesh))
            # Two steps ahead of the device keep it busy; more would only make the bar
            # tell of work that is not done, and a stop wait for it.
            running.append(metrics)
            if len(running) > STEPS_AHEAD:
                jax.block_until_ready(running.popleft())
            report.advance()
            last = step == steps or stop.requested
            if step % config.train.log_every == 0 or last:
                scalars = {k: float(v) for k, v in jax.device_get(metrics).items()}
                report.log(step, scalars | {"images_per_second": pace.rate(step)})
                for sentence in sources.news(source):
                    (report.say if main else print)(sentence)
                manager.settle()
                if scalars["skipped"] > skipped:
                    manager.save(state)
                    raise UserError(_not_finite(step, scalars, skipped, workdir))
            if main and (step % config.train.sample_every == 0 or step == steps):
                picture = _save_sheet(config, generator, state, workdir)
                report.show(step, "samples", picture)
            if step % config.train.checkpoint_every == 0 or last:
                manager.save(state)
            if last:
                break
    if step < steps:
        print(f"stopped and saved at step {step}; go on with: {command}")
    elif main:
        _finish(config, generator, state, workdir)


def _placed(shapes: GanState, mesh: jax.sharding.Mesh) -> GanState:
    """Returns the shapes of a state that lies on every device."""
    everywhere = mesh_lib.replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )


def _finish(
    config: Config, generator: Generator, state: GanState, workdir: Path
) -> None:
    print(f"{config.train.steps} steps done; pictures in {workdir / 'samples'}")
    if not _wants_scores(config):
        return
    scores = evaluation.score_far_pairs(
        config, generator, _evaluated(config, generator, state)
    )
    telemetry.append_json(
        workdir / "results.jsonl",
        {
            "protocol": f"far_pairs_{config.data.difficulty}_{scores['n']}",
            "step": config.train.steps,
            "ema": config.evaluation.ema and bool(config.train.ema_decay),
            "statistics": config.evaluation.statistics,
            "seed": config.evaluation.seed,
            **scores,
        },
    )
    print(
        f"far pairs, {scores['n']} images: disagreement S = {scores['score']:.3f} "
        "(0: the two sides always agree, 1: they know nothing of each other), "
        f"class correctness = {scores.get('class_correctness', float('nan')):.3f}, "
        f"missing = {scores['missing']:.3f}, hue coverage = {scores['den']:.2f}"
    )


def _wants_scores(config: Config) -> bool:
    return config.data.source == "synthetic" and config.evaluation.num_samples > 0


def _is_scored(config: Config, workdir: Path) -> bool:
    """Returns whether nothing is left to do; a kill may come after the last step."""
    path = workdir / "results.jsonl"
    return not _wants_scores(config) or (
        path.exists() and f'"step": {config.train.steps},' in path.read_text("utf-8")
    )


def _evaluated(config: Config, generator: Generator, state: GanState) -> dict[str, Any]:
    # One device's copy: pictures are the business of one process alone.
    live, ema = jax.tree.map(
        lambda x: x.addressable_data(0), (state.generator.variables, state.ema)
    )
    return evaluation.evaluated_variables(config, generator, live, ema)


def _save_sheet(
    config: Config, generator: Generator, state: GanState, workdir: Path
) -> Path:
    picture = evaluation.sheet(config, generator, _evaluated(config, generator, state))
    path = workdir / "samples" / f"step_{int(state.step):08d}.png"
    visual.save_png(picture, path)
    return path


def _save_real_sheet(config: Config, source: sources.Source, workdir: Path) -> Path:
    """Writes real images under samples/, in the rows of the generated sheets."""
    labels = evaluation.sheet_labels(config)
    order = np.random.default_rng(config.train.seed).permutation(len(source))
    shape = (config.model.resolution, config.model.resolution, config.model.channels)
    images = np.full((len(labels), *shape), visual.MARGIN, np.uint8)
    # Places of the sheet still empty, by class; one list for all where unlabelled.
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(int(label), []).append(place)
    for index in order:
        if not places:
            break
        record = source[int(index)]
        label = int(record["label"]) if config.model.num_classes else 0
        if label in places:
            images[places[label].pop(0)] = record["image"]
            if not places[label]:
                del places[label]
    picture = visual.sheet(images, config.evaluation.columns)
    path = workdir / "samples" / "real.png"
    visual.save_png(picture, path)
    return path


def _not_finite(
    step: int, scalars: dict[str, float], skipped: int, workdir: Path
) -> str:
    return (
        f"{int(scalars['skipped']) - skipped} of the steps up to {step} were not "
        f"finite and changed nothing; the state is saved in {workdir}; look at "
        "metrics.jsonl, and start again with lower optim.generator_lr and "
        "optim.discriminator_lr."
    )


class _StopRequest:
    """Turns the first SIGINT or SIGTERM into a request; a second one acts as usual."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()
