"""What a run says while it runs, by process 0: metrics.jsonl, TensorBoard, a bar."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from sagan_jax.files.json_lines import _finite, drop_after
from sagan_jax.workdir.tensorboard import EventFile


class Telemetry:
    """Writes a line per logged step, tells TensorBoard, and keeps a bar on stderr.

    A line of metrics.jsonl is {'step': int, 'time': seconds since 1970, name: number}.
    Lines beyond `start` are removed first: they belong to steps that a resumed run will
    make again, so each step stands in the file once.

    Args:
      path: of metrics.jsonl.
      start: the step a run goes on from.
      steps: of the whole run.
      events: directory for TensorBoard; None: without.
      enabled: whether this process is the one that tells.
    """

    def __init__(
        self,
        path: Path,
        *,
        start: int,
        steps: int,
        events: Path | None = None,
        enabled: bool = True,
    ):
        self._enabled = enabled
        if not enabled:
            return
        drop_after(path, start)
        self._file = path.open("a", encoding="utf-8")
        self._events = EventFile(events, start=start) if events else None
        self._bar = tqdm(
            total=steps,
            initial=start,
            unit="step",
            dynamic_ncols=True,
            # The first step compiles: an average over all would mislead for long.
            smoothing=0.1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._enabled:
            self._bar.close()
            self._file.close()
            if self._events:
                self._events.close()

    def advance(self) -> None:
        """Moves the bar by one step."""
        if self._enabled:
            self._bar.update()

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Writes one line, at once, and shows the losses and the speed."""
        if not self._enabled:
            return
        record = {"step": step, "time": round(time.time(), 3)} | scalars
        self._file.write(json.dumps(_finite(record)) + "\n")
        self._file.flush()
        if self._events:
            self._events.scalars(step, scalars)
        self._bar.set_postfix_str(
            f"D {scalars['loss/discriminator']:.3f} "
            f"G {scalars['loss/generator']:.3f} "
            f"{scalars['images_per_second']:.0f} images/s"
        )

    def also(self, step: int, scalars: dict[str, Any]) -> None:
        """Shows numbers in TensorBoard, and prints them; others are left out."""
        numbers = {k: v for k, v in scalars.items() if isinstance(v, float)}
        if self._enabled and self._events:
            self._events.scalars(step, numbers)
        words = ", ".join(f"{k.split('/')[-1]} {v:.4g}" for k, v in numbers.items())
        self.say(f"step {step}: {words}")

    def show(self, step: int, name: str, path: Path) -> None:
        """Shows a picture file in TensorBoard, under a name of its series."""
        if self._enabled and self._events:
            self._events.picture(step, name, path)

    def say(self, sentence: str) -> None:
        """Prints a sentence without breaking the bar."""
        if self._enabled:
            self._bar.write(sentence)


class Pace:
    """Images per second between two calls, from `step` on."""

    def __init__(self, batch_size: int, step: int):
        self._batch_size = batch_size
        self._step, self._time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        """Returns the images of the steps since the last call, per second."""
        now = time.perf_counter()
        images = (step - self._step) * self._batch_size
        seconds, self._step, self._time = now - self._time, step, now
        return images / seconds
