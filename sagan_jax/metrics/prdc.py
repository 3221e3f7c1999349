"""Precision, recall, density and coverage: whose neighbourhoods the images lie in.

A ball about each image reaches to its k-th nearest neighbour in its own set. Distances
are float64, of blocks of 2048 x 2048 images: about 0.3 GB at d = 2048, whatever N,
beside the features themselves.

Distances within rounding of a radius are ties, such as those of duplicates: they are
inside for precision and recall (<=), and outside for density and coverage (<), as in
the two references.

Sources: Kynkaanniemi et al. 2019, section 2, https://arxiv.org/abs/1904.06991; Naeem et
al. 2020, section 3, https://arxiv.org/abs/2002.09797
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.rows import Doubles, Rows

# Of the squared norms: what x.x - 2 x.y + y.y of 2048 numbers may be off by.
_ROUNDING = 1e-12


def precision_recall(
    real: ArrayLike, fake: ArrayLike, k: int = 3
) -> tuple[float, float]:
    """Returns the share of fakes within real balls, and of reals within fake balls.

    Args:
      real: features [N, d].
      fake: features [M, d].
      k: the neighbour that balls reach to, itself not counted.

    Raises:
      UserError: features of another kind or of different d, or fewer than k + 2 images.
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
    """Returns how many real balls hold a fake, by k, and the share that hold any.

    Density is 1 in the mean where fake and real are of one distribution, and can be
    more: it is no share. Arguments and errors are those of `precision_recall`.
    """
    real_rows, fake_rows = _as_neighbours(real, fake, k)
    centre = _mean(real_rows)
    radii = _squared_radii(real_rows, centre, k)
    held = 0
    covered = np.zeros(len(real_rows), bool)
    for _, r, squared, slack in _distances(fake_rows, real_rows, centre):
        squared += slack
        inside = squared < radii[r]
        held += int(inside.sum())
        covered[r] |= inside.any(axis=0)
    return held / (k * len(fake_rows)), float(covered.mean())


def _as_neighbours(real: ArrayLike, fake: ArrayLike, k: int) -> tuple[Rows, Rows]:
    if k < 1:
        raise UserError(f"k={k} is no neighbour; set it to 1 or more.")
    return rows_lib.as_pair(real, fake, at_least=k + 2)


def _mean(rows: Rows) -> Doubles:
    """Returns the mean [d]; about it the norms are least, and so is the rounding."""
    total = np.zeros(rows.shape[1])
    for block in rows_lib.blocks(rows):
        total += block.sum(axis=0)
    return total / len(rows)


def _squared_radii(rows: Rows, centre: Doubles, k: int) -> Doubles:
    """Returns the squared distance [N] of each row's k-th neighbour."""
    # The row itself is the nearest, at 0.
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
    """Returns squared distances block by block, and how far rounding may move each.

    Blocks below the diagonal are left out if asked for: with a = b they say the same.
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
    """Returns places, centred rows and their squared norms, from row `start` on."""
    for block in rows_lib.blocks(rows[start:]):
        block -= centre
        part = slice(start, start + len(block))
        yield part, block, np.einsum("nd,nd->n", block, block)
        start = part.stop
