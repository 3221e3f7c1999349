"""What keeps array_record from being used where it would crash."""

import os

from sagan_jax.errors import UserError

_process = 0  # the first that opened a file; 0: none has


def check() -> None:
    """Is called before array_record opens or reads a file.

    Its first file starts threads that all files share, and that a fork does not copy:
    in the child, opening or reading one then hangs or ends in a segmentation fault as
    soon as the child has a thread of its own. A child of a process that has not opened
    any, and one that is spawned, are safe.

    Raises:
      UserError: this is a fork of a process that has opened a file.
    """
    global _process
    _process = _process or os.getpid()
    if _process != os.getpid():
        raise UserError(
            "multiprocessing='fork' does not go with array_record, which the parent "
            "process has used already; start processes by 'spawn', or before the "
            "first image is read."
        )
