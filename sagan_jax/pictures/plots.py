"""Plots of a sweep, drawn by matplotlib, which is imported here and only on use."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sagan_jax.errors import UserError
from sagan_jax.files import names, whole
from sagan_jax.metrics import contrasts
from sagan_jax.metrics.sweep_cells import Cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours, which people with any colour vision tell apart."""

_MARKERS = "osD^vPX"
_WIDTH, _HEIGHT = 3.4, 3.2  # inches of a panel
_IN_A_ROW = 3


def draw_seeds(cells: Cells, path: Path) -> None:
    """Draws every seed as a dot, with the mean and its 95 % t interval per variant.

    Dots of one seed are joined over the variants: differences are paired by seed.

    Args:
      cells: the cells of a sweep.
      path: the PNG file to write.

    Raises:
      UserError: matplotlib is not installed.
    """
    measures, variants = cells.plan["measures"], list(cells.plan["variants"])
    rows = contrasts.variant_rows(cells)
    figure, panels = _figure(len(measures))
    for measure, panel in zip(measures, panels, strict=True):
        found = [row for row in rows if row.measure == measure]
        for seed in cells.plan["seeds"]:
            line = [row.values.get(seed, np.nan) for row in found]
            panel.plot(range(len(variants)), line, color="0.8", linewidth=0.8, zorder=1)
        for place, row in enumerate(found):
            style: dict[str, Any] = {
                "color": _COLORS[place % 7],
                "marker": _MARKERS[place % 7],
            }
            values = list(row.values.values())
            panel.plot([place] * len(values), values, linestyle="", alpha=0.7, **style)
            if row.summary.n > 1:
                low, high = row.summary.t95
                panel.vlines(place + 0.15, low, high, color=style["color"])
                panel.hlines(
                    row.summary.mean, place + 0.09, place + 0.21, color=style["color"]
                )
            if not values:
                panel.annotate(
                    "no values",
                    (place, 0.5),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    fontsize=8,
                )
        panel.set_xticks(range(len(variants)), variants)
        panel.set_xlim(-0.5, len(variants) - 0.5)
        panel.set_title(names.shown(measure), fontsize=9)
    figure.suptitle(
        f"{cells.plan['name']}: every seed; bar: mean and its 95 % t interval",
        fontsize=9,
    )
    _save(figure, path)


def draw_curves(cells: Cells, path: Path) -> bool:
    """Draws scores over steps, a line per seed, in the colour of its variant.

    Returns False, and draws nothing, if no measure was taken while cells were trained.

    Args:
      cells: the cells of a sweep.
      path: the PNG file to write.

    Raises:
      UserError: matplotlib is not installed.
    """
    measures = [m for m in cells.plan["measures"] if any(_all_curves(cells, m))]
    if not measures:
        return False
    figure, panels = _figure(len(measures))
    for measure, panel in zip(measures, panels, strict=True):
        for place, variant in enumerate(cells.plan["variants"]):
            style: dict[str, Any] = {"color": _COLORS[place % 7], "linewidth": 1}
            style |= {"marker": _MARKERS[place % 7], "markersize": 3, "alpha": 0.8}
            label: str | None = variant
            for seed in cells.plan["seeds"]:
                if curve := _curve(cells, variant, seed, measure):
                    panel.plot(*np.transpose(curve), label=label, **style)
                    label = None  # one entry for all seeds
        panel.set_title(names.shown(measure), fontsize=9)
        panel.set_xlabel("step", fontsize=8)
        panel.legend(fontsize=7)
    figure.suptitle(f"{cells.plan['name']}: a line per seed", fontsize=9)
    _save(figure, path)
    return True


def _curve(
    cells: Cells, variant: str, seed: int, measure: str
) -> list[tuple[int, float]]:
    line = cells.lines.get((variant, seed), {})
    return [
        (point["step"], point[measure])
        for point in line.get("curves", ())
        if point.get(measure) is not None
    ]


def _all_curves(cells: Cells, measure: str) -> Sequence[Any]:
    return [_curve(cells, *cell, measure) for cell in cells.expected]


def _figure(panels: int) -> "tuple[Figure, list[Axes]]":
    """Returns a figure with panels in rows, without matplotlib's global state."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(
            "plots need matplotlib, which is not installed; pip install "
            "'sagan_jax[plots]'."
        ) from None
    columns = min(panels, _IN_A_ROW)
    rows = -(-panels // columns)
    size = (max(2, columns) * _WIDTH, rows * _HEIGHT)
    figure = Figure(figsize=size, layout="constrained")
    made = figure.subplots(rows, columns, squeeze=False).flatten()
    for unused in made[panels:]:
        unused.set_axis_off()
    for panel in made[:panels]:
        panel.tick_params(labelsize=8)
        panel.grid(axis="y", color="0.92")
        panel.set_axisbelow(True)
    return figure, list(made[:panels])


def _save(figure: "Figure", path: Path) -> None:
    with whole.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
