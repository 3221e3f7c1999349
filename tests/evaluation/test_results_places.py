"""Scores that cannot be written, and checkpoints that go while others are scored."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import tiny_runs

from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import results
from sagan_jax.files import json_lines, whole
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir.run import Run


class _Scorer:
    """Gives the number of its calls as the score, and measures nothing."""

    def __init__(self, config: Any) -> None:
        self.metrics = ("agreement",)
        self.protocol = mock.Mock()
        self.calls = 0

    def facts(self) -> dict[str, Any]:
        return {}

    def score(self, *args: Any, **law: Any) -> dict[str, float]:
        self.calls += 1
        return {"score": float(self.calls)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Returns a run with checkpoints 10, 20 and 30, which are not really read."""
    for step in (10, 20, 30):
        folder = tmp_path / "checkpoints" / str(step)
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(str(step))
    (tmp_path / "config.json").write_text("{}")

    def load(run: Run, step: int | None, changes: Any = None) -> tuple[Any, ...]:
        run.check_step(step)
        return None, {}, run.config, run.steps()[-1] if step is None else step

    monkeypatch.setattr(generator_lib, "load", load)
    monkeypatch.setattr(results, "Scorer", _Scorer)
    return Run(tmp_path, tiny_runs.config())


def _remove_while_scoring(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None]
) -> None:
    score = _Scorer.score

    def score_and_call(self: _Scorer, *args: Any, **law: Any) -> dict[str, float]:
        scores = score(self, *args, **law)
        then(self.calls)
        return scores

    monkeypatch.setattr(_Scorer, "score", score_and_call)


def test_what_has_gone_is_left_out_and_said(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def remove(call: int) -> None:
        if call == 1:
            shutil.rmtree(run.checkpoints / "20")

    _remove_while_scoring(monkeypatch, remove)
    lines = results.evaluate(run, "all")
    assert [line["step"] for line in lines] == [10, 30]
    assert json_lines.read(run.results) == lines
    assert "checkpoint 20 was removed" in capsys.readouterr().err


def test_where_all_have_gone_the_newest_is_scored(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = run.steps

    def replaced() -> list[int]:
        listed = steps()
        if listed == [10, 20, 30]:  # the training goes on once they have been listed
            for step in listed:
                (run.checkpoints / str(step)).rename(run.checkpoints / str(step + 90))
        return listed

    monkeypatch.setattr(Run, "steps", lambda self: replaced())
    (line,) = results.evaluate(run, "all")
    assert line["step"] == 120


def test_a_step_that_was_asked_for_and_has_gone_is_an_error(run: Run) -> None:
    with pytest.raises(checkpoint.GoneError, match="step=40 has no checkpoint"):
        results.evaluate(run, "40")


def test_a_line_names_the_checkpoint_that_was_scored(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run.checkpoint_digest(30)
    _remove_while_scoring(
        monkeypatch, lambda call: shutil.rmtree(run.checkpoints / "30")
    )
    (line,) = results.evaluate(run, "30")
    assert before
    assert line["checkpoint"] == before


@pytest.mark.parametrize("bounds", [(0.5, -1.0), (0.5, float("nan")), (1e400,)])
def test_every_bound_is_checked_before_the_first_score(
    bounds: tuple[float, ...], run: Run
) -> None:
    with pytest.raises(UserError, match=r"evaluation\.truncation="):
        results.evaluate(run, truncations=bounds)
    assert not run.results.exists()


def test_a_place_that_cannot_be_written_is_found_before_the_first_score(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = OSError(errno.EROFS, os.strerror(errno.EROFS))
    monkeypatch.setattr(results, "Scorer", mock.Mock(side_effect=AssertionError))
    run.results.mkdir()
    with pytest.raises(UserError, match=r"^workdir: .*results\.jsonl.* directory"):
        results.evaluate(run)
    run.results.rmdir()
    with (
        mock.patch.object(whole.tempfile, "TemporaryFile", side_effect=denied),
        pytest.raises(UserError, match=r"^workdir: .*Read-only file system.*another"),
    ):
        results.evaluate(run)


def test_scores_that_cannot_be_written_are_printed(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    append = json_lines.append

    def append_once(path: Path, line: Any) -> None:
        if line["step"] == 20:
            raise full
        append(path, line)

    monkeypatch.setattr(json_lines, "append", append_once)
    with pytest.raises(OSError, match="No space left"):
        results.evaluate(run, "all")
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["step", "truncation", "score"],
        ["10", "0", "1"],
        ["20", "0", "2"],
    ]
