"""Files of one JSON object per line, appended to while a run goes on.

A kill can cut the last line short and a disk can lose a block: readers skip every line
that is not a whole JSON object.
"""

import json
import math
import os
from pathlib import Path
from typing import IO, Any

from sagan_jax.files import whole

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """Returns the whole lines of a file, in order; [] if there is no such file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def read_until(path: Path, step: int) -> list[Line]:
    """Returns the whole lines whose 'step' is a number up to `step`."""
    return [
        line
        for line in read(path)
        if isinstance(line.get("step"), int | float) and line["step"] <= step
    ]


def drop_after(path: Path, step: int) -> None:
    """Removes the lines beyond `step`, which a resumed run will write again."""
    if path.exists():
        kept = [json.dumps(line) + "\n" for line in read_until(path, step)]
        whole.write_text(path, "".join(kept))


def append(path: Path, line: Line) -> None:
    """Appends one line; numbers that are not finite become null."""
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


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
