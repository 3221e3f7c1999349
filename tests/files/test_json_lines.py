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
    json_lines.append(path, {"step": step})
    assert [json_lines.step_of(x) for x in json_lines.read(path)] == [None, 2, None]
    json_lines.drop_after(path, 9)
    assert json_lines.read(path) == [{"step": step}, {"step": 2}]


@pytest.mark.parametrize("count", [1, 3, 5000])
def test_lines_from_the_end_are_the_lines_from_the_beginning(
    path: pathlib.Path, count: int
) -> None:
    lines = [{"step": i, "text": "x" * (i * 7919 % 300)} for i in range(count)]
    path.write_text("".join(json_lines.encode(line) for line in lines) + '{"step')
    assert list(json_lines.newest_first(path)) == lines[::-1]
    assert json_lines.read(path) == lines


def test_the_end_of_a_long_log_is_read_and_cut_without_the_rest(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 10_000_000_000
    with path.open("wb") as file:
        file.truncate(size)  # a hole: reading all of it would take minutes
    for step in (1, 2, 3):
        json_lines.append(path, {"step": step})
    assert next(json_lines.newest_first(path)) == {"step": 3}
    json_lines.drop_after(path, 2)
    lines = json_lines.newest_first(path)
    steps = [next(lines)["step"], next(lines)["step"]]
    assert steps == [2, 1]
    assert path.stat().st_size == size + 1 + 2 * len('{"step": 1}\n')


def test_a_block_that_a_disk_lost_is_one_line_that_is_skipped(
    path: pathlib.Path,
) -> None:
    json_lines.append(path, {"step": 1})
    with path.open("ab") as file:
        file.write(bytes(40_000_000))
    json_lines.append(path, {"step": 2})
    assert list(json_lines.newest_first(path)) == [{"step": 2}, {"step": 1}]


def test_a_number_that_no_float_holds_is_no_line(path: pathlib.Path) -> None:
    path.write_text('{"step": 1, "loss": 1' + "0" * 400 + '}\n{"step": 2}\n')
    assert json_lines.read(path) == [{"step": 2}]


def test_a_missing_directory_of_a_log_is_made(tmp_path: pathlib.Path) -> None:
    json_lines.append(tmp_path / "new" / "log.jsonl", {"step": 1})
    assert json_lines.read(tmp_path / "new" / "log.jsonl") == [{"step": 1}]


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
