"""Several processes of one run: sharing rows out, gathering them, agreeing.

Each function is collective: every process of the run must call it, with the same count.
With one process none of them communicates.
"""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from numpy.typing import NDArray


def is_first() -> bool:
    """Returns whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def share(count: int) -> slice:
    """Returns the rows, out of `count`, that belong to this process."""
    return _share(count, jax.process_index())


def gather(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Returns the rows of all processes in order, [count, ...].

    Args:
      rows: the rows of `share(count)`, [n, ...].
      count: the number of rows of all processes.
    """
    processes = jax.process_count()
    if processes == 1:
        return rows
    most = -(-count // processes)
    padded = np.zeros((most, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    if rows.dtype.itemsize == 8:
        # In halves: jax makes 32 bits of 64, unless x64 is on.
        halves = padded.reshape(most, -1).view(np.uint32)
        stacked = np.asarray(multihost_utils.process_allgather(halves))
        stacked = np.ascontiguousarray(stacked).view(rows.dtype)
        stacked = stacked.reshape(processes, most, *rows.shape[1:])
    else:
        stacked = np.asarray(multihost_utils.process_allgather(padded))
    spans = [_share(count, index) for index in range(processes)]
    return np.concatenate(
        [
            part[: span.stop - span.start]
            for part, span in zip(stacked, spans, strict=True)
        ]
    )


def agree(flag: bool) -> bool:
    """Returns True in every process if `flag` is True in any of them."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def number_of_first(number: int) -> int:
    """Returns the number that the first process gave, in every process."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.array(number)))


def wait_for_all() -> None:
    """Returns when every process has called this."""
    agree(False)


def _share(count: int, index: int) -> slice:
    processes = jax.process_count()
    return slice(index * count // processes, (index + 1) * count // processes)
