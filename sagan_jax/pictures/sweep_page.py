"""The page of a sweep: plan, scores, cells and their pictures, in one HTML file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sagan_jax
from sagan_jax.config.sweep import plan_hash
from sagan_jax.errors import UserError
from sagan_jax.metrics import contrasts, sweep_cells, sweep_table
from sagan_jax.metrics.sweep_cells import FAILED, Cells
from sagan_jax.pictures import (
    curves,
    page,
    run_curves,
    run_tables,
    seed_charts,
    sweep_runs,
)
from sagan_jax.pictures.page import Html, Number, join, section, tag
from sagan_jax.pictures.sweep_runs import Cell
from sagan_jax.workdir.sweep_dir import SweepDir

_SPARE_BYTES = 50_000

Sections = Mapping[str, tuple[str, Html]]


def of_sweep(directory: SweepDir, folder: Path | None = None) -> str:
    """Returns the HTML page of a sweep, which may still be going on.

    Its numbers are those of the table. The lines of the cells are enough; what their
    workdirs hold is added where they are.

    Args:
      directory: the sweep.
      folder: where the page will lie, from which it links to pages of cells; None: in
        the directory of the sweep.

    Raises:
      UserError: there is no plan, or a damaged one, or lines of several plans.
    """
    cells, plan = _read(directory)
    found = sweep_runs.read(directory, cells)
    table = sweep_runs.table(found, plan, folder or directory.path)
    sections = {
        "plan": ("Plan", _plan(cells, plan)),
        "seeds": ("Seeds", _seeds(cells)),
        "table": ("Table", _table(cells)),
        "failures": ("Failures", _failures(cells)),
        "curves": ("Curves", _curves(sweep_runs.charts(found, plan))),
        "cells": ("Cells", table),
        "samples": ("Samples", Html("")),
        "environment": ("Environment", _environment(cells)),
    }
    # The sheets take the room that is left.
    rest = len(_written(directory, cells, found, sections).encode())
    budget = page.MOST_BYTES - rest - _SPARE_BYTES
    sections["samples"] = ("Samples", sweep_runs.sheets(found, budget))
    return _written(directory, cells, found, sections)


def _read(directory: SweepDir) -> tuple[Cells, Mapping[str, Any]]:
    """Returns the cells, and their plan with the configs if those are there."""
    lines = directory.read_lines()
    plan: Any = directory.read_plan() if directory.plan.exists() else None
    if lines:
        cells = sweep_cells.of_lines(lines)
        if not sweep_cells.is_plan(plan) or plan_hash(plan) != cells.plan_hash:
            plan = cells.plan
        return cells, plan
    if not sweep_cells.is_plan(plan):
        raise UserError(
            f"workdir={str(directory.path)!r} holds no plan of a sweep; restore "
            "plan.json or cells.jsonl from a backup."
        )
    return Cells(plan, plan_hash(plan), {}), plan


def _written(
    directory: SweepDir, cells: Cells, found: Sequence[Cell], sections: Sections
) -> str:
    links = [tag("a", title, href=f"#{name}") for name, (title, _) in sections.items()]
    body = join(
        (
            tag("a", "Skip to the content", href="#main", class_="skip"),
            tag(
                "header",
                _head(cells, found),
                tag("nav", *links, aria_label="Sections"),
            ),
            tag(
                "main",
                *(section(name, *parts) for name, parts in sections.items()),
                id="main",
            ),
            tag(
                "footer",
                f"Made by sagan_jax {sagan_jax.__version__} from ",
                tag("code", directory.path),
            ),
        )
    )
    return page.document(f"{cells.plan['name']}: a sweep by sagan_jax", body)


def _head(cells: Cells, found: Sequence[Cell]) -> Html:
    plan, ended = cells.plan, sweep_table.ended(cells)
    begun = sum(cell.status == "begun" for cell in found)
    failed = sum(cell.status == FAILED for cell in found)
    state = [f"{begun} begun"] * bool(begun) + [f"{failed} failed"] * bool(failed)
    if ended == len(cells.expected):
        state = ["finished"]
    variants, seeds = len(plan["variants"]), len(plan["seeds"])
    facts = [("Cells ended", f"{ended} of {len(cells.expected)}", ", ".join(state))]
    times = [line.get("time", 0.0) for line in cells.lines.values()]
    if times:
        date, _, rest = run_tables.when(max(times)).partition(" ")
        facts.append(("Last cell", date, rest))
    facts.append(("Plan", cells.plan_hash[:12], "sha256, first 12 digits"))
    kind = ("preset", "thresholds in the plan") if plan["verdict"] else None
    kind = kind or ("exploratory", "no thresholds, no verdict")
    facts.append(("Kind", *kind))
    items = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note)))
        for name, value, note in facts
    ]
    what = f"Sweep: {_counted(variants, 'variant')} \u00d7 {_counted(seeds, 'seed')}"
    return join(
        (
            tag("p", what, class_="kicker"),
            tag("h1", plan["name"]),
            tag("dl", *items, class_="facts"),
        )
    )


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'s' if count != 1 else ''}"


def _plan(cells: Cells, plan: Mapping[str, Any]) -> Html:
    rows = [
        [variant, _settings(fields)] for variant, fields in plan["variants"].items()
    ]
    pairs = [f"{one} \u2212 {other}" for one, other in plan["contrasts"]]
    facts = [
        ("seeds", ", ".join(map(str, plan["seeds"]))),
        ("measures, the first is primary", ", ".join(map(str, plan["measures"]))),
        ("contrasts", ", ".join(pairs) or "none"),
        ("p values", "adjusted by Holm" if plan["holm"] else "not adjusted"),
        ("hash", tag("code", cells.plan_hash)),
    ]
    items = [
        part for name, text in facts for part in (tag("dt", name), tag("dd", text))
    ]
    return join(
        (
            page.table(["variant", "differs from the base in"], rows, label="Variants"),
            tag("p", sweep_table.kind(cells)),
            tag("dl", *items, class_="plan"),
            _shared(plan),
        )
    )


def _settings(fields: Mapping[str, Any]) -> Html | str:
    if not fields:
        return "nothing: it is the base"
    return tag("code", ", ".join(f"{name}={value!r}" for name, value in fields.items()))


def _shared(plan: Mapping[str, Any]) -> Html:
    """Returns the fields of the config that all variants have in common."""
    configs = plan.get("configs")
    every = list(configs.values()) if isinstance(configs, dict) else []
    if not every or not all(isinstance(config, dict) for config in every):
        return Html("")
    shared = [
        (name, value)
        for name, value in every[0].items()
        if all(name in config and config[name] == value for config in every)
    ]
    summary = tag(
        "summary", f"{_counted(len(shared), 'field')} that all variants share"
    )
    return tag("details", summary, run_tables.settings_list(shared))


def _seeds(cells: Cells) -> Html:
    rows = contrasts.variant_rows(cells)
    figures = [
        seed_charts.dots(
            measure,
            [row for row in rows if row.measure == measure],
            note=run_curves.note_of(measure),
        )
        for measure in cells.plan["measures"]
    ]
    how = (
        "A dot is a run. The bar is the mean of a variant and its 95 % t interval. "
        "Lines join the runs of one seed: differences are taken along them."
    )
    return join((tag("p", how, class_="note"), curves.charts(figures)))


def _table(cells: Cells) -> Html:
    parts = [_rows(sweep_table.outcomes(cells), "How the cells ended", code=1)]
    for place, found in enumerate(sweep_table.compared(cells)):
        title = found.measure + (" (primary)" if not place else "")
        parts.append(tag("h3", title))
        parts.append(_rows(found.variants, f"{found.measure} of the variants"))
        if found.differences:
            label = f"{found.measure}: paired differences"
            parts.append(_rows(found.differences, label))
        elif cells.plan["contrasts"]:
            parts.append(tag("p", sweep_table.NO_PAIRS, class_="empty"))
    notes = [tag("li", note) for note in sweep_table.notes(cells)]
    return join((*parts, tag("h3", "How to read it"), tag("ul", *notes)))


def _rows(table: sweep_table.Table, label: str, code: int | None = None) -> Html:
    """Returns a table of text; the column `code` holds settings."""
    rows = [
        [
            row[0],
            *(
                (tag("code", text) if text else "as the base")
                if place == code
                else text
                if text.isalpha()
                else Number(text)
                for place, text in enumerate(row[1:], 1)
            ),
        ]
        for row in table.rows
    ]
    return page.table(table.heads, rows, label=label)


def _failures(cells: Cells) -> Html:
    found = sweep_table.remarks(cells)
    if not found:
        words = "No cell failed, diverged, collapsed or was rescued so far."
        return tag("p", words, class_="empty")
    return tag("ul", *(tag("li", remark) for remark in found), class_="warnings")


def _curves(charts: Sequence[Html]) -> Html:
    if not charts:
        words = "No measure was logged while the cells were trained."
        return tag("p", words, class_="empty")
    how = "A line is a run. The key holds the mean of the last values of a variant."
    return join((tag("p", how, class_="note"), curves.charts(charts)))


def _environment(cells: Cells) -> Html:
    newest = max(
        cells.lines.values(), key=lambda line: line.get("time", 0.0), default={}
    )
    provenance = newest.get("provenance")
    return run_tables.environment(provenance if isinstance(provenance, dict) else {})
