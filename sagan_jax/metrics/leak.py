"""Whether generated images show an augmentation that only training should have seen.

A statistic t that the augmentation T moves gives

    leak = (t(generated) - t(real)) / (t(T(real)) - t(real)):

0 if generated images have the statistic of real ones, 1 if they have that of augmented
ones. What real images that were not trained on give in place of generated ones is the
null: a leak within its interval is none.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics.paired import UNDEFINED, Interval
from sagan_jax.metrics.rows import Doubles

GREY = 0.1
"""A value is grey if it is so close to 0, on the scale from -1 to 1."""

RESAMPLES = 2000
"""Samples of the bootstrap."""


class Statistic(NamedTuple):
    """A number that an augmentation moves.

    Attributes:
      of_images: maps images [N, H, W, C] in [-1, 1] to a value for each, [N].
      summary: maps values [..., N] to one number for each row, [...].
    """

    of_images: Callable[[NDArray[Any]], Doubles]
    summary: Callable[[Doubles], Doubles]


class Leak(NamedTuple):
    """How much of an augmentation is visible in a set of images.

    Attributes:
      leak: the share; NaN if the augmentation does not move the statistic.
      interval: its 95 % percentile interval of the bootstrap over all three sets.
      real: the statistic of the real images.
      augmented: that of the augmented images.
      images: that of the images in question.
    """

    leak: float
    interval: Interval
    real: float
    augmented: float
    images: float


def brightness(images: NDArray[Any]) -> Doubles:
    """Returns the mean of each image, [N]."""
    return images.mean((1, 2, 3), dtype=np.float64)


def grey_border(images: NDArray[Any]) -> Doubles:
    """Returns how many lines at the four edges are grey, per side of an image, [N].

    Lines are counted from each edge inwards as long as the mean distance of their
    values to 0 is at most GREY.
    """
    distance = np.abs(images).mean(3, dtype=np.float64)
    runs = np.zeros(len(images))
    for lines in (distance.mean(2), distance.mean(1)):
        for ordered in (lines, lines[:, ::-1]):
            # The product is 1 up to the first line that is not grey.
            runs += np.cumprod(ordered <= GREY, axis=1).sum(1)
    return runs / images.shape[1]


def grey_square(images: NDArray[Any]) -> Doubles:
    """Returns the side of the largest grey square, as a part of the image's side, [N].

    All values in it are at most GREY from 0.
    """
    grey = (np.abs(images) <= GREY).all(3)
    sides = np.zeros(len(images))
    side = 0
    # After step s, an entry says whether a square of side s begins there.
    while grey.size and grey.any():
        side += 1
        sides[grey.any((1, 2))] = side
        grey = grey[:, :-1, :-1] & grey[:, 1:, :-1] & grey[:, :-1, 1:] & grey[:, 1:, 1:]
    return sides / images.shape[1]


def _mean(values: Doubles) -> Doubles:
    found: Doubles = values.mean(-1)
    return found


def _spread(values: Doubles) -> Doubles:
    found: Doubles = values.std(-1)
    return found


# Shifts of brightness are symmetric: they widen its distribution and keep its mean.
STATISTICS: dict[str, Statistic] = {
    "color": Statistic(brightness, _spread),
    "translation": Statistic(grey_border, _mean),
    "cutout": Statistic(grey_square, _mean),
}
"""A statistic for each augmentation of DiffAugment."""


def leak(
    augmentation: str,
    real: ArrayLike,
    augmented: ArrayLike,
    images: ArrayLike,
    *,
    seed: int = 0,
) -> Leak:
    """Returns how much of an augmentation is visible in `images`.

    Args:
      augmentation: a name in STATISTICS.
      real: real images as they are trained on, [N, H, W, C], uint8 or floats in
        [-1, 1].
      augmented: augmented real images, as the discriminator sees them.
      images: the generated images; or real images that were not trained on, for the
        null.
      seed: seed of the bootstrap.

    Raises:
      UserError: an unknown augmentation, or images that are no such arrays.

    Reference: Karras et al. 2020, https://arxiv.org/abs/2006.06676, for what a leak is;
      the statistics are ours.
    """
    if augmentation not in STATISTICS:
        raise UserError(
            f"augmentation={augmentation!r} has no statistic; choose one of "
            f"{', '.join(STATISTICS)}."
        )
    statistic = STATISTICS[augmentation]
    sets = {"real": real, "augmented": augmented, "images": images}
    values = [statistic.of_images(_decoded(name, x)) for name, x in sets.items()]
    found = [float(statistic.summary(x)) for x in values]
    random = np.random.default_rng(seed)
    drawn = np.stack([_resampled(random, statistic, x) for x in values])
    moved = drawn[1] - drawn[0]
    if not (moved > 0).all() and not (moved < 0).all():
        return Leak(math.nan, UNDEFINED, *found)
    low, high = np.quantile((drawn[2] - drawn[0]) / moved, [0.025, 0.975])
    share = (found[2] - found[0]) / (found[1] - found[0])
    return Leak(float(share), Interval(float(low), float(high)), *found)


def _resampled(
    random: np.random.Generator, statistic: Statistic, values: Doubles
) -> Doubles:
    """Returns the summaries [RESAMPLES] of samples with replacement."""
    return np.array(
        [
            statistic.summary(random.choice(values, len(values)))
            for _ in range(RESAMPLES)
        ]
    )


def _decoded(name: str, images: ArrayLike) -> NDArray[Any]:
    """Returns images as floats in [-1, 1]."""
    array = np.asarray(images)
    if array.ndim != 4 or not len(array):
        raise UserError(
            f"{name} has the shape {array.shape}; pass images [N, H, W, C], at least 1."
        )
    if array.dtype == np.uint8:
        return array / np.float32(127.5) - np.float32(1)
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"{name} of type {array.dtype} are not supported; pass uint8, or floats in "
            "[-1, 1]."
        )
    return array
