"""Files of JSON lines, also with truncated or damaged lines."""

import json
import pathlib

import pytest

from sagan_jax.files import json_lines


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "metrics.jsonl"


def test_lines_are_read_in_order(path: pathlib.Path) -> None:
    lines = [{"step": 1, "loss": 0.5}, {"step": 2, "names": ["a", "ü"]}]
    for line in lines:
        json_lines.append(path, line)
    assert json_lines.read(path) == lines


def test_a_missing_file_has_no_lines(path: pathlib.Path) -> None:
    assert json_lines.read(path) == []
    json_lines.drop_after(path, 3)
    assert not path.exists()


@pytest.mark.parametrize(
    "garbage",
    [b'{"step": 3, "lo', b"\xff\x00", b"3", b"[1]", b"null", b"", b"[" * 9999],
)
def test_a_line_that_is_not_an_object_is_skipped(
    path: pathlib.Path, garbage: bytes
) -> None:
    json_lines.append(path, {"step": 1})
    with path.open("ab") as file:
        file.write(garbage)
    json_lines.append(path, {"step": 2})
    assert [line["step"] for line in json_lines.read(path)] == [1, 2]


@pytest.mark.parametrize("step", ["two", None, [2]])
def test_a_line_without_a_numeric_step_is_skipped(
    path: pathlib.Path, step: object
) -> None:
    json_lines.append(path, {"step": step})
    json_lines.append(path, {"step": 2})
    assert json_lines.read_until(path, 9) == [{"step": 2}]


def test_lines_beyond_a_step_are_dropped(path: pathlib.Path) -> None:
    for step in (1, 2, 3):
        json_lines.append(path, {"step": step})
    json_lines.drop_after(path, 2)
    assert json_lines.read(path) == [{"step": 1}, {"step": 2}]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_numbers_that_are_not_finite_become_null(path: pathlib.Path) -> None:
    inner = {"a": [float("inf"), 1.0]}
    json_lines.append(path, {"step": 1, "loss": float("nan"), "inner": inner})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    line = json.loads(path.read_text(), parse_constant=refuse)
    assert line == {"step": 1, "loss": None, "inner": {"a": [None, 1.0]}}
