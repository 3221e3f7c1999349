"""The table of a sweep, as Markdown for people and as CSV for programs."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from sagan_jax.files import names
from sagan_jax.metrics import contrasts, paired
from sagan_jax.metrics.contrasts import ContrastRow, VariantRow
from sagan_jax.metrics.paired import Interval, Summary
from sagan_jax.metrics.sweep_cells import DONE, FAILED, FINAL, SCORED, Cells

_COLUMNS: tuple[str, ...] = (
    "kind",
    "measure",
    "name",
    "n",
    "mean",
    "sd",
    "t95_low",
    "t95_high",
)
_COLUMNS += ("bootstrap95_low", "bootstrap95_high", "p_t", "p_holm", "p_wilcoxon")
_COLUMNS += ("verdict",)


class Table(NamedTuple):
    """A table as text.

    Attributes:
      heads: heads of the columns.
      rows: cells of each row.
    """

    heads: list[str]
    rows: list[list[str]]


class Compared(NamedTuple):
    """A measure of all variants.

    Attributes:
      measure: the measure.
      variants: a row for each variant.
      differences: a row for each contrast; None if there are no pairs.
    """

    measure: str
    variants: Table
    differences: Table | None


NO_PAIRS = "There are no pairs."


def markdown(cells: Cells) -> str:
    """Returns the table: which cells ended how, and each measure with its contrasts."""
    heads, rows = outcomes(cells)
    quoted = [
        [row[0], f"`{row[1]}`" if row[1] else "as the base", *row[2:]] for row in rows
    ]
    remarks_list = "\n".join(f"- {remark}" for remark in remarks(cells))
    parts = [_head(cells), _as_markdown(Table(heads, quoted)), remarks_list]
    for place, found in enumerate(compared(cells)):
        parts.append(f"## {found.measure}" + (" (primary)" if not place else ""))
        parts.append(_as_markdown(found.variants))
        if found.differences:
            parts.append(_as_markdown(found.differences))
        elif cells.plan["contrasts"]:
            parts.append(NO_PAIRS)
    parts.append("\n".join(f"- {note}" for note in notes(cells)))
    return "\n\n".join(filter(None, parts)) + "\n"


def compared(cells: Cells) -> list[Compared]:
    """Returns the tables of each measure, in the order of the plan."""
    variants = contrasts.variant_rows(cells)
    differences = contrasts.contrast_rows(cells)
    found = []
    for measure in cells.plan["measures"]:
        rows = [row for row in differences if row.measure == measure]
        table = None
        if any(row.summary.n for row in rows):
            table = _differences(rows, cells)
        ours = [row for row in variants if row.measure == measure]
        found.append(Compared(measure, _variants(ours, cells), table))
    return found


def as_csv(cells: Cells) -> str:
    """Returns one row for each variant and contrast of each measure, at full precision.

    An undefined number is an empty cell. The last columns hold the value of each seed.
    """
    seeds = cells.plan["seeds"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"seed_{seed}" for seed in seeds), "plan_hash"])
    for row in contrasts.variant_rows(cells):
        tests = (math.nan, math.nan, math.nan, "")
        head = ("variant", row.measure, row.variant)
        writer.writerow(_csv_row(head, row.summary, tests, row.values, cells))
    for contrast in contrasts.contrast_rows(cells):
        tests = (contrast.p_t, contrast.p_holm, contrast.p_wilcoxon, contrast.verdict)
        head = ("contrast", contrast.measure, contrast.name)
        found = contrast.differences
        writer.writerow(_csv_row(head, contrast.summary, tests, found, cells))
    return out.getvalue()


def _csv_row(
    head: tuple[str, str, str],
    summary: Summary,
    tests: tuple[float, float, float, str],
    values: dict[int, float],
    cells: Cells,
) -> list[Any]:
    numbers = [summary.mean, summary.sd, *summary.t95, *summary.bootstrap95, *tests[:3]]
    shown: list[Any] = ["" if math.isnan(x) else repr(float(x)) for x in numbers]
    each = [repr(values[s]) if s in values else "" for s in cells.plan["seeds"]]
    return [*head, summary.n, *shown, tests[3], *each, cells.plan_hash]


def _head(cells: Cells) -> str:
    return (
        f"# {cells.plan['name']}\n\nPlan `{cells.plan_hash[:16]}`, {ended(cells)} of "
        f"{len(cells.expected)} cells ended. {kind(cells)}"
    )


def ended(cells: Cells) -> int:
    """Returns how many cells have ended."""
    return sum(cells.status(*cell) in FINAL for cell in cells.expected)


def kind(cells: Cells) -> str:
    """Returns a sentence about the thresholds of the plan, or about their absence."""
    plan = cells.plan
    if verdict := plan["verdict"]:
        return (
            f"Thresholds, set in the plan: a difference of {verdict['smallest']:g} in "
            f"{plan['measures'][0]}"
            + "".join(
                f"; {name} within {bound:+g}"
                for name, bound in verdict["guards"].items()
            )
            + "."
        )
    return "Exploratory: no thresholds were set, and this table gives no verdict."


def outcomes(cells: Cells) -> Table:
    """Returns how the cells of each variant ended; its settings: '' as the base."""
    rows = []
    for variant, fields in cells.plan["variants"].items():
        found = [cells.status(variant, seed) for seed in cells.plan["seeds"]]
        ended = sum(status in FINAL for status in found)
        bad = ended - found.count(DONE)
        changes = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        rows.append(
            [
                variant,
                names.shown(changes),
                f"{sum(status in SCORED for status in found)}",
                f"{bad} of {ended} {_interval(paired.share_interval(bad, ended))}",
                f"{found.count(FAILED)}",
                f"{found.count('')}",
            ]
        )
    heads = [
        "variant",
        "settings",
        "trained",
        "diverged or collapsed (95 %)",
        "failed",
        "missing",
    ]
    return Table(heads, rows)


def remarks(cells: Cells) -> list[str]:
    """Returns a line for each cell that was not simply trained, with the reason."""
    return [
        f"{variant}, seed {seed}: {status}"
        + (f" at step {line['step']}" if line.get("step") else "")
        + (f": {names.shown(line['reason'])}" if line.get("reason") else "")
        for variant, seed in cells.expected
        if (status := cells.status(variant, seed)) not in ("", DONE)
        for line in [cells.lines[variant, seed]]
    ]


def _variants(rows: Sequence[VariantRow], cells: Cells) -> Table:
    seeds = cells.plan["seeds"]
    return Table(
        ["variant", "n", "mean", "SD", "95 % (t)", *(f"seed {s}" for s in seeds)],
        [
            [r.variant, *_summary(r.summary), *(_value(r.values, s) for s in seeds)]
            for r in rows
        ],
    )


def _differences(rows: Sequence[ContrastRow], cells: Cells) -> Table:
    seeds, plan = cells.plan["seeds"], cells.plan
    heads = ["difference", "n", "mean", "SD", "95 % (t)", "95 % (bootstrap)", "p (t)"]
    heads += ["p (Holm)"] * bool(plan["holm"]) + ["p (Wilcoxon)"]
    judged = bool(plan["verdict"]) and rows[0].measure == plan["measures"][0]
    heads += ["verdict"] * judged + [f"seed {seed}" for seed in seeds]
    return Table(
        heads,
        [
            [
                r.name,
                *_summary(r.summary),
                _interval(r.summary.bootstrap95),
                _number(r.p_t),
                *([_number(r.p_holm)] * bool(plan["holm"])),
                _number(r.p_wilcoxon),
                *([r.verdict] * judged),
                *(_value(r.differences, seed) for seed in seeds),
            ]
            for r in rows
        ],
    )


def notes(cells: Cells) -> list[str]:
    """Returns how to read the table, and what it cannot say, in sentences."""
    count, tests = len(cells.plan["seeds"]), len(cells.plan["contrasts"])
    found = [
        "The unit is a run: n counts seeds, and differences are paired by seed. Means "
        "leave out cells that diverged, failed or are missing.",
    ]
    if count < paired.ENOUGH_FOR_BOOTSTRAP:
        found.append(
            f"Bootstrap intervals of fewer than {paired.ENOUGH_FOR_BOOTSTRAP} pairs "
            "are too narrow."
        )
    if tests:
        found.append(
            f"With {count} pairs the exact Wilcoxon test cannot give less than p = "
            f"{min(1.0, 2.0 ** (1 - count)):.2g}."
        )
        found.append(
            f"Holm adjusts the t tests of the {tests} contrast(s) of one measure; "
            "nothing is adjusted over measures."
            if cells.plan["holm"]
            else "p values are not adjusted for the number of contrasts and measures."
        )
    lines = cells.lines.values()
    revisions = {str(line.get("provenance", {}).get("revision", "")) for line in lines}
    if len(revisions) > 1:
        found.append(
            f"The cells were trained by {len(revisions)} revisions of the code."
        )
    return found


def _summary(s: Summary) -> list[str]:
    return [f"{s.n}", _number(s.mean), _number(s.sd), _interval(s.t95)]


def _interval(interval: Interval) -> str:
    if math.isnan(interval.low):
        return "-"
    return f"[{_number(interval.low)}, {_number(interval.high)}]"


def _value(values: dict[int, float], seed: int) -> str:
    return _number(values[seed]) if seed in values else "-"


def _number(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.4g}"


def _as_markdown(table: Table) -> str:
    lines = [table.heads, ["---"] * len(table.heads), *table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
