"""How a command ends when it fails."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _fail(body: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Runs statements inside of `reported`, in a process of its own."""
    program = "import sys, threading, types\n"
    program += "from sagan_jax.commands import failures\n"
    program += "from sagan_jax.errors import UserError\n"
    program += "with failures.reported():\n"
    program += "".join(f"    {line}\n" for line in body.splitlines())
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "mount"),
        (errno.EACCES, "writable"),
        (errno.EPERM, "writable"),
        (errno.EIO, "check the disk"),
        (errno.ESTALE, "mount"),
        (errno.ENOTCONN, "mount"),
        (errno.ETIMEDOUT, "connection"),
    ],
    ids=lambda value: errno.errorcode.get(value, ""),
)
def test_a_disk_that_fails_is_one_sentence(
    number: int, remedy: str, tmp_path: Path
) -> None:
    answer = _fail(f"raise OSError({number}, 'x', 'runs/a.jsonl')", tmp_path)
    assert answer.returncode == 1
    (sentence,) = answer.stderr.splitlines()
    assert sentence.startswith("error: the disk cannot be ")
    assert f"({os.strerror(number)}: 'runs/a.jsonl')" in sentence
    assert remedy in sentence
    assert "resume" in sentence


def test_memory_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    answer = _fail("raise MemoryError('Unable to allocate 8 GiB')", tmp_path)
    assert answer.returncode == 1
    (sentence,) = answer.stderr.splitlines()
    assert "not enough memory (Unable to allocate 8 GiB); pass a smaller" in sentence


def test_an_error_that_is_nobodys_disk_keeps_its_traceback(tmp_path: Path) -> None:
    answer = _fail("open('nowhere')", tmp_path)
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr


@pytest.mark.parametrize("library", ["", "sys.modules['jax'] = types.ModuleType('x')"])
def test_nothing_is_printed_after_the_sentence(library: str, tmp_path: Path) -> None:
    # As the threads of a library do after a read has failed.
    body = (
        f"{library}\n"
        "class Left:\n"
        "    def __del__(self): raise RuntimeError('Event loop is closed')\n"
        "left = Left(); del left\n"
        "print('said', end='')\n"
        "raise UserError('width=0 is too small.')"
    )
    answer = _fail(body, tmp_path)
    assert answer.returncode == 1
    assert answer.stdout == "said"
    assert answer.stderr == "error: width=0 is too small.\n"


def test_threads_that_go_on_do_not_outlive_the_sentence(tmp_path: Path) -> None:
    body = (
        "sys.modules['jax'] = types.ModuleType('jax')\n"
        "import time\n"
        "def late():\n"
        "    time.sleep(2)\n"
        "    print('late', file=sys.stderr)\n"
        "threading.Thread(target=late).start()\n"
        "raise UserError('width=0 is too small.')"
    )
    assert _fail(body, tmp_path).stderr == "error: width=0 is too small.\n"


def test_a_fault_that_nobody_could_raise_is_still_reported(tmp_path: Path) -> None:
    body = (
        "class Left:\n"
        "    def __del__(self): raise RuntimeError('another fault')\n"
        "left = Left(); del left"
    )
    answer = _fail(body, tmp_path)
    assert answer.returncode == 0
    assert "another fault" in answer.stderr
