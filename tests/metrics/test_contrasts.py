"""Variants compared, on values whose differences are known."""

import math
from typing import Any

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics import contrasts, paired, sweep_cells, sweep_table

THRESHOLDS = {"smallest": -0.1, "guards": {"class": -0.05}}


def _line(variant: str, seed: int, plan: dict[str, Any], **numbers: float) -> Any:
    return {
        "variant": variant,
        "seed": seed,
        "plan_hash": "abc",
        "plan": plan,
        "status": "done",
        "step": 9,
        "numbers": numbers,
    }


def _plan(n: int, **changes: Any) -> dict[str, Any]:
    plan = {
        "name": "mine",
        "variants": {"a": {}, "b": {"optim.beta2": 0.5}},
        "seeds": list(range(n)),
        "measures": ["score", "class"],
        "contrasts": [["b", "a"]],
        "holm": False,
        "verdict": None,
    }
    return plan | changes


def _lines(
    differences: list[float], class_loss: float = 0.0, **changes: Any
) -> list[Any]:
    """Returns lines of a (score 1 + seed) and of b, which differs as asked."""
    plan = _plan(len(differences), **changes)
    return [
        line
        for seed, d in enumerate(differences)
        for line in (
            _line("a", seed, plan, score=1.0 + seed, **{"class": 0.9}),
            _line("b", seed, plan, score=1.0 + seed + d, **{"class": 0.9 - class_loss}),
        )
    ]


def _row(lines: list[Any]) -> contrasts.ContrastRow:
    return contrasts.contrast_rows(sweep_cells.of_lines(lines))[0]


def test_differences_are_paired_by_seed() -> None:
    # Between seeds the scores differ by 1; only pairing shows the small difference.
    row = _row(_lines([-0.25, -0.5, -0.75]))
    assert row.name == "b - a"
    assert row.differences == {0: -0.25, 1: -0.5, 2: -0.75}
    assert (row.summary.mean, row.summary.sd) == (-0.5, 0.25)
    assert row.p_t == paired.t_test([-0.25, -0.5, -0.75])
    assert row.p_wilcoxon == 0.25


def test_a_seed_without_its_twin_makes_no_pair() -> None:
    lines = _lines([-0.25, -0.5, -0.75])[:-1]
    assert _row(lines).differences == {0: -0.25, 1: -0.5}


def test_a_cell_that_diverged_has_no_value_but_is_counted() -> None:
    lines = _lines([-0.25, -0.5])
    lines[-1] |= {"status": "diverged", "reason": "not finite", "step": 4}
    cells = sweep_cells.of_lines(lines)
    assert cells.values("b", "score") == {0: 0.75}
    text = sweep_table.markdown(cells)
    # 1 of 2: Clopper and Pearson give 1.3 % to 98.7 %.
    assert "| b | `optim.beta2=0.5` | 1 | 1 of 2 [0.01258, 0.9874] | 0 | 0 |" in text
    assert "- b, seed 1: diverged at step 4: not finite" in text


def test_a_cell_that_collapsed_is_counted_and_keeps_its_value() -> None:
    lines = _lines([-0.25, -0.5])
    lines[-1] |= {"status": "collapsed", "reason": "signs of collapse"}
    cells = sweep_cells.of_lines(lines)
    assert cells.values("b", "score") == {0: 0.75, 1: 1.5}
    assert "| 2 | 1 of 2 [" in sweep_table.markdown(cells)


def test_holm_is_over_the_contrasts_of_a_measure() -> None:
    both = [["b", "a"], ["a", "b"]]
    lines = _lines([-0.25, -0.5, -0.75], contrasts=both, holm=True)
    first, second, *_ = contrasts.contrast_rows(sweep_cells.of_lines(lines))
    assert first.p_holm == second.p_holm == 2 * first.p_t
    assert math.isnan(_row(_lines([-0.25, -0.5])).p_holm)


SPREAD = np.linspace(-0.02, 0.02, 8)


