"""What several processes share, gather and agree on."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from numpy.typing import NDArray


def _share(count: int) -> slice:
    """Returns which of `count` images are this process's."""
    index, processes = jax.process_index(), jax.process_count()
    return slice(index * count // processes, (index + 1) * count // processes)


def _gathered(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Returns the rows of all processes, in order, [count, ...]."""
    processes = jax.process_count()
    if processes == 1:
        return rows
    most = -(-count // processes)
    filled = np.zeros((most, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    stacked = np.asarray(multihost_utils.process_allgather(filled))
    sizes = [
        (index + 1) * count // processes - index * count // processes
        for index in range(processes)
    ]
    return np.concatenate(
        [part[:size] for part, size in zip(stacked, sizes, strict=True)]
    )


def _in_any_process(found: bool) -> bool:
    if jax.process_count() == 1:
        return found
    return bool(multihost_utils.process_allgather(np.array(found)).any())
