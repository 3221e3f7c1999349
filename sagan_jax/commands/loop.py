"""The steps of one start of a run, and what each step is followed by."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sagan_jax.commands import schedule
from sagan_jax.data import pipeline
from sagan_jax.data.source import Source
from sagan_jax.errors import UserError
from sagan_jax.evaluation import attention, progress
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.files import json_lines
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.pictures import sheets
from sagan_jax.runtime import allocator, processes
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.runtime.stop import StopRequest
from sagan_jax.training.collapse import Sign, Watch, recent
from sagan_jax.training.state import GanState, NetworkState
from sagan_jax.workdir import checkpoint, telemetry
from sagan_jax.workdir.run import Run

STEPS_AHEAD = 2
"""Calls of the step that may run on the device beyond the one that the bar shows."""

ADVICE = (
    "If it persists, set train.rollbacks, or train in a new --workdir with lower "
    "learning rates."
)
"""What to do about a sign of collapse; the rates of a run may not change."""


class Parts(NamedTuple):
    """A run and everything that stays the same from its first start to its last step.

    Attributes:
      run: the run on disk.
      command: the command that resumes the run.
      images: digest of the training images.
      mesh: the devices.
      source: the training images.
      generator: the generator.
      discriminator: the discriminator.
      scorer: the metrics; None if the run is not scored.
    """

    run: Run
    command: str
    images: str
    mesh: jax.sharding.Mesh
    source: Source
    generator: Generator
    discriminator: Discriminator
    scorer: Scorer | None


class Collapse(NamedTuple):
    """A sign of collapse that a rollback should answer, and where it was seen."""

    sign: Sign
    step: int


class _StopScoringError(Exception):
    """Ends a score when the run is asked to stop."""


class Loop:
    """Trains from a state, and logs, draws, saves and scores on the way.

    Args:
      parts: the run and what it is made of.
      stack: closes the log, the checkpoints, the data stream and the signal handlers.
      start: the step to start from.
      seed: the seed of the data stream.
      may_roll_back: whether a collapse ends the loop, for a rollback to answer it.
    """

    def __init__(
        self,
        parts: Parts,
        stack: contextlib.ExitStack,
        *,
        start: int,
        seed: int,
        may_roll_back: bool,
    ) -> None:
        run, config = parts.run, parts.run.config
        self._parts, self._run, self._config = parts, run, config
        self._start, self._may_roll_back = start, may_roll_back
        self._undrawn: GanState | None = None
        self._answered = False
        self._watch = Watch(recent(json_lines.newest_first(run.metrics), start))
        self._manager = stack.enter_context(
            checkpoint.open_manager(
                run.checkpoints, config.train, lambda: progress.best_step(run)
            )
        )
        self._report = stack.enter_context(
            telemetry.Telemetry(run, start=start, enabled=processes.is_first())
        )
        self._batches = stack.enter_context(
            pipeline.batches(
                parts.source,
                batch_size=config.train.batch_size * config.train.d_steps,
                seed=seed,
                start=start,
                horizontal_flip=config.data.horizontal_flip,
                random_crop=config.data.random_crop,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                threads=config.data.threads,
            )
        )
        self._stop = stack.enter_context(StopRequest())

    def report_start(self, state: GanState, *, resumed: bool) -> None:
        """Records the start, and keeps the state of the first sheets for later."""
        run, report = self._run, self._report
        self._report_messages()
        if resumed:
            report.say(f"resumed at step {self._start}")
        run.record_start(
            step=self._start,
            command=self._parts.command,
            images=self._parts.images,
            classes=self._parts.source.class_names,
        )
        for name, before, now in run.changes:
            report.say(f"{name}: {before!r} before, {now!r} from step {self._start} on")
        if processes.is_first() and not resumed:
            self._undrawn = _generator_of(state)
        self._skipped, self._finite_until = int(state.skipped), self._start

    @property
    def is_stopping(self) -> bool:
        """Whether somebody asked the run to stop."""
        return self._stop.requested

    def answer_stop(self) -> None:
        """Says once, before the first step, that a request to stop was heard."""
        if self._stop.requested and not self._answered:
            self._answered = True
            self.say("stopping once the step is ready")

    def say(self, sentence: str) -> None:
        """Prints a sentence, unless it is ''."""
        if sentence and processes.is_first():
            self._report.say(sentence)

    def steps(
        self,
        step_fn: Callable[..., Any],
        several_fn: Callable[..., Any],
        state: GanState,
    ) -> int | Collapse:
        """Returns the step at which training ended, or a collapse.

        Args:
          step_fn: makes one step.
          several_fn: makes `train.steps_per_dispatch` steps; never called if that is 1.
          state: the state to start from, which is donated.
        """
        config, step = self._config, self._start
        self._pace = telemetry.Pace(config.train.batch_size, step)
        missing = schedule.is_scored(config, step) and not progress.is_observed(
            self._run, step
        )
        if processes.agree(missing and processes.is_first()):
            self._score(state, step)  # the last start ended between save and score
        if self._stop.requested:
            return step
        running: deque[Any] = deque()
        while step < config.train.steps:
            count = schedule.steps_together(config, step)
            batches = [next(self._batches) for _ in range(count)]
            if count > 1:
                stacked = mesh_lib.global_batches(batches, self._parts.mesh)
                state, metrics = several_fn(state, stacked)
            else:
                batch = mesh_lib.global_batch(batches[0], self._parts.mesh)
                state, metrics = step_fn(state, batch)
            step += count
            # Two calls ahead keep the device busy. With more, the bar would show work
            # that is not done, and a stop request would wait for it.
            running.append(metrics)
            if len(running) > STEPS_AHEAD:
                jax.block_until_ready(running.popleft())
            for _ in range(count):
                self._report.advance()
            due = schedule.due(config, step, stopping=self._stop.requested)
            try:
                if due.log and (collapse := self._log(metrics, state, step, due.last)):
                    return collapse
            finally:
                self._draw_first()
            if due.sample and processes.is_first():
                self._draw(state, step)
            if due.save:
                self._manager.save(state)
            if due.score:
                self._score(state, step)
            if due.last or (due.save and self._stop.requested):
                break
        return step

    def _log(
        self, metrics: Any, state: GanState, step: int, last: bool
    ) -> Collapse | None:
        """Logs a step; returns a collapse that should be answered by a rollback."""
        scalars = {k: float(v) for k, v in jax.device_get(metrics).items()}
        for sentence in self._watch.read(step, scalars):
            self._report.say(f"warning: {sentence} {ADVICE}")
        scalars["collapse_signs"] = float(len(self._watch.standing))
        scalars["images_replaced"] = float(self._parts.source.replaced)
        self._report.log(step, scalars | {"images_per_second": self._pace.rate(step)})
        self._report_messages()
        self._manager.write_pending_manifest()
        sign = self._watch.lasting(step)
        skipped = int(scalars["skipped"]) - self._skipped
        if skipped > 0:
            steps = "step was" if skipped == 1 else "steps were"
            fact = f"{skipped} {steps} not finite and skipped, up to step {step}"
            sign = Sign("not_finite", self._finite_until + 1, fact)
        if sign and self._may_roll_back and not last:
            return Collapse(sign, step)
        if skipped > 0:
            self._manager.save(state)
            raise UserError(
                f"{fact}; the state is saved in {self._run.workdir}. Look at the last "
                "lines of metrics.jsonl, and train in a new --workdir with lower "
                "optim.generator_lr and optim.discriminator_lr."
            )
        self._finite_until = step
        return None

    def _score(self, state: GanState, step: int) -> None:
        """Scores the state, which is saved already; a stop request ends it early."""
        assert self._parts.scorer is not None
        variables = generator_lib.of_state(self._config, self._parts.generator, state)
        try:
            scores = progress.observe(
                self._run,
                self._parts.scorer,
                generator_lib.evaluated(self._config, self._parts.generator),
                variables,
                step,
                self._check_stop,
            )
        except _StopScoringError:
            return
        named = {f"evaluation/{name}": value for name, value in scores.items()}
        self._report.log_scores(step, named)

    def _check_stop(self) -> None:
        # Other processes may not have been asked to stop, and would wait for this one.
        if self._stop.requested and jax.process_count() == 1:
            raise _StopScoringError

    def _draw_first(self) -> None:
        """Draws the sheets of step 0 after the first step, which starts sooner.

        Nothing of that step is saved before they are, so that a run which is killed in
        between starts from step 0 and draws them.
        """
        state, self._undrawn = self._undrawn, None
        if state is not None:
            real = sheets.save_real(self._config, self._parts.source, self._run.samples)
            self._report.show(0, "real", real)
            self._draw(state, 0)
            # The sheets take pieces of the memory that the first step has freed; the
            # next one may need a new place, and would hold both.
            allocator.release()

    def _draw(self, state: GanState, step: int) -> None:
        config, generator = self._config, self._parts.generator
        # Once for both: standing statistics cost many passes.
        variables = generator_lib.of_state(config, generator, state)
        generator = generator_lib.evaluated(config, generator)
        picture = sheets.save(config, generator, state, self._run.samples, variables)
        self._report.show(step, "samples", picture)
        labels = sheets.sheet_labels(config)
        reach = attention.observed(config, generator, variables, labels)
        self._report.log_attention(step, reach)

    def _report_messages(self) -> None:
        for sentence in self._parts.source.messages():
            if processes.is_first():
                self._report.say(sentence)
            else:
                print(sentence)


def _generator_of(state: GanState) -> GanState:
    """Returns a copy of what sheets show of a state, which a step may then donate."""

    def copy(tree: Any) -> Any:
        # Of one device only: other processes make no sheets, and copy nothing.
        return jax.tree.map(lambda x: jnp.copy(x.addressable_data(0)), tree)

    generator = dataclasses.replace(
        state.generator,
        **{name: copy(part) for name, part in state.generator.variables.items()},
        opt_state=(),
    )
    return dataclasses.replace(
        state,
        step=copy(state.step),
        skipped=copy(state.skipped),
        generator=generator,
        discriminator=NetworkState({}, {}, {}, ()),
        ema=copy(state.ema),
        averages=copy(state.averages),
    )
