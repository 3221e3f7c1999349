"""Scores of whole runs: during training, at the end, and on request."""

import functools
import hashlib
import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
import tiny_runs

from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.evaluation import progress, results
from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.run import Run


@functools.cache
def _scored() -> tiny_runs.Run:
    """Returns a run that is scored at steps 2, 4 and 6, and keeps one checkpoint."""
    return tiny_runs.train(_scored_config(), tiny_runs.folder() / "scored")


def _copy(run: tiny_runs.Run, to: Path) -> Path:
    return Path(shutil.copytree(run.workdir, to / "run"))


def _evaluate(workdir: Path, *args: Any, **options: Any) -> list[dict[str, Any]]:
    with tiny_runs.cached_compiles():
        return results.evaluate(run_lib.open_run(workdir), *args, **options)


# During training.


def test_a_run_is_scored_at_multiples_of_evaluation_every() -> None:
    lines = tiny_runs.read_lines(_scored().workdir / "evaluations.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert {(line["num_samples"], line["n"], line["seed"]) for line in lines} == {
        (8, 8, 1234)
    }


def test_the_best_checkpoint_is_kept_in_addition_to_the_newest() -> None:
    lines = tiny_runs.read_lines(_scored().workdir / "evaluations.jsonl")
    best = min(lines, key=lambda line: line["score"])["step"]
    assert tiny_runs.steps(_scored().workdir) == sorted({best, 6})


def test_a_score_during_training_equals_that_of_its_checkpoint(tmp_path: Path) -> None:
    workdir = _copy(_scored(), tmp_path)
    last = tiny_runs.read_lines(workdir / "evaluations.jsonl")[-1]
    (line,) = _evaluate(workdir, "6", changes={"num_samples": 8})
    assert line["score"] == last["score"]


def test_a_resumed_run_scores_each_step_once(tmp_path: Path) -> None:
    workdir = _copy(_scored(), tmp_path)
    whole = tiny_runs.read_lines(workdir / "evaluations.jsonl")
    config = _scored_config(train__steps=8)
    # As if killed between the evaluation at step 8 and its checkpoint.
    with (workdir / "evaluations.jsonl").open("a") as file:
        file.write('{"step": 8, "score": -1.0}\n')
    tiny_runs.train(config, workdir)
    lines = tiny_runs.read_lines(workdir / "evaluations.jsonl")
    assert lines[:3] == whole
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    assert lines[3]["score"] > -1.0


def _scored_config(**changes: Any) -> Config:
    few = {"evaluation__every": 2, "evaluation__every_samples": 8}
    few |= {"train__keep_checkpoints": 1, "train__checkpoint_every": 3}
    return tiny_runs.config(**few | changes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_request_ends_a_score_and_loses_no_step(
    number: int, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    with tiny_runs.stopped_while_scoring(number, 4):
        run = tiny_runs.train(_scored_config(), workdir)
    assert re.search(r"stopped .*step 4\b.*resume.*COMMAND\n", run.output)
    assert 4 in tiny_runs.steps(workdir)
    lines = tiny_runs.read_lines(workdir / "evaluations.jsonl")
    assert [line["step"] for line in lines] == [2]
    # The next start scores that step first; then it equals an uninterrupted run.
    tiny_runs.train(_scored_config(), workdir)
    ours, whole = (
        tiny_runs.read_lines(path / "evaluations.jsonl")
        for path in (workdir, _scored().workdir)
    )
    for line in (*ours, *whole):
        del line["time"]
    assert ours == whole


def test_a_scored_step_is_saved_before_it_is_scored(tmp_path: Path) -> None:
    saved: list[list[int]] = []
    observe = progress.observe

    def look(run: Run, *args: Any) -> Any:
        saved.append(run.steps())
        return observe(run, *args)

    with mock.patch.object(progress, "observe", look):
        tiny_runs.train(_scored_config(train__steps=4), tmp_path / "run")
    # Saves run in the background; that of step 2 is complete when step 4 is scored.
    assert len(saved) == 2
    assert 2 in saved[1]


# After training.


def test_a_line_records_how_its_scores_were_computed(tmp_path: Path) -> None:
    workdir = _copy(_scored(), tmp_path)
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
    workdir = _copy(_scored(), tmp_path)
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
    bounds = []

    def score(self: Scorer, *args: Any, **options: Any) -> dict[str, float]:
        bounds.append(options["truncation"])
        return {"score": float(len(bounds))}

    workdir = _copy(_scored(), tmp_path)
    monkeypatch.setattr(Scorer, "score", score)
    lines = _evaluate(workdir, "all", truncations=(0.5, 0))
    assert bounds == [0.5, 0] * len(tiny_runs.steps(workdir))
    assert [(line["step"], line["truncation"], line["score"]) for line in lines] == [
        (step, bound, 2.0 * index + place)
        for index, step in enumerate(tiny_runs.steps(workdir))
        for place, bound in ((1, 0.5), (2, 0))
    ]


def test_the_best_checkpoint_is_scored_on_fresh_images(
    tmp_path: Path,
) -> None:
    workdir = _copy(_scored(), tmp_path)
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


def test_shifted_seeds_wrap_around() -> None:
    assert results.shifted_seed(2**32 - 1, 2) == 1


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ("last", "step='last' .*best"),
        ("99", "step=99 .*checkpoint"),
    ],
)
def test_an_unknown_step_is_refused(which: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        _evaluate(_copy(_scored(), tmp_path), which)


def test_without_evaluations_there_is_no_best_checkpoint() -> None:
    with pytest.raises(UserError, match=r"step='best'.*evaluation\.every"):
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


def _is_finished(workdir: Path, lines: list[dict[str, Any]], config: Config) -> bool:
    run = Run(workdir, config)
    run.results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return results.is_finished(run)


def test_only_the_final_scores_finish_a_run(tmp_path: Path) -> None:
    config = _scored_config()
    config.data.source = "folder"
    by_hand = {"step": 6, "selected_by": {"step": 4}}
    at_the_end = by_hand | {"rollbacks": 0, "run_steps": 6}
    assert not _is_finished(tmp_path, [], config)
    # A person may score the best checkpoint of a run that has not ended.
    assert not _is_finished(tmp_path, [by_hand], config)
    assert _is_finished(tmp_path, [by_hand, at_the_end], config)
    # A run that is trained further is scored again at its new end.
    assert not _is_finished(tmp_path, [at_the_end | {"run_steps": 4}], config)


def test_final_scores_of_an_earlier_version_count(tmp_path: Path) -> None:
    config = tiny_runs.config()
    assert _is_finished(tmp_path, [{"step": 6, "rollbacks": 0}], config)


def test_scores_by_hand_do_not_replace_the_final_scores(
    tmp_path: Path,
) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    (end,) = tiny_runs.read_lines(workdir / "results.jsonl")
    assert (end["rollbacks"], end["run_steps"]) == (0, 6)
    # As if killed between the last step and its scores, then scored by a person.
    (workdir / "results.jsonl").unlink()
    _evaluate(workdir, "6")
    tiny_runs.train(tiny_runs.config(), workdir)
    _, line = tiny_runs.read_lines(workdir / "results.jsonl")
    assert line["score"] == end["score"]
    assert line["run_steps"] == 6
