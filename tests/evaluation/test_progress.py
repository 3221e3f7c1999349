"""Which evaluation under way was the best one; whole runs are in test_results.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from sagan_jax.evaluation import progress


def _write(workdir: Path, lines: list[dict[str, Any]]) -> Path:
    facts = {"num_samples": 8, "seed": 3, "reference": "r"}
    text = "".join(json.dumps(facts | line) + "\n" for line in lines)
    (workdir / progress.FILE).write_text(text)
    return workdir


@pytest.mark.parametrize("name", ["FID", "FD-768", "score"])
def test_the_least_distance_is_the_best(name: str, tmp_path: Path) -> None:
    lines = [{"step": step, name: value} for step, value in ((2, 5), (4, 3), (6, 4))]
    assert progress.best(_write(tmp_path, lines)) == {
        "step": 4,
        name: 3,
        "num_samples": 8,
        "seed": 3,
        "reference": "r",
    }


def test_a_distance_counts_more_than_agreement(tmp_path: Path) -> None:
    lines = [
        {"step": 2, "score": 0.1, "FD-192": 9.0},
        {"step": 4, "score": 0.9, "FD-192": 1.0},
    ]
    found = progress.best(_write(tmp_path, lines))
    assert found is not None
    assert found["step"] == 4


def test_numbers_that_were_not_finite_are_not_the_best(tmp_path: Path) -> None:
    lines = [{"step": 2, "FID": None}, {"step": 4, "FID": 7.0}]
    found = progress.best(_write(tmp_path, lines))
    assert found is not None
    assert found["step"] == 4


def test_deviations_and_other_kinds_do_not_choose(tmp_path: Path) -> None:
    lines = [{"step": 2, "FID_infinity": 1.0, "KID": 0.1, "IS": 3.0}]
    assert progress.best(_write(tmp_path, lines)) is None


def test_without_evaluations_there_is_no_best(tmp_path: Path) -> None:
    assert progress.best(tmp_path) is None
