"""How a command ends when it fails: one sentence and an exit code, never a traceback.

An exception that is not listed here is a fault of this library and keeps its traceback.
"""

import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from sagan_jax.errors import UserError
from sagan_jax.files import terminal

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "raise the limit of `ulimit -f`, or use a file system for large files",
    errno.EROFS: "mount the disk for writing",
    errno.EACCES: "make the file readable and writable for you",
    errno.EPERM: "make the file readable and writable for you",
    errno.EIO: "check the disk and its connection",
    errno.ESTALE: "mount the file system again",
    errno.ENOTCONN: "mount the file system again",
    errno.ENODEV: "connect the disk again",
    errno.ENXIO: "connect the disk again",
    errno.ETIMEDOUT: "check the connection to the file system",
}
"""What to do about an OSError of a disk, by its errno."""

_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Those that no read meets."""


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turns the failures that a user can fix into messages; exits with 1 or 130."""
    terminal.keep_going()
    _silence_leftovers()
    try:
        yield
    except UserError as error:
        _leave(f"error: {error}", 1)
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        _leave(f"error: {_disk_sentence(error)}", 1)
    except MemoryError as error:
        fact = f" ({error})" if str(error) else ""
        _leave(
            f"error: there is not enough memory{fact}; pass a smaller --count or batch "
            "size, or end other programs.",
            1,
        )
    except KeyboardInterrupt:
        _leave(
            "error: interrupted; run the same command to resume.", 128 + signal.SIGINT
        )


def _disk_sentence(error: OSError) -> str:
    number = error.errno or 0
    use = "written to" if number in _WRITING else "read or written"
    fact = os.strerror(number)
    if error.filename:
        fact += f": {os.fspath(error.filename)!r}"
    return (
        f"the disk cannot be {use} ({fact}); {_REMEDIES[number]}, and run the same "
        "command again: a training will resume from the newest checkpoint."
    )


def _leave(message: str, code: int) -> NoReturn:
    """Prints the last words of this process on stderr, and ends it."""
    if code == 1 and "jax" not in sys.modules:
        sys.exit(message)
    # A terminal or a pipe may be closed.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)
    # Not sys.exit: the clean-up crashes in a thread that is still compiling, and
    # threads of orbax that go on reading would print after the message.
    os._exit(code)


def _silence_leftovers() -> None:
    """Keeps what orbax leaves running after a failed read from printing tracebacks.

    The failure itself is raised; its other reads find their event loop closed.
    """
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    hook = sys.unraisablehook

    def report(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    sys.unraisablehook = report
