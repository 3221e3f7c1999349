"""The Frechet distance within each class, and the distance between real images alone.

A class has few images, often fewer than features. Every distance here is therefore
mostly bias from its counts, and even a perfect generator is far from 0. The result
includes the counts, and a floor that a perfect generator reaches in expectation.

Source: Miyato and Koyama 2018, section 5.1, https://arxiv.org/abs/1802.05637
"""

import collections
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows
from sagan_jax.metrics.fid import frechet_distance
from sagan_jax.metrics.measured import Sets
from sagan_jax.metrics.rows import Rows

LEAST = (4, 2)
"""Smallest numbers of real and of generated images in a class."""


@dataclass(frozen=True, slots=True)
class ClassDistance:
    """The distance for one class, and two distances at equal counts to compare.

    Let h be half of the real images, rounded down, or the number of fakes if that is
    smaller. `floor` is the distance between two disjoint random sets of h real images;
    `matched` is the distance between the first of them and h random fakes. Both have
    the bias of h against h images, so a perfect generator has matched = floor in
    expectation. `distance` uses all images, so it must not be compared with `floor`.
    """

    distance: float
    real_count: int
    fake_count: int
    floor: float
    matched: float
    half_count: int  # h


@dataclass(frozen=True, slots=True)
class IntraFid:
    """Unweighted means over classes, and the distances of each class by label."""

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

    Only one class at a time is converted to float64. 1000 covariances of 2048 features
    would take 33 GB; the features of 50,000 images take 0.4 GB, and may be memory maps.

    Args:
      real: features [N, d].
      real_labels: integer classes [N].
      fake: features [M, d].
      fake_labels: integer classes [M] that the images were generated for.
      classes: classes to measure; None means all classes of either set.
      seed: seed of the sets of h images; the draws of a class do not depend on which
        other classes are measured.

    Raises:
      UserError: invalid features, different d, labels that do not match the features,
        or a class with fewer than 4 real or 2 generated images.
    """
    real_rows, fake_rows = rows.as_pair(real, fake)
    reals = _rows_by_class(real_labels, len(real_rows), "real_labels")
    fakes = _rows_by_class(fake_labels, len(fake_rows), "fake_labels")
    chosen = sorted(reals.keys() | fakes.keys() if classes is None else set(classes))
    if not chosen:
        raise UserError("classes=[] is empty; pass at least one class.")
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


def score(sets: Sets) -> tuple[float, float, float, dict[str, dict[str, Any]]]:
    """Returns mean, floor and matched, and the values of each class by label."""
    real, fake = sets.real_features, sets.fake.features
    real_labels, fake_labels = sets.labels
    found = intra_frechet_distance(real, real_labels, fake, fake_labels)
    classes = {
        str(label): {
            "distance": one.distance,
            "real": one.real_count,
            "fake": one.fake_count,
            "floor": one.floor,
            "matched": one.matched,
            "half": one.half_count,
        }
        for label, one in found.classes.items()
    }
    return found.mean, found.floor, found.matched, classes


def numbered_classes(
    real: Sequence[str], fake: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Returns the labels of both sets, and the class names that they index.

    Args:
      real: class name of each real image.
      fake: class name of each generated image.

    Raises:
      UserError: a class without real images, or with too few images.
    """
    reals, fakes = collections.Counter(real), collections.Counter(fake)
    names = sorted(reals)
    # Classes that only the generated images have come first: usually a wrong folder.
    for name in (*sorted(fakes.keys() - reals.keys()), *names):
        _check_counts(name, reals[name], fakes[name], "remove it from both sets")
    number = {name: index for index, name in enumerate(names)}

    def labels(classes: Iterable[str]) -> NDArray[np.int64]:
        return np.array([number[name] for name in classes])

    return labels(real), labels(fake), names


def _class_distance(
    real: Rows,
    of_real: NDArray[np.intp],
    fake: Rows,
    of_fake: NDArray[np.intp],
    seed: int,
) -> ClassDistance:
    draw = np.random.default_rng(seed)  # anew for each class: independent of the others
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
    """Returns the indices of the rows of each class, in order."""
    given = np.asarray(labels)
    if given.shape != (count,) or given.dtype.kind not in "iu":
        raise UserError(
            f"{name} of shape {given.shape} and type {given.dtype} are not one class "
            f"for each of {count} images; pass {count} integers."
        )
    order = np.argsort(given, kind="stable")  # one sort instead of a scan per class
    found, starts = np.unique(given[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, starts[1:]), strict=True))


def _check_class(
    label: int, reals: dict[int, NDArray[np.intp]], fakes: dict[int, NDArray[np.intp]]
) -> None:
    counts = len(reals.get(label, ())), len(fakes.get(label, ()))
    _check_counts(label, *counts, "leave it out of `classes`")


def _check_counts(name: int | str, real: int, fake: int, remedy: str) -> None:
    if not real:
        raise UserError(
            f"class {name!r} has {fake} generated images but no real ones; add real "
            f"images, or {remedy}."
        )
    if real < LEAST[0] or fake < LEAST[1]:
        raise UserError(
            f"class {name!r} has {real} real and {fake} generated images, fewer than "
            f"{LEAST[0]} and {LEAST[1]}; add images, or {remedy}."
        )
