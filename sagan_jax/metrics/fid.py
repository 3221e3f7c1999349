"""The Frechet distance between features, and its limit for infinitely many samples.

The distance is |m1 - m2|^2 + tr S1 + tr S2 - 2 T with T = tr (S1 S2)^(1/2), all in
float64. For any factors F1' F1 = S1 and F2' F2 = S2, T is the nuclear norm of F1 F2',
the sum of its singular values. Two facts keep rounding errors out of T. If samples are
few, their centred features are a factor, and no covariance is needed. And n samples
span n - 1 directions, so all other eigenvalues are exactly zero, where computed ones
would contribute the square root of 1e-16 each.

No epsilon is added and nothing is clamped. The distance between a set and itself is
about +-1e-11; display max(distance, 0) if that matters.

Source: Heusel et al. 2017, equation 6, https://arxiv.org/abs/1706.08500
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.measured import Sets
from sagan_jax.metrics.rows import Doubles, Rows
from sagan_jax.metrics.statistics import Statistics, check_same_pipeline


def frechet_distance(
    real: ArrayLike | Statistics, fake: ArrayLike | Statistics
) -> float:
    """Returns the squared Frechet distance between Gaussians fitted to two sets.

    For the 2048 pooled features of the FID network this is the FID; for other features,
    use another name. The expected distance falls with the number of images, about
    linearly in 1 / n: compare only values from equal counts.

    Two `Statistics` must have the same pipeline, tap and weights. Arrays carry no
    provenance, so nothing is checked for them.

    Args:
      real: features [N, d] or statistics of the real images.
      fake: features [M, d] or statistics of the generated images.

    Raises:
      UserError: invalid features, different d, fewer than 2 images, or statistics that
        were measured differently.
    """
    ours, theirs = _as_set(real, "real features"), _as_set(fake, "fake features")
    rows_lib.check_one_width(_width(ours), _width(theirs))
    if isinstance(ours, Statistics) and isinstance(theirs, Statistics):
        check_same_pipeline(ours, theirs)
    # Singular values of [n, m] are cheap and exact for few rows; otherwise use [d, d].
    if not (_are_few(ours) or _are_few(theirs)):
        ours, theirs = _statistics(ours), _statistics(theirs)
        return _distance_from(*_mean_and_factor(ours), ours.n, theirs)
    mean, factor = _mean_and_factor(ours)
    other_mean, other_factor = _mean_and_factor(theirs)
    roots = np.linalg.svd(factor @ other_factor.T, compute_uv=False)
    traces = np.sum(factor**2) + np.sum(other_factor**2)
    return float(np.sum((mean - other_mean) ** 2) + traces - 2 * np.sum(roots))


@dataclass(frozen=True, slots=True)
class FidInfinity:
    """A line fitted to distances as a function of 1 / n, and the fitted points."""

    value: float  # the intercept, at 1 / n = 0
    slope: float
    sizes: tuple[int, ...]
    distances: tuple[float, ...]


def fid_infinity(
    real: ArrayLike | Statistics,
    fake: ArrayLike,
    *,
    least: int = 5000,
    points: int = 15,
    shuffle_seed: int | None = 2020,
) -> FidInfinity:
    """Returns an estimate of the distance for infinitely many generated images.

    Subsets of n generated images, with n evenly spaced from `least` to N, are each
    compared with the whole real set. The estimate is the intercept of a least-squares
    line in 1 / n. The bias of the finite real set remains.

    Args:
      real: features [M, d] or statistics of the real images.
      fake: features [N, d] of the generated images.
      least: number of images in the smallest subset.
      points: number of subsets.
      shuffle_seed: seed of the shuffles; each subset is the first n images of a new
        shuffle. None takes the first n in the given order.

    Raises:
      UserError: as in `frechet_distance`, or too few images or points for a line.

    Source: Chong and Forsyth 2020, section 3, https://arxiv.org/abs/1911.07023
    """
    if points < 2 or least < 2:
        raise UserError(
            f"points={points} and least={least} do not define a line; set both to 2 "
            "or more."
        )
    ours = _statistics(_as_set(real, "real features"))
    rows = rows_lib.as_rows(fake, "fake features", at_least=least + 1)
    rows_lib.check_one_width(ours.d, rows.shape[1])
    mean, factor = _mean_and_factor(ours)
    sizes = np.linspace(least, len(rows), points).astype(np.int32)
    order = None if shuffle_seed is None else np.random.RandomState(shuffle_seed)
    distances = []
    for size in sizes:
        part = (
            rows[:size] if order is None else rows[order.permutation(len(rows))[:size]]
        )
        distances.append(_distance_from(mean, factor, ours.n, Statistics.of(part)))
    slope, value = np.polyfit(1 / sizes, distances, 1)
    return FidInfinity(
        float(value), float(slope), tuple(sizes.tolist()), tuple(distances)
    )


def score(sets: Sets) -> tuple[float]:
    """Returns the Frechet distance."""
    fake = sets.fake
    if isinstance(sets.real, Statistics):  # two statistics have their pipelines checked
        statistics = Statistics.of(fake.features, fake.provenance)
        return (frechet_distance(sets.real, statistics),)
    return (frechet_distance(sets.real.features, fake.features),)


def score_infinity(sets: Sets) -> tuple[float, int]:
    """Returns the limit of the distance, and the size of the smallest subset."""
    real = sets.real if isinstance(sets.real, Statistics) else sets.real.features
    fake = sets.fake.features
    # Below the usual 50,000 images, start from a tenth of what is available.
    least = min(5000, max(2, len(fake) // 10))
    return fid_infinity(real, fake, least=least).value, least


def _as_set(values: ArrayLike | Statistics, name: str) -> Rows | Statistics:
    if not isinstance(values, Statistics):
        return rows_lib.as_rows(values, name, at_least=2)
    if values.n is not None and values.n < 2:
        raise UserError(f"{name} of {values.n} images are too few; pass at least 2.")
    return values


def _width(values: Rows | Statistics) -> int:
    return values.d if isinstance(values, Statistics) else values.shape[1]


def _are_few(values: Rows | Statistics) -> bool:
    """Returns whether `values` are rows that span fewer than d directions."""
    return not isinstance(values, Statistics) and len(values) <= values.shape[1]


def _statistics(values: Rows | Statistics) -> Statistics:
    return values if isinstance(values, Statistics) else Statistics.of(values)


def _mean_and_factor(values: Rows | Statistics) -> tuple[Doubles, Doubles]:
    """Returns the mean [d] and a factor F [r, d] of the covariance F' F."""
    if not isinstance(values, Statistics) and _are_few(values):
        rows = values.astype(np.float64)
        mean = rows.mean(axis=0)
        return mean, (rows - mean) / np.sqrt(len(rows) - 1)
    statistics = _statistics(values)
    eigenvalues, vectors = np.linalg.eigh(statistics.cov)
    kept = slice(len(eigenvalues) - _rank(statistics.n, statistics.d), None)
    roots = np.sqrt(np.maximum(eigenvalues[kept], 0))  # negative ones are rounding
    return statistics.mean, roots[:, None] * vectors[:, kept].T


def _distance_from(
    mean: Doubles, factor: Doubles, n: int | None, fake: Statistics
) -> float:
    """Returns the distance between `fake` and n images with this mean and factor.

    F1 S2 F1' and S1 S2 have the same nonzero eigenvalues.
    """
    cov = fake.cov
    eigenvalues = np.linalg.eigvalsh(factor @ cov @ factor.T)
    rank = min(_rank(n, fake.d), _rank(fake.n, fake.d))
    eigenvalues = np.maximum(eigenvalues[len(eigenvalues) - rank :], 0)
    gap = np.sum((mean - fake.mean) ** 2)
    traces = np.sum(factor**2) + np.trace(cov)
    return float(gap + traces - 2 * np.sum(np.sqrt(eigenvalues)))


def _rank(n: int | None, d: int) -> int:
    """Returns the largest possible rank of the covariance of n rows [d]."""
    return d if n is None else min(n - 1, d)
