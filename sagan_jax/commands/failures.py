"""How a command ends when it fails: one sentence and an exit code, never a traceback.

An exception that is not listed here is a fault of this library and keeps its traceback.
"""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator

from sagan_jax.errors import UserError
from sagan_jax.files import terminal


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Turns the failures that a user can fix into messages; exits with 1 or 130."""
    terminal.keep_going()
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        sys.exit(
            f"error: the disk cannot be written to ({error.strerror}); free some "
            "space, and run the same command to resume from the newest checkpoint."
        )
    except KeyboardInterrupt:
        print("error: interrupted; run the same command to resume.", file=sys.stderr)
        # Not sys.exit: its clean-up crashes in a thread that is still compiling.
        sys.stdout.flush()
        os._exit(128 + signal.SIGINT)
