"""Printing to a pipe that nobody reads, and without any stream."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sagan_jax.files import terminal

ROOT = Path(__file__).resolve().parents[2]


def _run(program: str, **streams: int | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        timeout=60,
        **streams,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_command_goes_on_when_nobody_reads(name: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = tmp_path / "done"
    program = (
        "import pathlib, sys\n"
        "from sagan_jax.files import terminal\n"
        "terminal.keep_going(); terminal.keep_going()\n"
        f"for _ in range(9): print('x' * 70_000, file=sys.{name}, flush=True)\n"
        f"pathlib.Path({str(done)!r}).write_text('all')\n"
        f"print('end', file=sys.{name})\n"
    )
    answer = _run(program, **{name: writing})
    os.close(writing)
    assert answer.returncode == 0
    assert done.read_text() == "all"


def test_a_command_goes_on_without_streams(tmp_path: Path) -> None:
    other = tmp_path / "other"
    program = (
        "import os, subprocess, sys\n"
        "code = '''import os, sys\n"
        "from sagan_jax.files import terminal\n"
        "terminal.keep_going()\n"
        f'file = open({str(other)!r}, "w")\n'
        'print(1); print(2, file=sys.stderr); os.write(1, b"3"); os.write(2, b"4")\n'
        "'''\n"
        "done = subprocess.run([sys.executable, '-c', code],\n"
        "    preexec_fn=lambda: (os.close(1), os.close(2)))\n"
        "sys.exit(done.returncode)\n"
    )
    answer = _run(program, capture_output=True)
    assert answer.returncode == 0, answer.stderr
    assert other.read_text() == ""


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "full")


def test_a_full_disk_is_still_an_error() -> None:
    with pytest.raises(OSError, match="full"):
        terminal._Stream(_Full()).write("x")


def test_a_stand_in_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.StringIO()
    monkeypatch.setattr(sys, "stdout", buffer)
    terminal.keep_going()
    assert sys.stdout is buffer
