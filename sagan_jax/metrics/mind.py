"""The Monge inception distance: a sliced Wasserstein distance between features.

Both sets are projected on a direction u, and sorted; the mean squared gap between equal
ranks is the squared Wasserstein distance of the projections. The mean over random unit
directions is multiplied by 3 d, so that a shift of all features by c has the distance
3 |c|^2 in expectation. No Gaussian is fitted: unlike the Frechet distance, the limit
for many images is zero for equal distributions only.

Source: Berthet et al. 2026, https://arxiv.org/abs/2605.06797, and torch-fidelity
(toshas/torch-fidelity:torch_fidelity/metric_mind.py). That code projects in float32 and
draws by PyTorch; ours takes directions and rows, and computes in float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.measured import Sets
from sagan_jax.metrics.rows import Doubles, Rows

DIRECTIONS = 1000
"""Directions that `score` draws, the default of the published code."""

SEED = 2020
"""Seed of the draws of `score`."""

# Projections held at a time, of each set: 64 MiB.
_MOST_PROJECTIONS = 2**23


class Draws(NamedTuple):
    """What the distance is measured along.

    Attributes:
      directions: unit vectors [M, d].
      rows: indices [n] of the images of the larger set that take part, where n is the
        smaller count; None if the counts are equal.
    """

    directions: Doubles
    rows: NDArray[np.intp] | None


def monge_distance(
    real: ArrayLike,
    fake: ArrayLike,
    directions: ArrayLike,
    rows: ArrayLike | None = None,
) -> float:
    """Returns 3 d times the mean squared gap between sorted projections.

    The expected distance falls with the number of images n, about as 1 / n: compare
    only values from equal n. The sets may be exchanged.

    Args:
      real: features [N, d].
      fake: features [M, d].
      directions: unit vectors [K, d].
      rows: different indices [n] of the images of the larger set that take part, where
        n is the smaller count; None if N = M.

    Raises:
      UserError: invalid features, different d, directions that are not unit vectors of
        d features, or rows that do not name n images of the larger set.
    """
    real_rows, fake_rows = rows_lib.as_pair(real, fake)
    units = _as_directions(directions, real_rows.shape[1])
    n = min(len(real_rows), len(fake_rows))
    chosen = _as_rows(rows, max(len(real_rows), len(fake_rows)), n)
    ours, theirs = (
        side[chosen] if len(side) > n else side for side in (real_rows, fake_rows)
    )
    total = 0.0
    size = max(1, _MOST_PROJECTIONS // n)
    for start in range(0, len(units), size):
        part = units[start : start + size]
        gaps = _sorted_projections(ours, part)
        gaps -= _sorted_projections(theirs, part)
        total += float(np.vdot(gaps, gaps))
    return 3 * units.shape[1] * total / (len(units) * n)


def draw(
    real_count: int, fake_count: int, d: int, *, count: int = DIRECTIONS, seed: int
) -> Draws:
    """Returns random directions, and the rows of the larger set if counts differ.

    NumPy's Philox draws them, each from a stream of its own: the directions of a seed
    do not depend on the counts.

    Args:
      real_count: number of real images.
      fake_count: number of generated images.
      d: number of features.
      count: number of directions.
      seed: seed of the draws.

    Raises:
      UserError: no direction.
    """
    if count < 1:
        raise UserError(
            f"directions={count} are too few for a distance; draw at least 1."
        )
    directions = _stream(seed, 0).standard_normal((count, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    if real_count == fake_count:
        return Draws(directions, None)
    larger, n = max(real_count, fake_count), min(real_count, fake_count)
    return Draws(directions, _stream(seed, 1).permutation(larger)[:n])


def drawn_distance(
    real: ArrayLike, fake: ArrayLike, *, count: int = DIRECTIONS, seed: int = SEED
) -> float:
    """Returns the `monge_distance` along directions and rows of a seed.

    Args:
      real: features [N, d].
      fake: features [M, d].
      count: number of directions.
      seed: seed of `draw`.

    Raises:
      UserError: invalid features, different d, or no direction.
    """
    real_rows, fake_rows = rows_lib.as_pair(real, fake)
    counts = len(real_rows), len(fake_rows)
    drawn = draw(*counts, real_rows.shape[1], count=count, seed=seed)
    return monge_distance(real_rows, fake_rows, *drawn)


def floor_distance(
    real: ArrayLike, most: int, *, count: int = DIRECTIONS, seed: int = SEED
) -> tuple[float, int]:
    """Returns the distance between disjoint parts of the real images, and their size.

    A perfect generator has this distance in expectation, from as many images.

    Args:
      real: features [N, d].
      most: images in a part, if there are twice as many; otherwise N / 2 are.
      count: number of directions.
      seed: seed of the parts and of the directions.

    Raises:
      UserError: invalid features, fewer than 2 images, or no direction.
    """
    rows = rows_lib.as_rows(real, "real features", at_least=2)
    half = min(len(rows) // 2, most)
    order = _stream(seed, 2).permutation(len(rows))
    one, other = rows[order[:half]], rows[order[half : 2 * half]]
    return drawn_distance(one, other, count=count, seed=seed), half


def score(sets: Sets) -> tuple[float, float, int, int]:
    """Returns the distance, that of two halves of the real images, and both n."""
    real, fake = sets.real_features, sets.fake.features
    n = min(len(real), len(fake))
    floor, half = floor_distance(real, n)
    return drawn_distance(real, fake), floor, n, half


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, number]))


def _sorted_projections(rows: Rows, directions: Doubles) -> Doubles:
    """Returns the projections [K, n] on each direction, in rising order."""
    found = np.empty((len(directions), len(rows)))
    start = 0
    for block in rows_lib.blocks(rows):
        found[:, start : start + len(block)] = directions @ block.T
        start += len(block)
    found.sort(axis=1)
    return found


def _as_directions(directions: ArrayLike, d: int) -> Doubles:
    found = np.asarray(directions, np.float64)
    if found.ndim != 2 or not len(found) or found.shape[1] != d:
        raise UserError(
            f"directions of shape {found.shape} do not fit {d} features; pass unit "
            f"vectors [K, {d}]."
        )
    # float32 unit vectors are off by 1e-7. NaN must not pass.
    if not (np.abs(np.linalg.norm(found, axis=1) - 1) < 1e-4).all():
        raise UserError(
            "directions are not unit vectors; divide each by its norm, which must not "
            "be 0."
        )
    return found


def _as_rows(rows: ArrayLike | None, larger: int, n: int) -> NDArray[np.intp] | None:
    if rows is None:
        if larger == n:
            return None
        raise UserError(
            f"rows=None names no images, but the sets hold {larger} and {n}; pass "
            f"{n} indices of the larger set, as `draw` does."
        )
    found = np.asarray(rows)
    if (
        found.shape != (n,)
        or found.dtype.kind not in "iu"
        or len(np.unique(found)) < n
        or found.min() < 0
        or found.max() >= larger
    ):
        raise UserError(
            f"rows of shape {found.shape} and type {found.dtype} are not {n} different "
            f"indices below {larger}; pass those of the larger set, as `draw` does."
        )
    return found.astype(np.intp)
