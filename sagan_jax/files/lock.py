"""One process at a time in a directory: a lock that ends with its process, in any way.

The lock is one of the directory itself, so that no file comes and goes.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sagan_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keeps other processes that call this out of `directory` while the block lasts.

    Nothing is locked where there is no such directory yet, or where the system or the
    file system has no locks.

    Raises:
      UserError: another process holds the directory.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        yield
        return
    try:
        _lock(handle, directory)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, directory: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{str(directory)!r} is in use by another process; wait for it or stop it, "
            "or choose another directory."
        ) from None
    except OSError:
        pass  # such as a network file system without locks
