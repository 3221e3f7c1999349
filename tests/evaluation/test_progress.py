"""The best evaluation of a run; test_results.py covers whole runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from sagan_jax.config import Config
from sagan_jax.evaluation import progress
from sagan_jax.workdir.run import Run


def _write(workdir: Path, lines: list[dict[str, Any]]) -> Run:
    facts = {"num_samples": 8, "seed": 3, "reference": "r"}
    text = "".join(json.dumps(facts | line) + "\n" for line in lines)
    run = Run(workdir, Config())
    run.evaluations.write_text(text)
    return run


@pytest.mark.parametrize(
    "name",
    [
        *("FID", "FD-768", "FD-DINOv2-L", "FD-m_n:f", "MIND", "MIND-768"),
        *("MIND-DINOv2-L", "score"),
    ],
)
def test_the_smallest_distance_is_the_best(name: str, tmp_path: Path) -> None:
    lines = [{"step": step, name: value} for step, value in ((2, 5), (4, 3), (6, 4))]
    assert progress.best(_write(tmp_path, lines)) == {
        "step": 4,
        name: 3,
        "num_samples": 8,
        "seed": 3,
        "reference": "r",
    }


def test_a_distance_takes_precedence_over_agreement(tmp_path: Path) -> None:
    lines = [
        {"step": 2, "score": 0.1, "FD-192": 9.0},
        {"step": 4, "score": 0.9, "FD-192": 1.0},
    ]
    found = progress.best(_write(tmp_path, lines))
    assert found is not None
    assert found["step"] == 4


@pytest.mark.parametrize(
    ("names", "step"), [(("MIND-768", "FID"), 2), (("FD-768", "MIND-768"), 4)]
)
def test_the_first_of_several_distances_decides(
    names: tuple[str, str], step: int, tmp_path: Path
) -> None:
    lines = [
        {"step": 2, "score": 0.1, names[0]: 1.0 + (step == 4), names[1]: 1.0},
        {"step": 4, "score": 0.2, names[0]: 2.0 - (step == 4), names[1]: 2.0},
    ]
    found = progress.best(_write(tmp_path, lines))
    assert found is not None
    assert (found["step"], names[0] in found) == (step, True)


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    lines = [{"step": 2, "FID": None}, {"step": 4, "FID": 7.0}]
    found = progress.best(_write(tmp_path, lines))
    assert found is not None
    assert found["step"] == 4


def test_other_metrics_do_not_select_a_checkpoint(tmp_path: Path) -> None:
    others = {"FID_infinity": 1.0, "KID": 0.1, "IS": 3.0, "FD-768_infinity": 2.0}
    floors = {"MIND_floor": 0.1, "MIND-768_floor": 0.1, "MIND_images": 5}
    lines = [{"step": 2} | others | floors]
    assert progress.best(_write(tmp_path, lines)) is None


def test_without_evaluations_there_is_no_best(tmp_path: Path) -> None:
    assert progress.best(Run(tmp_path, Config())) is None


def test_a_step_is_observed_once_it_has_a_line(tmp_path: Path) -> None:
    run = _write(tmp_path, [{"step": 2, "FID": 1.0}])
    assert progress.is_observed(run, 2)
    assert not progress.is_observed(run, 4)


@pytest.mark.parametrize(
    "damaged",
    [
        {"FID": "0.1"},
        {"FID": [1]},
        {"FID": {}},
        {"FID": True},
        {"FID": float("nan")},
        {"FID": -float("inf")},
        {"step": "2", "FID": 0.1},
        {"step": None, "FID": 0.1},
    ],
    ids=str,
)
def test_a_damaged_line_is_not_the_best(
    damaged: dict[str, Any], tmp_path: Path
) -> None:
    lines = [{"step": 2} | damaged, {"step": 4, "FID": 7.0}]
    assert progress.best_step(_write(tmp_path, lines)) == 4


def test_the_best_may_lack_what_does_not_choose(tmp_path: Path) -> None:
    run = Run(tmp_path, Config())
    run.evaluations.write_text('{"step": 4, "FID": 7.0}\n')
    found = progress.best(run)
    assert found is not None
    assert (found["step"], found["FID"], found["seed"]) == (4, 7.0, None)
