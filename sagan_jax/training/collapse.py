"""Signs of collapse and divergence, read from a run's scalars alone.

Thresholds are fixed beforehand. A sign is said when it is first seen; one that stands
for `PATIENCE` steps is reason enough to go back to an earlier checkpoint.
"""

import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

PATIENCE = 500  # steps
WON_LOSS, WON_MARGIN = 0.02, 1.9  # of the discriminator: below, and above
VANISHED = 1e-4  # norm of the generator's gradient
EXPLODED = 100.0  # of the same, in medians of the readings before
SIGMA_GROWTH, SIGMA_STEPS = 10.0, 1000  # of the largest sigma, within so many steps

_READINGS = 200  # that the median is taken of
_FEWEST = 10  # with less it means nothing


class Sign(NamedTuple):
    """Something wrong, since which step, in plain words."""

    name: str
    since: int
    sentence: str


class Watch:
    """Reads the scalars of a step; remembers what stands, and since when."""

    def __init__(self, history: Iterable[Mapping[str, Any]] = ()) -> None:
        """Starts as if it had read `history`, lines of metrics.jsonl in order."""
        self._standing: dict[str, Sign] = {}
        self._gradients: deque[float] = deque(maxlen=_READINGS)
        self._sigmas: deque[tuple[int, dict[str, float]]] = deque()
        for line in history:
            self.read(int(line["step"]), line)

    def read(self, step: int, scalars: Mapping[str, Any]) -> list[str]:
        """Returns sentences on the signs that were not there at the last reading.

        Args:
          step: at least the one of the last reading.
          scalars: those of train_step; what is missing or None gives no sign.
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
        """The signs of the last reading, the oldest first."""
        return sorted(self._standing.values(), key=lambda sign: sign.since)

    def lasting(self, step: int) -> Sign | None:
        """Returns a sign that has stood for PATIENCE steps at `step`; None without."""
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
                "it no longer learns."
            )
        median = statistics.median(before) if len(before) >= _FEWEST else 0.0
        if median and norm > EXPLODED * median:
            return (
                f"the generator's gradient has exploded (its norm is {norm:.3g}, "
                f"{norm / median:.0f} times the usual): training is diverging."
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
    if loss < WON_LOSS and margin > WON_MARGIN:
        return (
            f"the discriminator has won (its loss is {loss:.4f}, real and fake logits "
            f"are {margin:.2f} apart): the generator has little to learn from."
        )
    return ""
