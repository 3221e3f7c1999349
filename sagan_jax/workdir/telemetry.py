"""What a run reports while it trains: logs, TensorBoard, trackers, a bar."""

import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from sagan_jax.files import json_lines
from sagan_jax.workdir.tensorboard import EventFile
from sagan_jax.workdir.trackers import Trackers

if TYPE_CHECKING:  # it imports jax, which a log does not need
    from sagan_jax.workdir.run import Run


class Telemetry:
    """Writes one line per logged step, events for TensorBoard, and a bar on stderr.

    The trackers of `train.trackers` get the same numbers and sheets.

    A line of metrics.jsonl is {'step': int, 'time': seconds since 1970, name: number},
    and so is one of attention.jsonl, with one line per sample sheet. Lines beyond
    `start` are removed first, because the resumed run will repeat those steps: each
    step stands in a file once.

    Args:
      run: the run.
      start: the step that the run starts from.
      enabled: whether this process reports; the others do nothing here.
    """

    def __init__(self, run: "Run", *, start: int, enabled: bool = True):
        self._enabled = enabled
        if not enabled:
            return
        json_lines.drop_after(run.metrics, start)
        # The sheets of step 0 are drawn again by a run without a checkpoint.
        json_lines.drop_after(run.attention_log, start or -1)
        self._metrics, self._attention = run.metrics, run.attention_log
        self._events = EventFile(run.tensorboard, start=start)
        self._bar = tqdm(
            total=run.config.train.steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            # The first step compiles: an average over all would mislead for long.
            smoothing=0.1,
        )
        self._trackers = Trackers(run.config, run.trackers, run.workdir.name)
        self._say_of_trackers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._enabled:
            self._trackers.close(failed=kind is not None)
            self._say_of_trackers()
            self._bar.close()
            self._events.close()

    def advance(self) -> None:
        """Moves the bar by one step."""
        if self._enabled:
            self._bar.update()

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line at once, and shows the losses and the speed on the bar."""
        if not self._enabled:
            return
        line = {"step": step, "time": round(time.time(), 3)} | scalars
        json_lines.append(self._metrics, line)
        self._events.scalars(step, scalars)
        self._trackers.scalars(step, scalars)
        self._say_of_trackers()
        self._bar.set_postfix_str(
            f"D {scalars['loss/discriminator']:.3f} "
            f"G {scalars['loss/generator']:.3f} "
            f"{scalars['images_per_second']:.0f} images/s"
        )

    def log_scores(self, step: int, scores: dict[str, Any]) -> None:
        """Prints scores, and sends the floats to TensorBoard and the trackers."""
        numbers = {k: v for k, v in scores.items() if isinstance(v, float)}
        if self._enabled:
            self._events.scalars(step, numbers)
            self._trackers.scalars(step, numbers)
        words = ", ".join(f"{k.split('/')[-1]} {v:.4g}" for k, v in numbers.items())
        self.say(f"step {step}: {words}")

    def log_attention(self, step: int, numbers: dict[str, float]) -> None:
        """Writes a line of attention.jsonl, if there are numbers, and sends them on."""
        if not self._enabled or not numbers:
            return
        line = {"step": step, "time": round(time.time(), 3)} | numbers
        json_lines.append(self._attention, line)
        named = {f"attention/{name}": value for name, value in numbers.items()}
        self._events.scalars(step, named)
        self._trackers.scalars(step, named)

    def show(self, step: int, name: str, path: Path) -> None:
        """Sends a picture file to TensorBoard and trackers, in the series `name`."""
        if self._enabled:
            self._events.picture(step, name, path)
            self._trackers.picture(step, name, path)

    def say(self, sentence: str) -> None:
        """Prints a sentence without breaking the bar."""
        if self._enabled:
            self._bar.write(sentence)

    def _say_of_trackers(self) -> None:
        # Their threads must not write into the bar.
        for sentence in self._trackers.messages():
            self.say(sentence)


class Pace:
    """Images per second between two calls.

    Args:
      batch_size: images per step.
      step: the step from which the first interval is measured.
    """

    def __init__(self, batch_size: int, step: int):
        self._batch_size = batch_size
        self._step, self._time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Returns the images per second since the last call."""
        now = time.perf_counter()
        images = (step - self._step) * self._batch_size
        seconds, self._step, self._time = now - self._time, step, now
        return images / seconds
