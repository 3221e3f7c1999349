"""Curves over the steps of a run, as SVG that is read without a script.

A chart is a figure of HTML: a title, a key with the last value of each curve, and the
lines. Its text is what a screen reader speaks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sagan_jax.pictures.page import Html, join, tag

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 8, 24  # margins, which hold the numbers
MOST_POINTS = 600
"""Points of a curve; of a longer one, each interval shows its extremes."""
COLORS = 6
"""Number of colours in the style sheet; further curves take them again."""
LARGEST = 1e100
"""Numbers beyond this are drawn as gaps: their differences could overflow."""
LOGARITHMIC = 100.0
"""Positive curves that span more than this ratio are drawn on a logarithmic axis."""


class Series(NamedTuple):
    """A curve.

    Attributes:
      name: its name in the key.
      steps: [n] steps.
      values: [n] numbers; NaN interrupts the line.
    """

    name: str
    steps: np.ndarray
    values: np.ndarray


def series(name: str, lines: Iterable[Mapping[str, Any]], key: str) -> Series:
    """Returns the curve of the numbers that lines of a log have under `key`.

    Lines without a step or without the key are left out; what is not a finite number
    becomes NaN, as a diverged loss does.
    """
    points = [
        (line["step"], line[key])
        for line in lines
        if key in line and _is_number(line.get("step"))
    ]
    values = [
        float(v) if _is_number(v) and abs(v) < LARGEST else math.nan for _, v in points
    ]
    return Series(name, np.array([s for s, _ in points], float), np.array(values))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def chart(title: str, curves: Sequence[Series], *, note: str = "") -> Html:
    """Returns a figure of curves; one that says so if there is no number in them.

    Args:
      title: what is drawn.
      curves: the curves, at most a handful.
      note: how to read it, in a short sentence.
    """
    # A curve keeps its colour where another one has no numbers.
    shown = [
        (curve, f"c{place % COLORS}")
        for place, curve in enumerate(curves)
        if np.isfinite(curve.values).any()
    ]
    keys = [
        key(f"{curve.name} " if len(curves) > 1 else None, last(curve)[1], color)
        for curve, color in shown
    ]
    spoken = [_in_words(curve) for curve, _ in shown]
    return figure(title, shown, keys=keys, spoken=spoken, note=note)


def key(name: str | None, value: float, color: str) -> Html:
    """Returns an entry of a chart's key: a colour, a name, and a number."""
    number = tag("b", short(value))
    return tag("span", tag("i", class_=f"swatch {color}"), name, number, class_="key")


def figure(
    title: str,
    shown: Sequence[tuple[Series, str]],
    *,
    keys: Sequence[Html],
    spoken: Sequence[str],
    note: str = "",
    most: int = MOST_POINTS,
) -> Html:
    """Returns a figure of curves that each have a number; see `chart`.

    Args:
      title: what is drawn.
      shown: the curves, each with the class of its colour.
      keys: entries of the key.
      spoken: what a screen reader says of the curves, in sentences.
      note: how to read it.
      most: points of a curve at most.
    """
    at = tag("span", class_="at")
    caption = tag("span", title, at, class_="chart-title")
    if not shown:
        empty = tag("p", "No numbers yet.", class_="empty")
        return tag("figure", tag("figcaption", caption), empty, class_="chart")
    axes = _Axes([curve for curve, _ in shown])
    lines = [Html(_line(axes, _thinned(curve, most), color)) for curve, color in shown]
    scale = " Logarithmic scale." if axes.is_log else ""
    drawing = tag(
        "svg",
        axes.grid(),
        Html('<path class="cursor"/>'),
        *lines,
        data_axes=axes.extent(),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=" ".join([f"{title}.{scale}", *spoken]),
    )
    hint = tag("span", f"{note}{scale}".strip(), class_="note")
    return tag(
        "figure",
        tag("figcaption", caption, tag("span", *keys, class_="keys"), hint),
        drawing,
        class_="chart",
    )


