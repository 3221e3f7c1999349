"""Makes the C library keep freed memory, so that each step finds that of the last one.

A step on a CPU allocates one block for all of its temporary arrays, 2 GB at 128 px.
glibc returns a block of that size to the kernel when it is freed, and the next step
pays for every page again: hundreds of thousands of page faults. `keep` changes the
whole process, so it is for programs, never for the import of a library.

Only the arena of the main thread keeps large blocks: those of other threads map and
unmap each block of more than 64 MiB, whatever is set. So steps have to run in the main
thread. One arena for all threads is no way out: while it compiles or makes a step, XLA
has many threads that allocate, and they would wait for each other.
"""

import ctypes
import os
from typing import NamedTuple

from sagan_jax.runtime import machine

GIB = 2**30
REST = 2 * GIB
"""Memory besides that of the steps: libraries, the compiler, input, sheets."""

# Parameters of mallopt(3), by their numbers in malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4

_SETTINGS = {
    _MMAP_MAX: 0,  # large blocks come from the heap too
    _TRIM_THRESHOLD: -1,  # the end of the heap is never returned
    _TOP_PAD: 256 * 2**20,  # the heap grows in few, large pieces
}


class Kept(NamedTuple):
    """Whether this process keeps freed memory.

    Attributes:
      on: whether it does.
      remark: a line for the user; '' where there is nothing to say.
    """

    on: bool
    remark: str


def keep(step_bytes: int) -> Kept:
    """Makes this process keep freed memory, if that helps and there is enough of it.

    Enough is twice the memory of a step, and REST. Nothing is returned any more but by
    `release`, and the block of a step may move once or twice before it finds its own
    place again: glibc keeps the few bytes that align a block for small objects, until
    it has enough of those, and without them the old place is too small.

    Args:
      step_bytes: the memory that a step needs, as `networks.costs.step_bytes` has it.
    """
    if not _has_glibc() or not machine.runs_on_cpu():
        return Kept(False, "")
    needed, found = 2 * step_bytes + REST, machine.this_machine().memory
    if found < needed:
        return _returned(
            f"{needed / GIB:.1f} GiB are needed to keep it, and there are "
            f"{found / GIB:.1f}"
        )
    library = ctypes.CDLL(None)
    if not all(library.mallopt(name, value) for name, value in _SETTINGS.items()):
        return _returned("the C library refused to keep it")
    return Kept(True, "memory: kept from step to step; --nokeep_memory returns it")


def release() -> None:
    """Returns the free memory of this process to the kernel, once.

    For what is left behind before the steps begin: by the compiler, and by sheets.
    """
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _returned(reason: str) -> Kept:
    return Kept(False, f"memory: returned after each step, since {reason}")


def _has_glibc() -> bool:
    """Returns whether the C library of this process is glibc."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):
        return False  # musl, macOS, Windows
