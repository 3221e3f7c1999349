"""The disk under checkpoints: paths that work, and what a failure means."""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from jax.errors import JaxRuntimeError

from sagan_jax.errors import UserError

# The limit of most systems, and what a checkpoint adds to the path of its directory.
_LONGEST_PATH, _ADDED = 4095, 160
_VANISHING = 0.5  # seconds in which a checkpoint that is being removed has gone


def check_path(directory: Path, *, writing: bool) -> None:
    """Raises UserError for a path at which orbax finds other files, or none.

    Args:
      directory: the absolute path of the directory of the checkpoints.
      writing: whether checkpoints will be written; they can be read in more places.
    """
    path = str(directory)
    if not _is_unicode(path):
        fault = "is not valid UTF-8"
    elif "\\" in path:
        fault = "contains a backslash"
    elif re.search(":(/|$)", path):
        fault = "has a name that ends in a colon, as in a URL"
    elif writing and (found := re.search(r"[*?[]", path)):
        fault = f"contains {found[0]!r}, which orbax takes for a pattern of names"
    elif writing and len(os.fsencode(path)) > _LONGEST_PATH - _ADDED:
        fault = f"is longer than {_LONGEST_PATH - _ADDED} bytes"
    else:
        return
    raise UserError(
        f"{path!r} {fault}; checkpoints cannot be kept there, so rename the directory "
        "or pass another one."
    )


@contextlib.contextmanager
def errors(directory: Path) -> Iterator[None]:
    """Raises the OSError that tensorstore reports in the text of a ValueError."""
    try:
        yield
    except Exception as error:
        number = _number(error)
        if number and not isinstance(error, OSError):
            raise OSError(number, os.strerror(number), str(directory)) from error
        raise


def is_shortage(error: Exception) -> bool:
    """Returns whether the machine is short of memory or of open files.

    Such a failure says nothing about the file that was read.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return True
    return _number(error) in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def is_gone(folder: Path) -> bool:
    """Returns whether a checkpoint that could not be read has been removed."""
    end = time.monotonic() + _VANISHING
    while folder.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _number(error: BaseException) -> int:
    """Returns the errno of an error or of its causes; 0 if there is none."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, OSError) and cause.errno:
            return cause.errno
        if found := re.search(r"\[os_error_code='(\d+)'", str(cause)):
            return int(found[1])
        cause = cause.__cause__
    return 0


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
