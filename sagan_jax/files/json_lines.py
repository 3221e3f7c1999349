"""Files of one JSON object per line, appended to while a run goes on.

A kill can cut the last line short and a disk can lose a block: readers skip every line
that is not a whole JSON object. A long log is read from its end, and cut at an offset.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sagan_jax.files import whole

Line = dict[str, Any]

_BLOCK = 1 << 16  # bytes read at once from the end
_LONGEST = 1 << 24  # bytes; a longer line is what a disk lost, not a line


def read(path: Path) -> list[Line]:
    """Returns the whole lines of a file, in order; [] if there is no such file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return [line for text in file if (line := _parsed(text)) is not None]


def newest_first(path: Path) -> Iterator[Line]:
    """Yields the whole lines of a file from its end; none if there is no such file.

    Only as much of the file is read as lines are taken.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for _, text in _backwards(file):
            if (line := _parsed(text)) is not None:
                yield line


def step_of(line: Line) -> int | None:
    """Returns the step of a line; None if it has none."""
    step = line.get("step")
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def drop_after(path: Path, step: int) -> None:
    """Removes the lines beyond `step`, which a resumed run will write again.

    The file is cut after the last line of a step up to `step`.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        kept = 0
        for offset, text in _backwards(file):
            found = step_of(_parsed(text) or {})
            if found is not None and found <= step:
                kept = min(offset + len(text) + 1, size)
                break
    if kept < size:
        whole.cut(path, kept)


def append(path: Path, line: Line) -> None:
    """Appends one line; numbers that are not finite become null.

    The file and its directory are made if they are missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.write(_missing_newline(file) + encode(line).encode())


def _missing_newline(file: IO[bytes]) -> bytes:
    """Returns the newline that a killed writer left out, or nothing."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def encode(line: Line) -> str:
    """Returns the line as it stands in a file, with its newline."""
    return json.dumps(_finite(line), allow_nan=False) + "\n"


def _parsed(text: bytes) -> Line | None:
    """Returns the JSON object in a line; None if it is no whole one."""
    try:
        line = json.loads(text.decode("utf-8", "replace"), parse_int=_number)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) else None


def _number(digits: str) -> int:
    # No number that was written here is longer, and floats cannot hold them all.
    if len(digits) > 20:
        raise ValueError("too many digits")
    return int(digits)


def _backwards(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yields the offset and the text of each line, from the last to the first."""
    begin = file.seek(0, os.SEEK_END)
    later: list[bytes] = []  # of the line whose beginning has not been read yet
    while begin:
        end, begin = begin, max(0, begin - _BLOCK)
        file.seek(begin)
        first, *lines = file.read(end - begin).split(b"\n")
        offset = end
        for text in reversed(lines):
            offset -= len(text)
            yield offset, b"".join([text, *reversed(later)])
            offset -= 1
            later = []
        later.append(first)
        if len(later) * _BLOCK > _LONGEST:
            later = [b"\0"]
    yield 0, b"".join(reversed(later))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
