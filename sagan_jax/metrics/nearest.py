"""Nearest neighbours of images in a reference set, and what they say of memorisation.

A generator that copies training images has samples closer to them than new images of
the same kind are. How close new images are is measured, on real images that were not
trained on: without them, a small distance means nothing.

Reference: Meehan et al. 2020, https://arxiv.org/abs/2004.05675, which tests whether
samples are closer to the training images than held-out images are.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.rows import Doubles

QUANTILE = 0.05
"""Of the held-out distances; so many honest samples are closer than it."""

_BYTES = 2**26  # of a block of rows in float64


class Nearest(NamedTuple):
    """The nearest row of a reference set for each query.

    Attributes:
      distances: Euclidean distance of each query, [M].
      indices: index of its row in the reference set, [M].
    """

    distances: Doubles
    indices: NDArray[np.int64]


class Closer(NamedTuple):
    """The share of samples that are closer than a quantile of held-out images.

    Attributes:
      share: the share.
      threshold: the quantile of the held-out distances.
      standard_error: standard deviation of `share` if samples and held-out images have
        one distribution; their number is what it depends on.
    """

    share: float
    threshold: float
    standard_error: float


def nearest(queries: NDArray[Any], references: Iterable[NDArray[Any]]) -> Nearest:
    """Returns the nearest reference row of each query, the first of equal ones.

    Only one part of the references has to be in memory at a time, and the working
    memory is bounded. Uint8 rows give exact distances: all sums are whole numbers below
    2^53. Others are subtracted before the distance is given, so that a copy is at 0.

    Args:
      queries: [M, d].
      references: rows [n, d] in any number of parts, numbered in order from 0.
    """
    size = max(16, _BYTES // (8 * queries.shape[1]))
    least = np.full(len(queries), np.inf)
    index = np.full(len(queries), -1, np.int64)
    start = 0
    for part in references:
        for block in rows_lib.blocks(part, size):
            norms = np.einsum("nd,nd->n", block, block)
            for place, these in _numbered(queries, size):
                # |x - y|^2 without |x|^2, which changes no minimum.
                best = (norms - 2 * (these @ block.T)).argmin(axis=1)
                found = np.square(these - block[best]).sum(axis=1)
                closer = found < least[place]
                least[place] = np.where(closer, found, least[place])
                index[place] = np.where(closer, start + best, index[place])
            start += len(block)
    return Nearest(np.sqrt(least), index)


def share_closer(
    samples: ArrayLike, held_out: ArrayLike, quantile: float = QUANTILE
) -> Closer:
    """Returns the share of samples closer than a quantile of held-out images.

    Args:
      samples: distances [M] of samples to their nearest training images.
      held_out: the same [K] for real images that were not trained on.
      quantile: the quantile; the share that is expected of samples of one distribution
        with the held-out images.
    """
    near, far = np.asarray(samples, np.float64), np.asarray(held_out, np.float64)
    threshold = float(np.quantile(far, quantile))
    spread = quantile * (1 - quantile) * (1 / len(near) + 1 / len(far))
    return Closer(float((near < threshold).mean()), threshold, float(np.sqrt(spread)))


def _numbered(rows: NDArray[Any], size: int) -> Iterator[tuple[slice, Doubles]]:
    start = 0
    for block in rows_lib.blocks(rows, size):
        yield slice(start, start + len(block)), block
        start += len(block)