class _Axes:
    """Places of steps and values in a drawing."""

    def __init__(self, curves: Sequence[Series]) -> None:
        steps = np.concatenate([curve.steps for curve in curves])
        values = np.concatenate([curve.values for curve in curves])
        values = values[np.isfinite(values)]
        low, high = float(values.min()), float(values.max())
        self.is_log = low > 0 and high / low > LOGARITHMIC
        if self.is_log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-12 * max(1.0, abs(high)):
            # A constant curve lies in the middle.
            half = abs(low) / 2 or 0.5
            low, high = low - half, high + half
        self._size = round_size(low, high)
        if not self.is_log:  # from one half of a round value to another
            size = self._size / 2
            low = math.floor(low / size + 1e-9) * size
            high = math.ceil(high / size - 1e-9) * size
        self._low, self._high = low, high
        self._first, self._last = float(steps.min()), float(steps.max())
        if self._first == self._last:
            half = max(1.0, 1e-6 * abs(self._first))
            self._first, self._last = self._first - half, self._last + half

    def x(self, steps: Any) -> Any:
        """Returns the places of steps from the left."""
        part = (steps - self._first) / (self._last - self._first)
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def y(self, values: Any) -> Any:
        """Returns the places of values from the top."""
        if self.is_log:
            values = np.log10(np.maximum(values, 1e-300))
        part = (values - self._low) / (self._high - self._low)
        return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)

    def extent(self) -> str:
        """Returns the first and the last step, and the edges, as curves.js reads them.

        The edges are those of the curves: left, right, top and bottom.
        """
        edges = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM)
        return " ".join(f"{n:.12g}" for n in (self._first, self._last, *edges))

    def grid(self) -> Html:
        """Returns lines and numbers at round values and steps."""
        parts = []
        if self.is_log:
            span = range(math.ceil(self._low), math.floor(self._high) + 1)
            thinned = span[:: max(1, -(-len(span) // 5))]
            ticks = [10.0**exponent for exponent in thinned]
        else:
            ticks = multiples(self._size, self._low, self._high)
        for value in ticks:
            y = f"{self.y(value):.1f}"
            parts.append(f'<path class="rule" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
            parts.append(
                f'<text class="tick end" x="{LEFT - 6}" y="{y}" dy=".32em">'
                f"{short(value)}</text>"
            )
        size = max(1.0, round_size(self._first, self._last))
        for step in multiples(size, self._first, self._last):
            x = self.x(step)
            # A number at the right end would be cut off if it were centred.
            anchor, x = ("end", WIDTH - 2) if x > WIDTH - 24 else ("middle", x)
            parts.append(
                f'<text class="tick {anchor}" x="{x:.1f}" y="{HEIGHT - 6}">'
                f"{_thousands(step)}</text>"
            )
        return Html("".join(parts))


def _line(axes: _Axes, curve: Series, color: str) -> str:
    steps, values = curve.steps, curve.values
    known = np.isfinite(values)
    xs, ys = axes.x(steps), axes.y(np.where(known, values, 1.0))
    path, pen_is_down = "", False
    for x, y, is_known in zip(xs, ys, known, strict=True):
        if is_known:
            path += f"{'L' if pen_is_down else 'M'}{x:.1f} {y:.1f}"
        pen_is_down = bool(is_known)
    numbers = " ".join(
        short(v) if k else "\u2013" for v, k in zip(values, known, strict=True)
    )
    line = (
        f'<path class="line {color}" d="{path}" data-values="{numbers}" '
        f'data-steps="{" ".join(f"{step:.12g}" for step in steps)}"/>'
    )
    if len(values) <= 30:  # single readings, such as scores
        line += "".join(
            f'<circle class="pin {color}" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>'
            for x, y in zip(xs[known], ys[known], strict=True)
        )
    return line


def _thinned(curve: Series, most: int) -> Series:
    """Returns at most `most` points, with the extremes of every interval."""
    count = len(curve.values)
    if count <= most:
        return curve
    kept: set[int] = {0, count - 1}
    for part in np.array_split(np.arange(count), most // 2 - 1):
        values = curve.values[part]
        if np.isfinite(values).any():
            kept |= {int(part[np.nanargmin(values)]), int(part[np.nanargmax(values)])}
        else:
            kept.add(int(part[0]))  # the gap stays visible
    order = sorted(kept)
    return curve._replace(steps=curve.steps[order], values=curve.values[order])


def last(curve: Series) -> tuple[float, float]:
    """Returns the last step with a number, and the number."""
    place = np.flatnonzero(np.isfinite(curve.values))[-1]
    return float(curve.steps[place]), float(curve.values[place])


def _in_words(curve: Series) -> str:
    step, value = last(curve)
    low, high = np.nanmin(curve.values), np.nanmax(curve.values)
    return (
        f"{curve.name}: {short(value)} at step {step:,.0f}, "
        f"between {short(low)} and {short(high)}."
    )


def round_size(low: float, high: float) -> float:
    """Returns the round number that fits between 2 and 4 times into [low, high]."""
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))


def multiples(size: float, low: float, high: float) -> list[float]:
    """Returns the multiples of `size` in [low, high]."""
    begin, end = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [count * size for count in range(begin, end + 1)]


def short(value: float) -> str:
    """Returns a number in at most three digits."""
    # Rounding leaves a tick such as 1e-17 where 0 is meant.
    return f"{value:.3g}" if abs(value) > 1e-12 else "0"


def _thousands(step: float) -> str:
    if step >= 1_000_000:
        return f"{step / 1_000_000:g}M"
    return f"{step / 1000:g}k" if step >= 10_000 else f"{step:,.0f}"


def charts(figures: Iterable[Html]) -> Html:
    """Returns charts next to each other, as many in a row as there is room for."""
    return tag("div", join(figures), class_="charts")