@pytest.mark.parametrize(
    ("mean", "class_loss", "n", "expected"),
    [
        (-0.2, 0.0, 8, "support"),
        (-0.2, 0.1, 8, "trade-off"),
        (-0.2, -0.1, 8, "support"),  # the guard is one-sided
        (0.01, 0.0, 8, "no effect"),
        (0.2, 0.0, 8, "against"),
        (-0.2, 0.0, 7, "inconclusive"),
    ],
)
def test_a_verdict_follows_the_thresholds(
    mean: float, class_loss: float, n: int, expected: str
) -> None:
    differences = list(mean + SPREAD)[:n]
    lines = _lines(differences, class_loss, verdict=THRESHOLDS)
    assert _row(lines).verdict == expected


def test_a_wide_spread_is_inconclusive() -> None:
    lines = _lines(list(-0.11 + 20 * SPREAD), verdict=THRESHOLDS)
    assert _row(lines).verdict == "inconclusive"


def test_only_the_first_measure_gets_a_verdict() -> None:
    lines = _lines(list(-0.2 + SPREAD), verdict=THRESHOLDS)
    rows = contrasts.contrast_rows(sweep_cells.of_lines(lines))
    assert [row.verdict for row in rows] == ["support", ""]


def test_a_failed_attempt_does_not_replace_the_end_of_a_cell() -> None:
    lines = _lines([-0.25])
    failed = lines[0] | {"status": "failed", "numbers": {}}
    for order in ([failed, *lines], [*lines, failed]):
        cells = sweep_cells.of_lines(order)
        assert cells.status("a", 0) == "done"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"plan_hash": "xyz"}, r"line 2 is of another plan \(xyz instead of abc\)"),
        ({"variant": "c"}, "line 2 is not the line of a cell"),
        ({"seed": "1"}, "line 2 is not the line of a cell"),
        ({"variant": "a"}, "line 2 is a second, different end of a with seed 0"),
    ],
)
def test_lines_that_do_not_belong_are_refused(
    change: dict[str, Any], words: str
) -> None:
    first, second = _lines([-0.25])
    with pytest.raises(UserError, match=words):
        sweep_cells.of_lines([first, second | change])


@pytest.mark.parametrize(
    "change",
    [
        {"plan": _plan(1, measures=[["score"]])},
        {"plan": _plan(1, variants={"a": 0, "b": {}})},
        {"plan": _plan(1, contrasts=[["b", {}]])},
        {"plan": _plan(1, seeds=None)},
        {"plan": _plan(1, verdict={"smallest": "x", "guards": {}})},
        {"plan": _plan(1, name="\ud800")},
        {"numbers": {"score": "/dev/zero"}},
        {"numbers": {"score": math.inf}},
        {"numbers": {"score": 1e308}},
        {"curves": [{"score": 1.0}]},
        {"status": "x"},
        {"step": []},
    ],
    ids=repr,
)
def test_a_damaged_line_is_refused_and_not_met_later(change: dict[str, Any]) -> None:
    first, second = _lines([-0.25])
    with pytest.raises(UserError, match="line 1 is not the line of a cell"):
        sweep_cells.of_lines([first | change, second])


def test_no_lines_are_refused() -> None:
    with pytest.raises(UserError, match="no finished cell yet"):
        sweep_cells.of_lines([])


def test_the_csv_holds_every_value_in_full() -> None:
    cells = sweep_cells.of_lines(_lines([-1 / 3, -0.5]))
    head, *rows = [line.split(",") for line in sweep_table.as_csv(cells).splitlines()]
    assert {len(row) for row in rows} == {len(head)}
    (row,) = [
        dict(zip(head, r, strict=True)) for r in rows if r[:2] == ["contrast", "score"]
    ]
    assert (row["name"], row["n"]) == ("b - a", "2")
    assert float(row["seed_0"]) == 1.0 - 1 / 3 - 1.0
    assert float(row["mean"]) == pytest.approx(-5 / 12)
    assert row["p_holm"] == ""


def test_the_table_says_what_it_cannot_say() -> None:
    text = sweep_table.markdown(sweep_cells.of_lines(_lines([-0.25] * 5)))
    assert "Exploratory" in text
    assert "fewer than 8 pairs are too narrow" in text
    assert "cannot give less than p = 0.062" in text
    assert "not adjusted" in text
