"""metrics.jsonl: a line per logged step, once, whatever happened before."""

import json
import pathlib
import time
from typing import Any

import pytest

from sagan_jax.files import json_lines
from sagan_jax.workdir.telemetry import Telemetry

SCALARS = {
    "loss/discriminator": 1.5,
    "loss/generator": -0.25,
    "images_per_second": 1234.5,
}


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _log(path: pathlib.Path, start: int, *steps: int) -> None:
    with Telemetry(path, start=start, steps=100) as report:
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
    with Telemetry(path, start=0, steps=100) as report:
        report.log(1, SCALARS)
        assert [line["step"] for line in _lines(path)] == [1]


def test_each_step_stands_once_after_a_resume(path: pathlib.Path) -> None:
    _log(path, 0, 1, 2, 3, 4)
    first = _lines(path)
    _log(path, 2, 3, 4, 5)  # the checkpoint was of step 2
    lines = _lines(path)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[:2] == first[:2]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("cut", ['{"step": 3, "ti', '{"step": 3, "time": 1.0', "{", ""])
def test_a_line_cut_short_is_dropped(path: pathlib.Path, cut: str) -> None:
    _log(path, 0, 1, 2)
    with path.open("a") as file:
        file.write(cut)
    _log(path, 3, 4)
    assert [line["step"] for line in _lines(path)] == [1, 2, 4]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_becomes_null(path: pathlib.Path, value: float) -> None:
    with Telemetry(path, start=0, steps=100) as report:
        report.log(1, SCALARS | {"loss/generator": value})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    line = json.loads(path.read_text(), parse_constant=refuse)
    assert line["loss/generator"] is None
    assert line["loss/discriminator"] == 1.5


def test_the_bar_shows_step_losses_and_speed(
    path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(path, start=40, steps=100) as report:
        report.advance()
        report.say("resumed at step 40")
        report.log(41, SCALARS)
    captured = capsys.readouterr()
    assert "41/100" in captured.err
    assert "D 1.500 G -0.250 1234 images/s" in captured.err
    assert captured.out == "resumed at step 40\n"


def test_a_process_that_is_not_the_first_writes_nothing(
    path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(path, start=0, steps=100, enabled=False) as report:
        report.advance()
        report.log(1, SCALARS)
        report.say("unheard")
    assert not path.exists()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_lines_before_an_error_are_kept(path: pathlib.Path) -> None:
    report = Telemetry(path, start=0, steps=100)

    def log_and_fail() -> None:
        with report:
            report.log(1, SCALARS)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        log_and_fail()
    assert report._file.closed
    assert [line["step"] for line in _lines(path)] == [1]


def test_append_json_adds_a_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "results.jsonl"
    for step in (1, 2):
        json_lines.append_json(path, {"step": step, "protocol": "far_pairs"})
    assert _lines(path) == [{"step": s, "protocol": "far_pairs"} for s in (1, 2)]
