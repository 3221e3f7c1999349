"""Scores of whole runs: lines that say how they were made, and the best checkpoint."""

import functools
import hashlib
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_runs

from sagan_jax.errors import UserError
from sagan_jax.evaluation import results
from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.workdir import checkpoint


@functools.cache
def _watched() -> tiny_runs.Run:
    """Returns a run that is scored at steps 2, 4 and 6, and keeps one checkpoint."""
    config = tiny_runs.config(
        evaluation__every=2,
        evaluation__every_samples=8,
        train__keep_checkpoints=1,
        train__checkpoint_every=3,
    )
    return tiny_runs.train(config, tiny_runs.folder() / "watched")


def _copy(run: tiny_runs.Run, to: Path) -> Path:
    return Path(shutil.copytree(run.workdir, to / "run"))


def _evaluate(workdir: Path, *args: Any, **options: Any) -> list[dict[str, Any]]:
    with tiny_runs.cached_compiles():
        return results.evaluate(workdir, *args, **options)


# Under way.


def test_a_run_is_scored_at_the_steps_asked_for() -> None:
    lines = tiny_runs.read_lines(_watched().workdir / "evaluations.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert {(line["num_samples"], line["n"], line["seed"]) for line in lines} == {
        (8, 8, 1234)
    }


def test_the_best_checkpoint_is_kept_beside_the_newest() -> None:
    lines = tiny_runs.read_lines(_watched().workdir / "evaluations.jsonl")
    best = min(lines, key=lambda line: line["score"])["step"]
    assert checkpoint.steps(_watched().workdir) == sorted({best, 6})


def test_an_evaluation_under_way_is_that_of_its_checkpoint(tmp_path: Path) -> None:
    workdir = _copy(_watched(), tmp_path)
    last = tiny_runs.read_lines(workdir / "evaluations.jsonl")[-1]
    (line,) = _evaluate(workdir, "6", changes={"num_samples": 8})
    assert line["score"] == last["score"]


def test_a_resumed_run_scores_each_step_once(tmp_path: Path) -> None:
    workdir = _copy(_watched(), tmp_path)
    whole = tiny_runs.read_lines(workdir / "evaluations.jsonl")
    config = tiny_runs.config(
        evaluation__every=2,
        evaluation__every_samples=8,
        train__keep_checkpoints=1,
        train__checkpoint_every=3,
        train__steps=8,
    )
    # As if killed between the evaluation at step 8 and its checkpoint.
    with (workdir / "evaluations.jsonl").open("a") as file:
        file.write('{"step": 8, "score": -1.0}\n')
    tiny_runs.train(config, workdir)
    lines = tiny_runs.read_lines(workdir / "evaluations.jsonl")
    assert lines[:3] == whole
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert lines[3]["score"] > -1.0


# Afterwards.


def test_a_line_says_how_its_numbers_were_made(tmp_path: Path) -> None:
    workdir = _copy(_watched(), tmp_path)
    (line,) = _evaluate(workdir, changes={"num_samples": 8, "ema": False})
    manifest = (workdir / "checkpoints" / "6" / "manifest.json").read_bytes()
    config = (workdir / "config.json").read_bytes()
    expected = {
        "protocol": "far_pairs_full_8",
        "step": 6,
        "checkpoint": hashlib.sha256(manifest).hexdigest(),
        "config": hashlib.sha256(config).hexdigest(),
        "num_samples": 8,
        "labels": "balanced",
        "seed": 1234,
        "seeds": 1,
        "truncation": 0.0,
        "ema": False,
        "statistics": "running",
        "devices": jax.device_count(),
    }
    assert expected.items() <= line.items()
    assert tiny_runs.read_lines(workdir / "results.jsonl")[-1] == line


def test_several_seeds_give_mean_and_deviation(tmp_path: Path) -> None:
    workdir = _copy(_watched(), tmp_path)
    scores = [
        _evaluate(workdir, changes={"num_samples": 8, "seed": seed})[0]["score"]
        for seed in (5, 6, 7)
    ]
    (line,) = _evaluate(workdir, changes={"num_samples": 8, "seed": 5, "seeds": 3})
    np.testing.assert_allclose(line["score"], np.mean(scores), rtol=1e-12)
    deviation = np.std(scores, ddof=1)
    np.testing.assert_allclose(line["score_over_seeds_std"], deviation, rtol=1e-12)
    assert line["n"] == 8


def test_all_checkpoints_and_truncations_have_a_line_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def score(self: Scorer, *args: Any, **law: Any) -> dict[str, float]:
        asked.append(law["truncation"])
        return {"score": float(len(asked))}

    workdir = _copy(_watched(), tmp_path)
    monkeypatch.setattr(Scorer, "score", score)
    lines = _evaluate(workdir, "all", truncations=(0.5, 0))
    assert asked == [0.5, 0] * len(checkpoint.steps(workdir))
    assert [(line["step"], line["truncation"], line["score"]) for line in lines] == [
        (step, bound, 2.0 * index + place)
        for index, step in enumerate(checkpoint.steps(workdir))
        for place, bound in ((1, 0.5), (2, 0))
    ]


def test_the_best_is_scored_on_other_images_and_says_what_chose_it(
    tmp_path: Path,
) -> None:
    workdir = _copy(_watched(), tmp_path)
    lines = tiny_runs.read_lines(workdir / "evaluations.jsonl")
    best = min(lines, key=lambda line: line["score"])
    (line,) = _evaluate(workdir, "best")
    assert line["step"] == best["step"]
    assert line["seed"] == 1234 + results.FRESH
    assert line["selected_by"] == {
        "step": best["step"],
        "score": best["score"],
        "num_samples": 8,
        "seed": 1234,
        "reference": "",
    }


def test_seeds_beyond_the_last_begin_again() -> None:
    assert results._later(2**32 - 1, 2) == 1


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("last", "step='last' is not a step; give a number, best, or all"),
        ("99", "step=99 has no checkpoint"),
    ],
)
def test_a_step_that_is_none_is_refused(
    which: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        _evaluate(_copy(_watched(), tmp_path), which)


def test_without_evaluations_there_is_no_best_to_score() -> None:
    with pytest.raises(UserError, match="has no evaluations; train with --config"):
        _evaluate(tiny_runs.whole().workdir, "best")


def test_a_table_has_a_column_for_each_score() -> None:
    lines = [
        {"step": 10, "truncation": 0.0, "time": 1.5, "FID": 12.34567, "IS": 3.0},
        {"step": 200, "truncation": 0.5, "time": 2.5, "FID": 1.2, "IS": 30.125},
    ]
    assert results.table(lines).splitlines() == [
        "step  truncation    FID     IS",
        "  10           0  12.35      3",
        " 200         0.5    1.2  30.12",
    ]
