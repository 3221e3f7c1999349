"""A lock on a directory, against other processes, dead and alive."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sagan_jax.errors import UserError
from sagan_jax.files import lock

HOLD = (
    "import pathlib, sys, time\n"
    "from sagan_jax.files import lock\n"
    "with lock.held(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(600)\n"
)


@pytest.fixture
def holder(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Yields a process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_what_another_process_holds_is_refused(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with (
        pytest.raises(UserError, match="is in use by another process; wait for it"),
        lock.held(tmp_path),
    ):
        raise AssertionError("held twice")


def test_a_killed_process_holds_nothing(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.held(tmp_path):
        pass


def test_it_is_free_after_the_block_and_leaves_no_file(tmp_path: Path) -> None:
    for _ in range(2):
        with lock.held(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_keeps_nothing_out(tmp_path: Path) -> None:
    with lock.held(tmp_path / "none"):
        assert list(tmp_path.iterdir()) == []


def test_errors_of_the_block_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), lock.held(tmp_path):
        raise OSError("mine")
