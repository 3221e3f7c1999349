"""Detects collapse and divergence from a run's logged scalars.

The thresholds are constants. A sign is reported when it first appears. A sign that
persists for `PATIENCE` steps justifies a rollback to an earlier checkpoint.
"""

import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

PATIENCE = 500  # steps
WON_LOSS = 0.02  # upper bound of the discriminator's loss
WON_MARGIN = 1.9  # lower bound of mean real logit - mean fake logit
VANISHED = 1e-4  # upper bound of the norm of the generator's gradient
EXPLODED = 100.0  # lower bound of the same norm, in medians of earlier readings
SIGMA_GROWTH, SIGMA_STEPS = 10.0, 1000  # growth factor of the largest sigma, in steps

_READINGS = 200  # number of earlier readings in the median
_FEWEST = 10  # a median of fewer readings is too noisy to compare with


class Sign(NamedTuple):
    """A sign of collapse or divergence.

    Attributes:
      name: short name of the sign.
      since: step at which it appeared.
      sentence: description for the log.
    """

    name: str
    since: int
    sentence: str


def recent(newest_first: Iterable[Mapping[str, Any]], step: int) -> list[Any]:
    """Returns the lines of metrics.jsonl that decide the signs at `step`, in order.

    A sign counts for at most the last SIGMA_STEPS steps, which exceed PATIENCE. To
    judge the first of these, the SIGMA_STEPS before it are needed, and the readings of
    the median.

    Args:
      newest_first: the lines from the last one on; only those needed are taken.
      step: the step that the run starts from; lines beyond it are skipped.
    """
    lines, earlier = [], 0
    for line in newest_first:
        found = line.get("step")
        if not isinstance(found, int) or found > step:
            continue
        lines.append(line)
        earlier += found <= step - 2 * SIGMA_STEPS
        if earlier > _READINGS:
            break
    return lines[::-1]


class Watch:
    """Reads the scalars of successive steps and keeps track of the current signs."""

    def __init__(self, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Reads `history` first: the lines of metrics.jsonl of a resumed run."""
        self._standing: dict[str, Sign] = {}
        self._gradients: deque[float] = deque(maxlen=_READINGS)
        self._sigmas: deque[tuple[int, dict[str, float]]] = deque()
        for line in history:
            self.read(int(line["step"]), line)

    def read(self, step: int, scalars: Mapping[str, Any]) -> list[str]:
        """Returns the sentence of each sign that is new since the last reading.

        Args:
          step: the step of these scalars, not before the last reading.
          scalars: metrics of train_step; missing or None values give no sign.
        """
        numbers = {k: v for k, v in scalars.items() if isinstance(v, int | float)}
        found = {
            name: words
            for name, words in (
                ("won", _won(numbers)),
                ("gradient", self._gradient(numbers)),
                ("sigma", self._sigma(step, numbers)),
            )
            if words
        }
        new = [name for name in found if name not in self._standing]
        self._standing = {
            name: self._standing.get(name) or Sign(name, step, f"step {step}: {words}")
            for name, words in found.items()
        }
        return [self._standing[name].sentence for name in new]

    @property
    def standing(self) -> list[Sign]:
        """The signs at the last reading, oldest first."""
        return sorted(self._standing.values(), key=lambda sign: sign.since)

    def lasting(self, step: int) -> Sign | None:
        """Returns the oldest sign if it has persisted for PATIENCE steps, or None."""
        signs = [sign for sign in self.standing if step - sign.since >= PATIENCE]
        return signs[0] if signs else None

    def _gradient(self, scalars: Mapping[str, float]) -> str:
        norm = scalars.get("gradient_norm/generator")
        if norm is None:
            return ""
        before = list(self._gradients)
        self._gradients.append(norm)
        if norm < VANISHED:
            return (
                f"the generator's gradient has vanished (its norm is {norm:.1e}): "
                "the generator no longer learns."
            )
        median = statistics.median(before) if len(before) >= _FEWEST else 0.0
        if median and norm > EXPLODED * median:
            return (
                f"the generator's gradient has exploded (its norm is {norm:.3g}, "
                f"{norm / median:.0f} times the median): training is diverging."
            )
        return ""

    def _sigma(self, step: int, scalars: Mapping[str, float]) -> str:
        now = {k: v for k, v in scalars.items() if k.startswith("largest_sigma/")}
        while self._sigmas and self._sigmas[0][0] < step - SIGMA_STEPS:
            self._sigmas.popleft()
        self._sigmas.append((step, now))
        for name, sigma in now.items():
            least = min(old.get(name, sigma) for _, old in self._sigmas)
            if sigma > SIGMA_GROWTH * least:
                network = name.removeprefix("largest_sigma/")
                return (
                    f"the largest sigma of the {network}'s kernels grew from "
                    f"{least:.3g} to {sigma:.3g} within {SIGMA_STEPS} steps: training "
                    "is diverging."
                )
        return ""


def _won(scalars: Mapping[str, float]) -> str:
    try:
        loss = scalars["loss/discriminator"]
        margin = scalars["logits/real"] - scalars["logits/fake"]
    except KeyError:
        return ""
    # A Wasserstein loss is minus the margin, and no sign of anything.
    if 0 <= loss < WON_LOSS and margin > WON_MARGIN:
        return (
            f"the discriminator has won (its loss is {loss:.4f}, and real and fake "
            f"logits are {margin:.2f} apart): the generator has little to learn from."
        )
    return ""
