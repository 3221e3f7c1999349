"""The Frechet distance between features, and its limit for endless samples.

|m1 - m2|^2 + tr S1 + tr S2 - 2 T with T = tr (S1 S2)^(1/2), all in float64. With any
factors F1' F1 = S1 and F2' F2 = S2, T is the sum of the singular values of F1 F2', the
nuclear norm. Two facts keep rounding out of T: few samples have a factor without any
arithmetic, their centred features; and n samples span n - 1 directions, so that all
further eigenvalues are zero and need not be computed as the square root of 1e-16.

No epsilon is added and nothing is clamped: of a set and itself the distance is some
+-1e-11, and the caller may show max(distance, 0).

Source: Heusel et al. 2017, equation 6, https://arxiv.org/abs/1706.08500
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.rows import Doubles, Rows
from sagan_jax.metrics.statistics import Statistics, check_same_pipeline


def frechet_distance(
    real: ArrayLike | Statistics, fake: ArrayLike | Statistics
) -> float:
    """Returns the squared Frechet distance of Gaussians fitted to two sets.

    For the 2048 pooled features of the FID network this is the FID; of others it wants
    another name. It falls with the counts, about linearly in 1 / n: compare equal ones.

    Args:
      real: features [N, d], or their statistics.
      fake: likewise. Two statistics must be of one pipeline, tap and weights; an array
        says nothing of itself, and is taken at its word.

    Raises:
      UserError: features of another kind or of different d, fewer than 2 images, or
        statistics that were not measured alike.
    """
    ours, theirs = _as_set(real, "real features"), _as_set(fake, "fake features")
    rows_lib.check_one_width(_width(ours), _width(theirs))
    if isinstance(ours, Statistics) and isinstance(theirs, Statistics):
        check_same_pipeline(ours, theirs)
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
    """A line through distances over 1 / n, and the points that it was fitted to."""

    value: float  # where 1 / n is 0
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
    """Returns the distance that the generator would have with endless samples.

    Subsets of n = `least` to N generated images, evenly spaced, are each compared with
    the whole real set; least squares over 1 / n give the intercept. The bias from the
    finite real set stays.

    Args:
      real: features [M, d], or their statistics.
      fake: features [N, d].
      least: images in the smallest subset.
      points: how many subsets.
      shuffle_seed: of the order from which each subset takes the first n; the features
        are shuffled again for each. None: the first n as they come.

    Raises:
      UserError: as `frechet_distance`, or too few images or points for a line.

    Source: Chong and Forsyth 2020, section 3, https://arxiv.org/abs/1911.07023
    """
    if points < 2 or least < 2:
        raise UserError(
            f"points={points} and least={least} give no line; set both to 2 or more."
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


def _as_set(values: ArrayLike | Statistics, name: str) -> Rows | Statistics:
    if not isinstance(values, Statistics):
        return rows_lib.as_rows(values, name, at_least=2)
    if values.n is not None and values.n < 2:
        raise UserError(f"{name} of {values.n} images are too few; pass at least 2.")
    return values


def _width(values: Rows | Statistics) -> int:
    return values.d if isinstance(values, Statistics) else values.shape[1]


def _are_few(values: Rows | Statistics) -> bool:
    """Returns whether rows span less than all d directions."""
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
    roots = np.sqrt(np.maximum(eigenvalues[kept], 0))  # below 0 there is rounding only
    return statistics.mean, roots[:, None] * vectors[:, kept].T


def _distance_from(
    mean: Doubles, factor: Doubles, n: int | None, fake: Statistics
) -> float:
    """Returns the distance of `fake` from n images of which mean and factor are known.

    The eigenvalues of F1 S2 F1' are those of S1 S2, but for zeros.
    """
    cov = fake.cov
    eigenvalues = np.linalg.eigvalsh(factor @ cov @ factor.T)
    rank = min(_rank(n, fake.d), _rank(fake.n, fake.d))
    eigenvalues = np.maximum(eigenvalues[len(eigenvalues) - rank :], 0)
    gap = np.sum((mean - fake.mean) ** 2)
    traces = np.sum(factor**2) + np.trace(cov)
    return float(gap + traces - 2 * np.sum(np.sqrt(eigenvalues)))


def _rank(n: int | None, d: int) -> int:
    """Returns the largest rank that a covariance of n rows [d] can have."""
    return d if n is None else min(n - 1, d)
