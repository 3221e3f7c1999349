"""A lock on a directory, also against other processes."""

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


def test_a_directory_locked_by_another_process_is_refused(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    with (
        pytest.raises(UserError, match=f"^'{tmp_path}' .*in use.*wait"),
        lock.held(tmp_path),
    ):
        raise AssertionError("locked twice")


def test_the_lock_of_a_killed_process_is_released(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.held(tmp_path):
        pass


def test_the_lock_is_released_after_the_block_and_leaves_no_file(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        with lock.held(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_not_locked(tmp_path: Path) -> None:
    with lock.held(tmp_path / "none"):
        assert list(tmp_path.iterdir()) == []


def test_errors_of_the_block_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), lock.held(tmp_path):
        raise OSError("mine")
