"""Charts of a sweep: every seed as a dot, and a curve per seed in its variant's colour.

They are SVG that is read without a script, and say in words what they draw.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sagan_jax.metrics.contrasts import VariantRow
from sagan_jax.metrics.paired import Interval
from sagan_jax.pictures import curves
from sagan_jax.pictures.curves import Series, short
from sagan_jax.pictures.page import Html, tag

WIDTH = curves.WIDTH
LEFT, RIGHT, TOP, BOTTOM = 10, 14, 4, 24
ROW = 48  # height of a variant: its name, its dots, and the bar of its mean
_DOTS, _BAR = 25, 37  # places in a row, from its top
_LONGEST_NAME = 48  # characters


def dots(title: str, rows: Sequence[VariantRow], *, note: str = "") -> Html:
    """Returns a figure with a row of dots for each variant, one dot for each seed.

    Below the dots a bar shows the mean and its 95 % t interval, cut off where it would
    press the dots together. Dots of one seed are joined.

    Args:
      title: the measure.
      rows: the measure of each variant.
      note: how to read it, in a short sentence.
    """
    values = [v for row in rows for v in _finite(row).values()]
    caption = tag("span", title, class_="chart-title")
    hint = tag("span", note, class_="note")
    head = tag("figcaption", caption, hint)
    if not values:
        empty = tag("p", "No numbers yet.", class_="empty")
        return tag("figure", head, empty, class_="chart")
    axis = _Axis(values, [row.summary.t95 for row in rows])
    height = TOP + ROW * len(rows) + BOTTOM
    drawing = tag(
        "svg",
        axis.grid(height),
        _pairs(axis, rows),
        *(_row(axis, row, place) for place, row in enumerate(rows)),
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=" ".join([f"{title}.", *(_in_words(row) for row in rows)]),
    )
    return tag("figure", head, drawing, class_="chart")


def lines(
    title: str,
    variants: Mapping[str, Sequence[Series]],
    *,
    note: str = "",
    most: int = curves.MOST_POINTS,
) -> Html:
    """Returns a chart with a curve per seed, in the colour of its variant.

    The key holds the mean of the last value of each curve.

    Args:
      title: the measure.
      variants: by name, the curves of the seeds.
      note: how to read it, in a short sentence.
      most: points of a curve at most.
    """
    shown, keys, spoken = [], [], []
    for place, (variant, every) in enumerate(variants.items()):
        known = [curve for curve in every if np.isfinite(curve.values).any()]
        if not known:
            continue
        color = _color(place)
        lasts = [curves.last(curve)[1] for curve in known]
        mean = float(np.mean(lasts))
        shown += [(curve, color) for curve in known]
        keys.append(curves.key(f"{_name(variant)} ", mean, color))
        spoken.append(
            f"{variant}: {len(lasts)} seeds, last values between {short(min(lasts))} "
            f"and {short(max(lasts))}, mean {short(mean)}."
        )
    return curves.figure(title, shown, keys=keys, spoken=spoken, note=note, most=most)


class _Axis:
    """Places of values from the left, with room for the intervals of the means."""

    def __init__(self, values: Sequence[float], intervals: Sequence[Interval]) -> None:
        low, high = min(values), max(values)
        if high - low < 1e-12 * max(1.0, abs(high)):
            half = abs(low) / 2 or 0.5  # equal values lie in the middle
            low, high = low - half, high + half
        span = high - low
        ends = [end for interval in intervals for end in interval if math.isfinite(end)]
        self._low = max(low - span, min([low - span / 20, *ends]))
        self._high = min(high + span, max([high + span / 20, *ends]))

    def x(self, value: float) -> float:
        """Returns the place of a value."""
        part = (value - self._low) / (self._high - self._low)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def bar(self, interval: Interval) -> tuple[float, float]:
        """Returns the ends of an interval, cut off at those of the axis."""
        return self.x(max(interval.low, self._low)), self.x(
            min(interval.high, self._high)
        )

    def grid(self, height: int) -> Html:
        """Returns lines and numbers at round values."""
        size = curves.round_size(self._low, self._high)
        parts = []
        for value in curves.multiples(size, self._low, self._high):
            x = self.x(value)
            anchor, at = ("end", WIDTH - 1) if x > WIDTH - 26 else ("middle", x)
            anchor, at = ("", 1) if x < 26 else (anchor, at)
            parts.append(
                f'<path class="rule" d="M{x:.1f} {TOP}V{height - BOTTOM}"/>'
                f'<text class="tick {anchor}" x="{at:.1f}" y="{height - 8}">'
                f"{short(value)}</text>"
            )
        return Html("".join(parts))


def _row(axis: _Axis, row: VariantRow, place: int) -> Html:
    top, color = TOP + place * ROW, _color(place)
    found = _finite(row)
    label = _name(row.variant) + ("" if found else ": no values")
    parts = [tag("text", label, class_="label", x=LEFT, y=top + 12)]
    parts += [
        tag(
            "circle",
            tag("title", f"{row.variant}, seed {seed}: {value:.4g}"),
            class_=f"seed {color}",
            cx=f"{axis.x(value):.1f}",
            cy=top + _DOTS,
            r=4,
        )
        for seed, value in found.items()
    ]
    if row.summary.n > 1 and math.isfinite(row.summary.t95.low):
        low, high = axis.bar(row.summary.t95)
        mean, y = axis.x(row.summary.mean), top + _BAR
        path = f"M{low:.1f} {y}H{high:.1f}M{mean:.1f} {y - 4}V{y + 4}"
        parts.append(Html(f'<path class="interval {color}" d="{path}"/>'))
    return tag("g", *parts)


def _pairs(axis: _Axis, rows: Sequence[VariantRow]) -> Html:
    """Returns lines between dots of one seed in rows that follow each other."""
    path = ""
    for place, (one, other) in enumerate(itertools.pairwise(rows)):
        above, below = _finite(one), _finite(other)
        y = TOP + place * ROW + _DOTS
        for seed in above.keys() & below.keys():
            path += f"M{axis.x(above[seed]):.1f} {y}"
            path += f"L{axis.x(below[seed]):.1f} {y + ROW}"
    return Html(f'<path class="pair" d="{path}"/>' if path else "")


def _finite(row: VariantRow) -> dict[int, float]:
    # Larger numbers would overflow in differences.
    return {seed: v for seed, v in row.values.items() if abs(v) < curves.LARGEST}


def _in_words(row: VariantRow) -> str:
    found = _finite(row)
    if not found:
        return f"{row.variant}: no values."
    each = ", ".join(f"{value:.4g}" for value in found.values())
    return f"{row.variant}: mean {row.summary.mean:.4g} of {len(found)} seeds: {each}."


def _name(variant: str) -> str:
    if len(variant) <= _LONGEST_NAME:
        return variant
    return f"{variant[: _LONGEST_NAME - 3]}..."


def _color(place: int) -> str:
    return f"c{place % curves.COLORS}"
