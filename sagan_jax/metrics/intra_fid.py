"""The Frechet distance class by class, and what real images alone would score.

A class has few images, often fewer than features, so every number here is mostly the
bias of its counts: a perfect generator is far from 0. The counts are part of the
result, and so is a floor that no generator can be expected to pass.

Source: Miyato and Koyama 2018, section 5.1, https://arxiv.org/abs/1802.05637
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows
from sagan_jax.metrics.fid import frechet_distance
from sagan_jax.metrics.rows import Rows


@dataclass(frozen=True, slots=True)
class ClassDistance:
    """One class: the distance, and two at one smaller count that may be compared.

    Let h be half of the real images, rounded down, or the number of fakes if that is
    smaller. Two disjoint random sets of h real images are `floor` apart; the first of
    them and h random fakes are `matched` apart. Both pay the bias of h against h, so a
    perfect generator has matched = floor in expectation. The distance itself uses all
    images, and with that other counts: it is not to be compared with the floor.
    """

    distance: float
    real_count: int
    fake_count: int
    floor: float
    matched: float
    half_count: int  # h


@dataclass(frozen=True, slots=True)
class IntraFid:
    """Means over classes, each class with one vote, and the classes by label."""

    mean: float
    floor: float
    matched: float
    classes: dict[int, ClassDistance]


def intra_frechet_distance(
    real: ArrayLike,
    real_labels: ArrayLike,
    fake: ArrayLike,
    fake_labels: ArrayLike,
    *,
    classes: Sequence[int] | None = None,
    seed: int = 2020,
) -> IntraFid:
    """Returns the Frechet distance within each class, and the means over classes.

    The features of one class at a time are float64: 1000 covariances of 2048 features
    would be 33 GB, all the features 0.4 GB for 50,000 images (a memory map will do).

    Args:
      real: features [N, d].
      real_labels: [N] of whole numbers.
      fake: features [M, d].
      fake_labels: [M], the classes that the images were meant to have.
      classes: those to measure; None: all that either set has.
      seed: of the sets of h images; a class draws the same whichever others there are.

    Raises:
      UserError: features of another kind or of different d, labels that do not belong
        to them, or a class with fewer than 4 real or 2 generated images.
    """
    real_rows, fake_rows = rows.as_pair(real, fake)
    reals = _rows_by_class(real_labels, len(real_rows), "real_labels")
    fakes = _rows_by_class(fake_labels, len(fake_rows), "fake_labels")
    chosen = sorted(reals.keys() | fakes.keys() if classes is None else set(classes))
    if not chosen:
        raise UserError("classes=[] name nothing to measure; name at least one.")
    for label in chosen:
        _check_class(label, reals, fakes)
    found = {
        label: _class_distance(real_rows, reals[label], fake_rows, fakes[label], seed)
        for label in chosen
    }
    mean, floor, matched = (
        float(np.mean([getattr(one, name) for one in found.values()]))
        for name in ("distance", "floor", "matched")
    )
    return IntraFid(mean, floor, matched, found)


def _class_distance(
    real: Rows,
    of_real: NDArray[np.intp],
    fake: Rows,
    of_fake: NDArray[np.intp],
    seed: int,
) -> ClassDistance:
    draw = np.random.default_rng(seed)
    half = min(len(of_real) // 2, len(of_fake))
    reals, fakes = draw.permutation(of_real), draw.permutation(of_fake)
    one = real[reals[:half]]
    return ClassDistance(
        distance=frechet_distance(real[of_real], fake[of_fake]),
        real_count=len(of_real),
        fake_count=len(of_fake),
        floor=frechet_distance(one, real[reals[half : 2 * half]]),
        matched=frechet_distance(one, fake[fakes[:half]]),
        half_count=half,
    )


def _rows_by_class(
    labels: ArrayLike, count: int, name: str
) -> dict[int, NDArray[np.intp]]:
    """Returns the rows of each class, in order."""
    given = np.asarray(labels)
    if given.shape != (count,) or given.dtype.kind not in "iu":
        raise UserError(
            f"{name} of shape {given.shape} and type {given.dtype} are not one class "
            f"for each of {count} images; pass {count} whole numbers."
        )
    order = np.argsort(given, kind="stable")
    found, starts = np.unique(given[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def _check_class(
    label: int, reals: dict[int, NDArray[np.intp]], fakes: dict[int, NDArray[np.intp]]
) -> None:
    real_count, fake_count = len(reals.get(label, ())), len(fakes.get(label, ()))
    if not real_count:
        raise UserError(
            f"class {label} has {fake_count} generated images but no reference; add "
            "real images of it, or leave it out of `classes`."
        )
    if real_count < 4 or fake_count < 2:
        raise UserError(
            f"class {label} has {real_count} real and {fake_count} generated images, "
            "fewer than 4 and 2; add some, or leave it out of `classes`."
        )
