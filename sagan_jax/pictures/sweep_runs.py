"""The cells of a sweep in a page: their logs, their table, their sample sheets."""

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sagan_jax.config import sweep as sweep_lib
from sagan_jax.files import json_lines
from sagan_jax.metrics.sweep_cells import Cells
from sagan_jax.pictures import album, curves, page, run_curves, seed_charts
from sagan_jax.pictures.curves import Series
from sagan_jax.pictures.page import Html, Number, join, number, tag
from sagan_jax.workdir.run_files import RunFiles
from sagan_jax.workdir.sweep_dir import SweepDir

MOST_POINTS = 40_000
"""Points of all curves of a page at most, and at least LEAST_POINTS of each."""
LEAST_POINTS = 24
SIDES = ((560, 60_000), (400, 0), (240, 0), (120, 0))
"""Pixels and bytes without loss of a sheet, from which the first that fits is taken."""


class Cell(NamedTuple):
    """A cell of a sweep, with what is on this disk of it.

    Attributes:
      variant: its variant.
      seed: its seed.
      line: its line of cells.jsonl; {} if it has none.
      files: the files of its workdir; None if that is not here.
      log: lines with a step, of scores, gates of attention and attention.
    """

    variant: str
    seed: int
    line: Mapping[str, Any]
    files: RunFiles | None
    log: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """Its name in words."""
        return f"{self.variant}, seed {self.seed}"

    @property
    def status(self) -> str:
        """What became of it."""
        return str(self.line.get("status", "")) or (
            "begun" if self.files else "missing"
        )

    @property
    def step(self) -> int | None:
        """The step at which it ended, or its last logged one; None without one."""
        return json_lines.step_of(dict(self.line)) or max(
            filter(None, (json_lines.step_of(dict(line)) for line in self.log)),
            default=None,
        )


def read(directory: SweepDir, cells: Cells) -> list[Cell]:
    """Returns the cells of a plan, seed by seed within a variant.

    A cell whose workdir is not here has the scores over steps that its line holds.
    """
    return [
        _cell(directory, variant, seed, cells.lines.get((variant, seed), {}))
        for variant, seed in cells.expected
    ]


def _cell(
    directory: SweepDir, variant: str, seed: int, line: Mapping[str, Any]
) -> Cell:
    log = [point for point in line.get("curves", ()) if isinstance(point, dict)]
    files = None
    # The names in a file of somebody else may lead anywhere.
    if sweep_lib.is_name(variant) and directory.cell(variant, seed).is_dir():
        files = RunFiles(directory.cell(variant, seed))
        log = json_lines.read(files.evaluations) or log
        log += json_lines.read(files.metrics)
        for found in json_lines.read(files.attention_log):
            flat = run_curves.flat(found)
            named = {f"attention/{name}": value for name, value in flat.items()}
            log.append({"step": found.get("step")} | named)
    return Cell(variant, seed, line, files, log)


def charts(cells: Sequence[Cell], plan: Mapping[str, Any]) -> list[Html]:
    """Returns a chart for each measure that was logged while cells were trained."""
    logged = []
    for measure in plan["measures"]:
        variants: dict[str, list[Series]] = {name: [] for name in plan["variants"]}
        for cell in cells:
            curve = curves.series(cell.name, cell.log, measure)
            if len(curve.steps):
                variants[cell.variant].append(curve)
        if any(variants.values()):
            logged.append((measure, variants))
    most = MOST_POINTS // max(1, len(cells) * len(logged))
    most = min(curves.MOST_POINTS, max(LEAST_POINTS, most))
    return [
        seed_charts.lines(
            measure, variants, note=run_curves.note_of(measure), most=most
        )
        for measure, variants in logged
    ]


def table(cells: Sequence[Cell], plan: Mapping[str, Any], folder: Path) -> Html:
    """Returns the table of the cells.

    Args:
      cells: the cells.
      plan: the plan, with or without its configs.
      folder: where the page lies; links lead from there.
    """
    measures = plan["measures"]
    links = [_link(cell, folder) for cell in cells]
    with_links = any(links)
    heads = ["variant", "seed", "status", *["page"] * with_links, "step", "time"]
    heads += measures
    rows = [
        [
            cell.variant,
            number(cell.seed),
            cell.status,
            *[link] * with_links,
            _steps(cell, plan),
            Number(duration(cell.line.get("seconds"))),
            *(_value(cell, measure) for measure in measures),
        ]
        for cell, link in zip(cells, links, strict=True)
    ]
    return page.table(heads, rows, label="Cells of the sweep")


def _steps(cell: Cell, plan: Mapping[str, Any]) -> Number:
    configs = plan.get("configs")
    config = configs.get(cell.variant) if isinstance(configs, dict) else None
    total = config.get("train.steps") if isinstance(config, dict) else None
    if cell.step is None or not isinstance(total, int):
        return number(cell.step)
    return Number(f"{cell.step:,} of {total:,}")


def _value(cell: Cell, measure: str) -> Number:
    numbers = cell.line.get("numbers", {})
    return number(numbers.get(measure)) if measure in numbers else Number("\u2013")


def _link(cell: Cell, folder: Path) -> Html | str:
    if cell.files is None or not cell.files.report.is_file():
        return ""
    way = Path(os.path.relpath(cell.files.report, folder)).as_posix()
    spoken = f"Page of {cell.name}"
    return tag("a", "page", href=urllib.parse.quote(way), aria_label=spoken)


def duration(seconds: object) -> str:
    """Returns a number of seconds in words, such as '2 h 05 min'; '' if it is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return ""
    if not 0 <= seconds < 1e9:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def sheets(cells: Sequence[Cell], budget: int) -> Html:
    """Returns the newest sample sheet of each cell, side by side for each variant.

    Args:
      cells: the cells.
      budget: characters that the pictures may take; they are made smaller until they
        fit, and some are left out if even small ones do not.
    """
    found = [(cell, *newest) for cell in cells for newest in _newest(cell)]
    if not found:
        where = "No workdir of a cell with a sample sheet lies next to this page."
        return tag("p", where, class_="empty")
    for side, lossless in SIDES:
        read = [
            (cell, step, content)
            for cell, step, path in found
            if (content := album.compressed(path, side=side, lossless=lossless))
        ]
        sizes = [album.uri_bytes(content) for *_, content in read]
        if sum(sizes) <= budget:
            break
    shown = [read[place] for place in album.fitting(sizes, budget)]
    words = f"The newest sheet of {len(shown)} of {len(cells)} cells. "
    words += "Pictures are compressed for the page."
    if len(shown) < len(read):
        words += f" {len(read) - len(shown)} did not fit into the page."
    if len(read) < len(found):
        words += f" {len(found) - len(read)} could not be read."
    parts = [tag("p", words, class_="note")]
    for variant in dict.fromkeys(cell.variant for cell, *_ in shown):
        figures = [
            album.picture(content, f"seed {cell.seed}, step {step:,}, {cell.status}")
            for cell, step, content in shown
            if cell.variant == variant
        ]
        parts += [tag("h3", variant), tag("div", *figures, class_="sheets")]
    return join(parts)


def _newest(cell: Cell) -> list[tuple[int, Path]]:
    """Returns the step and the file of the newest sheet of a cell, if it has one."""
    return album.sheets(cell.files.samples)[-1:] if cell.files else []
