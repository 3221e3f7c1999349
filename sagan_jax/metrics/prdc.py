"""Precision, recall, density and coverage, from nearest neighbours.

Each image has a ball that reaches to its k-th nearest neighbour in its own set.
Distances are float64 and computed for blocks of 2048 x 2048 images. At d = 2048 this
takes about 0.3 GB for any N, in addition to the features.

A distance within rounding of a radius is a tie; duplicates cause ties. Precision and
recall count ties as inside (<=), density and coverage as outside (<), as in the two
papers.

Sources: Kynkaanniemi et al. 2019, section 2, https://arxiv.org/abs/1904.06991; Naeem et
al. 2020, section 3, https://arxiv.org/abs/2002.09797
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.measured import Sets
from sagan_jax.metrics.rows import Doubles, Rows

# Bounds the rounding of x.x - 2 x.y + y.y, relative to the squared norms, at d = 2048.
_ROUNDING = 1e-12

# `score_*` uses at most so many images of each set: the cost grows with the square.
_MOST_IMAGES = 50_000


def precision_recall(
    real: ArrayLike, fake: ArrayLike, k: int = 3
) -> tuple[float, float]:
    """Returns the share of fakes inside real balls, and of reals inside fake balls.

    Args:
      real: features [N, d].
      fake: features [M, d].
      k: index of the neighbour that sets the radius; the image itself does not count.

    Raises:
      UserError: invalid features, different d, or fewer than k + 2 images.
    """
    real_rows, fake_rows = _as_neighbours(real, fake, k)
    centre = _mean(real_rows)
    real_radii = _squared_radii(real_rows, centre, k)
    fake_radii = _squared_radii(fake_rows, centre, k)
    precise = np.zeros(len(fake_rows), bool)
    recalled = np.zeros(len(real_rows), bool)
    for f, r, squared, slack in _distances(fake_rows, real_rows, centre):
        squared -= slack
        precise[f] |= (squared <= real_radii[r]).any(axis=1)
        recalled[r] |= (squared <= fake_radii[f, None]).any(axis=0)
    return float(precise.mean()), float(recalled.mean())


def density_coverage(
    real: ArrayLike, fake: ArrayLike, k: int = 5
) -> tuple[float, float]:
    """Returns density and coverage of the real balls by fakes.

    Density is the mean number of real balls around a fake, divided by k. Its expected
    value is 1 if real and fake have the same distribution, and it can exceed 1.
    Coverage is the share of real balls that contain a fake.

    Args:
      real: features [N, d].
      fake: features [M, d].
      k: index of the neighbour that sets the radius; the image itself does not count.

    Raises:
      UserError: invalid features, different d, or fewer than k + 2 images.
    """
    real_rows, fake_rows = _as_neighbours(real, fake, k)
    centre = _mean(real_rows)
    radii = _squared_radii(real_rows, centre, k)
    inside_count = 0
    covered = np.zeros(len(real_rows), bool)
    for _, r, squared, slack in _distances(fake_rows, real_rows, centre):
        squared += slack
        inside = squared < radii[r]
        inside_count += int(inside.sum())
        covered[r] |= inside.any(axis=0)
    return inside_count / (k * len(fake_rows)), float(covered.mean())


def score_precision_recall(sets: Sets) -> tuple[float, float]:
    """Returns precision and recall with k = 3."""
    return precision_recall(*_first_images(sets))


def score_density_coverage(sets: Sets) -> tuple[float, float]:
    """Returns density and coverage with k = 5."""
    return density_coverage(*_first_images(sets))


def _first_images(sets: Sets) -> tuple[Rows, Rows]:
    real, fake = sets.real_features, sets.fake.features
    return real[:_MOST_IMAGES], fake[:_MOST_IMAGES]


def _as_neighbours(real: ArrayLike, fake: ArrayLike, k: int) -> tuple[Rows, Rows]:
    if k < 1:
        raise UserError(f"k={k} is not a neighbour; set it to 1 or more.")
    return rows_lib.as_pair(real, fake, at_least=k + 2)


def _mean(rows: Rows) -> Doubles:
    """Returns the mean [d]; subtracting it minimises norms, and with them rounding."""
    total = np.zeros(rows.shape[1])
    for block in rows_lib.blocks(rows):
        total += block.sum(axis=0)
    return total / len(rows)


def _squared_radii(rows: Rows, centre: Doubles, k: int) -> Doubles:
    """Returns the squared distance [N] from each row to its k-th neighbour."""
    # k + 1, because the row itself is the nearest one, at distance 0.
    nearest = np.full((len(rows), k + 1), np.inf)

    def update(part: slice, squared: Doubles) -> None:
        both = np.concatenate([nearest[part], squared], axis=1)
        nearest[part] = np.partition(both, k, axis=1)[:, : k + 1]

    for i, j, squared, _ in _distances(rows, rows, centre, skip_lower=True):
        update(i, squared)
        if j != i:
            update(j, squared.T)
    return nearest[:, k]


def _distances(
    a: Rows, b: Rows, centre: Doubles, *, skip_lower: bool = False
) -> Iterator[tuple[slice, slice, Doubles, Doubles]]:
    """Yields (rows of a, rows of b, squared distances, rounding errors) per block.

    `skip_lower` omits blocks below the diagonal, which are redundant for a = b.
    """
    for i, x, x_norms in _centred(a, centre):
        for j, y, y_norms in _centred(b, centre, i.start if skip_lower else 0):
            norms: NDArray[np.float64] = x_norms[:, None] + y_norms
            squared = x @ y.T
            squared *= -2
            squared += norms
            norms *= _ROUNDING
            yield i, j, np.maximum(squared, 0, out=squared), norms


def _centred(
    rows: Rows, centre: Doubles, start: int = 0
) -> Iterator[tuple[slice, Doubles, Doubles]]:
    """Yields (slice, centred rows, squared norms) per block, from row `start` on."""
    for block in rows_lib.blocks(rows[start:]):
        block -= centre
        part = slice(start, start + len(block))
        yield part, block, np.einsum("nd,nd->n", block, block)
        start = part.stop
