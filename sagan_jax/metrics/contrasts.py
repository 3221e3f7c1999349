"""Variants of a sweep, compared: summaries, paired differences, tests and verdicts."""

import math
from typing import Any, NamedTuple

from sagan_jax.metrics import paired
from sagan_jax.metrics.sweep_cells import Cells

ENOUGH_PAIRS = 8
"""Pairs below which no verdict is given."""

ALPHA = 0.05


class VariantRow(NamedTuple):
    """A measure of one variant.

    Attributes:
      measure: the measure.
      variant: the variant.
      values: by seed.
      summary: of the values.
    """

    measure: str
    variant: str
    values: dict[int, float]
    summary: paired.Summary


class ContrastRow(NamedTuple):
    """A measure of a variant minus that of another one, seed by seed.

    Attributes:
      measure: the measure.
      minuend: the first variant.
      subtrahend: the second variant.
      differences: by seed, of the seeds that both variants have.
      summary: of the differences.
      t90: the 90 % interval of their mean, for two one-sided tests.
      p_t: of the paired t test.
      p_holm: `p_t` after Holm's adjustment; NaN if the plan asks for none.
      p_wilcoxon: of the exact signed-rank test.
      verdict: a word, for the first measure of a plan with thresholds; else ''.
    """

    measure: str
    minuend: str
    subtrahend: str
    differences: dict[int, float]
    summary: paired.Summary
    t90: paired.Interval
    p_t: float
    p_holm: float
    p_wilcoxon: float
    verdict: str = ""

    @property
    def name(self) -> str:
        """The contrast in words."""
        return f"{self.minuend} - {self.subtrahend}"


def variant_rows(cells: Cells) -> list[VariantRow]:
    """Returns a row for each measure and variant, in the order of the plan."""
    rows = []
    for measure in cells.plan["measures"]:
        for variant in cells.plan["variants"]:
            values = cells.values(variant, measure)
            summary = paired.summarize(list(values.values()))
            rows.append(VariantRow(measure, variant, values, summary))
    return rows


def contrast_rows(cells: Cells) -> list[ContrastRow]:
    """Returns a row for each measure and contrast, in the order of the plan."""
    rows: list[ContrastRow] = []
    for measure in cells.plan["measures"]:
        family = [
            _contrast(cells, measure, minuend, subtrahend)
            for minuend, subtrahend in cells.plan["contrasts"]
        ]
        if cells.plan["holm"]:
            adjusted = paired.holm([row.p_t for row in family])
            family = [
                row._replace(p_holm=p) for row, p in zip(family, adjusted, strict=True)
            ]
        rows += family
    thresholds = cells.plan["verdict"]
    if not thresholds:
        return rows
    primary = cells.plan["measures"][0]
    return [
        row._replace(verdict=verdict(row, thresholds, _guards(row, rows)))
        if row.measure == primary
        else row
        for row in rows
    ]


def verdict(
    row: ContrastRow, thresholds: dict[str, Any], guards: dict[str, float]
) -> str:
    """Returns what a contrast says, by thresholds that were set before looking.

    'support': the mean difference reaches `smallest`, the (adjusted) p value of the
    paired t test is below 0.05, and the bootstrap interval excludes 0; 'trade-off' if a
    guard fails. 'against': the same size and interval on the other side. 'no effect':
    the 90 % interval lies within `smallest` of 0. 'inconclusive': everything else, and
    fewer than eight pairs.

    Args:
      row: the contrast in the first measure.
      thresholds: 'smallest' and 'guards' of the plan.
      guards: the mean difference of each guarded measure; NaN if it is unknown.
    """
    if row.summary.n < ENOUGH_PAIRS:
        return "inconclusive"
    size = abs(thresholds["smallest"])
    sign = math.copysign(1.0, thresholds["smallest"])
    gain = sign * row.summary.mean
    gains = sorted(sign * end for end in row.summary.bootstrap95)
    p = row.p_t if math.isnan(row.p_holm) else row.p_holm
    if gain >= size and p < ALPHA and gains[0] > 0:
        bounds = thresholds["guards"]
        held = all(_is_held(guards[name], bound) for name, bound in bounds.items())
        return "support" if held else "trade-off"
    if -size < row.t90.low and row.t90.high < size:
        return "no effect"
    if gain <= -size and gains[1] < 0:
        return "against"
    return "inconclusive"


def _is_held(mean: float, bound: float) -> bool:
    # NaN holds nothing.
    return mean >= bound if bound < 0 else mean <= bound


def _guards(row: ContrastRow, rows: list[ContrastRow]) -> dict[str, float]:
    return {r.measure: r.summary.mean for r in rows if r.name == row.name}


def _contrast(cells: Cells, measure: str, minuend: str, subtrahend: str) -> ContrastRow:
    first, second = cells.values(minuend, measure), cells.values(subtrahend, measure)
    found = {seed: first[seed] - second[seed] for seed in first if seed in second}
    values = list(found.values())
    return ContrastRow(
        measure,
        minuend,
        subtrahend,
        found,
        paired.summarize(values),
        paired.t_interval(values, 0.9),
        p_t=paired.t_test(values),
        p_holm=math.nan,
        p_wilcoxon=paired.wilcoxon(values),
    )
