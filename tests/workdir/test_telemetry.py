"""metrics.jsonl has exactly one line per logged step; the bar shows the progress."""

import json
import pathlib
import time
from typing import Any

import pytest

from sagan_jax.config import Config
from sagan_jax.workdir.run import Run
from sagan_jax.workdir.telemetry import Telemetry

SCALARS = {
    "loss/discriminator": 1.5,
    "loss/generator": -0.25,
    "images_per_second": 1234.5,
}


def _run(metrics: pathlib.Path) -> Run:
    config = Config()
    config.train.steps = 100
    return Run(metrics.parent, config)


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _log(path: pathlib.Path, start: int, *steps: int) -> None:
    with Telemetry(_run(path), start=start) as report:
        for step in steps:
            report.log(step, SCALARS | {"gamma": float(step)})


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "metrics.jsonl"


def test_a_line_has_step_time_and_every_scalar(path: pathlib.Path) -> None:
    before = time.time()
    _log(path, 0, 7)
    (line,) = _lines(path)
    assert before - 0.001 <= line.pop("time") <= time.time() + 0.001
    assert line == {"step": 7, **SCALARS, "gamma": 7.0}


def test_a_line_is_in_the_file_at_once(path: pathlib.Path) -> None:
    with Telemetry(_run(path), start=0) as report:
        report.log(1, SCALARS)
        assert [line["step"] for line in _lines(path)] == [1]


def test_each_step_has_one_line_after_a_resume(path: pathlib.Path) -> None:
    _log(path, 0, 1, 2, 3, 4)
    first = _lines(path)
    _log(path, 2, 3, 4, 5)  # resumed from the checkpoint of step 2
    lines = _lines(path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[:2] == first[:2]
    assert {p.name for p in path.parent.iterdir()} == {path.name, "tensorboard"}


def test_each_sheet_has_one_line_of_attention_after_a_resume(
    path: pathlib.Path,
) -> None:
    def logged(start: int, *steps: int) -> list[int]:
        with Telemetry(_run(path), start=start) as report:
            for step in steps:
                report.log_attention(step, {"entropy/attention32": step / 10})
            report.log_attention(9, {})  # as of a network without attention
        lines = _lines(path.parent / "attention.jsonl")
        assert all(line["entropy/attention32"] == line["step"] / 10 for line in lines)
        return [line["step"] for line in lines]

    assert logged(0, 0, 2, 4) == [0, 2, 4]
    assert logged(2, 4, 6) == [0, 2, 4, 6]
    # Without a checkpoint, the sheet of step 0 is drawn again.
    assert logged(0, 0, 2) == [0, 2]


@pytest.mark.parametrize("cut", ['{"step": 3, "ti', '{"step": 3, "time": 1.0', "{", ""])
def test_a_truncated_line_is_dropped(path: pathlib.Path, cut: str) -> None:
    _log(path, 0, 1, 2)
    with path.open("a") as file:
        file.write(cut)
    _log(path, 3, 4)
    assert [line["step"] for line in _lines(path)] == [1, 2, 4]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_become_null(
    path: pathlib.Path, value: float
) -> None:
    with Telemetry(_run(path), start=0) as report:
        report.log(1, SCALARS | {"loss/generator": value})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    line = json.loads(path.read_text(), parse_constant=refuse)
    assert line["loss/generator"] is None
    assert line["loss/discriminator"] == 1.5


def test_the_bar_shows_step_losses_and_speed(
    path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(_run(path), start=40) as report:
        report.advance()
        report.say("resumed at step 40")
        report.log(41, SCALARS)
    captured = capsys.readouterr()
    assert "41/100" in captured.err
    assert "D 1.500 G -0.250 1234 images/s" in captured.err
    assert captured.out == "resumed at step 40\n"


def test_only_the_first_process_reports(
    path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(_run(path), start=0, enabled=False) as report:
        report.advance()
        report.log(1, SCALARS)
        report.say("hidden")
    assert not path.exists()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_lines_before_an_error_are_kept(path: pathlib.Path) -> None:
    report = Telemetry(_run(path), start=0)

    def log_and_fail() -> None:
        with report:
            report.log(1, SCALARS)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        log_and_fail()
    assert [line["step"] for line in _lines(path)] == [1]
