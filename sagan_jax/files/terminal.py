"""Standard output and error, which may close or lack a character of a message."""

import errno
import os
import sys
from typing import Any

_GONE = (errno.EPIPE, errno.EIO, errno.ENXIO)
"""Errors of a pipe that nobody reads, and of a terminal that was closed."""


def keep_going() -> None:
    """Makes printing fail no command: call it where a command begins.

    Characters that stdout or stderr cannot encode are escaped; otherwise a name could
    end a command with UnicodeEncodeError after all of its work. Printing to a closed
    pipe or terminal does nothing: a run does not stop, and an evaluation loses no
    scores, because nobody reads its messages any more; a listing ends quietly.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        # Not every stand-in for a stream has an encoding.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
        if stream is None:  # closed before the start, as by `>&-`
            # The lowest free number: otherwise a file that is opened later would get
            # it, and receive what libraries print.
            opened = os.open(os.devnull, os.O_WRONLY)
            stream = os.fdopen(opened, "w", closefd=opened != number)
            setattr(sys, name, stream)
        elif not isinstance(stream, _Stream) and _has_file(stream):
            setattr(sys, name, _Stream(stream))


class _Stream:
    """A text stream that falls silent when its other end has gone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._fall_silent(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._fall_silent(error)

    def _fall_silent(self, error: OSError) -> None:
        if error.errno not in _GONE:
            raise error
        # The stream still holds what it could not write, and libraries write to the
        # same descriptor.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def _has_file(stream: Any) -> bool:
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False  # a stand-in, such as io.StringIO
