"""The table of a sweep, as Markdown for people and as CSV for programs."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

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


def markdown(cells: Cells) -> str:
    """Returns the table: which cells ended how, and each measure with its contrasts."""
    variants = contrasts.variant_rows(cells)
    compared = contrasts.contrast_rows(cells)
    parts = [_head(cells), _outcomes(cells)]
    for place, measure in enumerate(cells.plan["measures"]):
        parts.append(f"## {measure}" + (" (primary)" if not place else ""))
        parts.append(_variants([r for r in variants if r.measure == measure], cells))
        if rows := [r for r in compared if r.measure == measure]:
            pairs = any(row.summary.n for row in rows)
            parts.append(_contrasts(rows, cells) if pairs else "There are no pairs.")
    return "\n\n".join([*parts, _notes(cells)]) + "\n"


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
    plan = cells.plan
    kind = "Exploratory: no thresholds were set, and this table gives no verdict."
    if verdict := plan["verdict"]:
        kind = (
            f"Thresholds, set in the plan: a difference of {verdict['smallest']:g} in "
            f"{plan['measures'][0]}"
            + "".join(
                f"; {name} within {bound:+g}"
                for name, bound in verdict["guards"].items()
            )
            + "."
        )
    ended = sum(cells.status(*cell) in FINAL for cell in cells.expected)
    return (
        f"# {plan['name']}\n\nPlan `{cells.plan_hash[:16]}`, {ended} of "
        f"{len(cells.expected)} cells ended. {kind}"
    )


def _outcomes(cells: Cells) -> str:
    rows = []
    for variant, fields in cells.plan["variants"].items():
        found = [cells.status(variant, seed) for seed in cells.plan["seeds"]]
        ended = sum(status in FINAL for status in found)
        bad = ended - found.count(DONE)
        changes = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        rows.append(
            [
                variant,
                f"`{names.shown(changes)}`" if changes else "as the base",
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
    remarks = [
        f"- {variant}, seed {seed}: {status}"
        + (f" at step {line['step']}" if line.get("step") else "")
        + (f": {names.shown(line['reason'])}" if line.get("reason") else "")
        for variant, seed in cells.expected
        if (status := cells.status(variant, seed)) not in ("", DONE)
        for line in [cells.lines[variant, seed]]
    ]
    return "\n\n".join(filter(None, [_table(heads, rows), "\n".join(remarks)]))


def _variants(rows: Sequence[VariantRow], cells: Cells) -> str:
    seeds = cells.plan["seeds"]
    return _table(
        ["variant", "n", "mean", "SD", "95 % (t)", *(f"seed {s}" for s in seeds)],
        [
            [r.variant, *_summary(r.summary), *(_value(r.values, s) for s in seeds)]
            for r in rows
        ],
    )


def _contrasts(rows: Sequence[ContrastRow], cells: Cells) -> str:
    seeds, plan = cells.plan["seeds"], cells.plan
    heads = ["difference", "n", "mean", "SD", "95 % (t)", "95 % (bootstrap)", "p (t)"]
    heads += ["p (Holm)"] * bool(plan["holm"]) + ["p (Wilcoxon)"]
    judged = bool(plan["verdict"]) and rows[0].measure == plan["measures"][0]
    heads += ["verdict"] * judged + [f"seed {seed}" for seed in seeds]
    return _table(
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


def _notes(cells: Cells) -> str:
    count, tests = len(cells.plan["seeds"]), len(cells.plan["contrasts"])
    notes = [
        "The unit is a run: n counts seeds, and differences are paired by seed. Means "
        "leave out cells that diverged, failed or are missing.",
    ]
    if count < paired.ENOUGH_FOR_BOOTSTRAP:
        notes.append(
            f"Bootstrap intervals of fewer than {paired.ENOUGH_FOR_BOOTSTRAP} pairs "
            "are too narrow."
        )
    if tests:
        notes.append(
            f"With {count} pairs the exact Wilcoxon test cannot give less than p = "
            f"{min(1.0, 2.0 ** (1 - count)):.2g}."
        )
        notes.append(
            f"Holm adjusts the t tests of the {tests} contrast(s) of one measure; "
            "nothing is adjusted over measures."
            if cells.plan["holm"]
            else "p values are not adjusted for the number of contrasts and measures."
        )
    ended = cells.lines.values()
    revisions = {str(line.get("provenance", {}).get("revision", "")) for line in ended}
    if len(revisions) > 1:
        notes.append(
            f"The cells were trained by {len(revisions)} revisions of the code."
        )
    return "\n".join(f"- {note}" for note in notes)


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


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
