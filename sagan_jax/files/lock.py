"""One run at a time in a workdir: a lock that ends with its process, in any way."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sagan_jax.errors import UserError


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Keeps other runs out of a directory while the block lasts.

    It is the directory itself that is locked: no file comes and goes. Where the file
    system knows no locks, or there is no directory yet, nothing is kept out.

    Raises:
      UserError: another process holds it.
    """
    try:
        handle = os.open(workdir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"workdir={str(workdir)!r} is in use by another process; wait for it, "
                "stop it, or give another --workdir."
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
