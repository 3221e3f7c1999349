"""What can be measured of two sets of images, known before one of them is decoded."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_layers
from sagan_jax.metrics import rows, scores
from sagan_jax.metrics.image_sets import ImageSet
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.statistics import Provenance, Statistics, check_same_pipeline

USUAL = ("fid", "is", "kid", "precision_recall", "density_coverage")
"""Taken where nobody asks for others, as far as there is what they need."""

_LEAST = {  # real and generated images
    "fid": (2, 2),
    "is": (0, 1),
    "kid": (2, 2),
    "precision_recall": (5, 5),
    "density_coverage": (7, 7),
    "intra_fid": (4, 2),
    "fid_infinity": (2, 3),
}
_FROM_STATISTICS = ("fid", "is", "fid_infinity")  # no real features are looked at


def choose(
    given: str,
    real: ImageSet | Statistics,
    fake: ImageSet,
    *,
    protocol: Protocol,
    taps: Sequence[str],
) -> tuple[list[str], dict[str, str]]:
    """Returns the metrics to compute, and why each of the usual others is left out.

    Args:
      given: of scores.METRICS, with commas between; '': the usual ones.
      real: the reference.
      fake: of the generated images.
      protocol: how the inception score is taken.
      taps: that the weights cover.

    Raises:
      UserError: an unknown metric, or one that was asked for and cannot be.
    """
    names = asked_for(given)
    reasons = {name: _obstacle(name, real, fake, protocol, taps) for name in names}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    # Without the distance nothing is left that says much.
    refused = [name for name in left_out if given or name == "fid"]
    if refused:
        raise UserError(
            f"metrics: {refused[0]!r} {left_out[refused[0]]}; give what it needs, or "
            "leave it out."
        )
    return [name for name in names if name not in left_out], left_out


def asked_for(given: str) -> tuple[str, ...]:
    """Returns the metrics of a list with commas, or the usual ones for ''.

    Raises:
      UserError: one is not known.
    """
    names = tuple(dict.fromkeys(given.replace(" ", "").split(","))) if given else USUAL
    scores.check_metrics(names)
    return names


def tap_of(given: str, taps: Sequence[str]) -> str:
    """Returns the tap to take features at: `given`, or the last covered, up to 2048.

    Raises:
      UserError: it is not known, or the weights do not reach it.
    """
    if given and given not in inception_layers.TAPS:
        raise UserError(
            f"tap={given!r} is not known; choose among "
            f"{', '.join(inception_layers.TAPS)}."
        )
    if given and given not in taps:
        raise UserError(
            f"tap={given!r}: the weights cover {', '.join(taps)} only; choose among "
            "these, or give whole weights."
        )
    return given or [tap for tap in taps if not tap.startswith("logits")][-1]


def labels_of(
    real: Sequence[str], fake: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """Returns the labels of both sets and the class names that they count through.

    Args:
      real: the name of each image's class.
      fake: likewise.

    Raises:
      UserError: a class that only the generated images have, or with too few images.
    """
    reals, fakes = collections.Counter(real), collections.Counter(fake)
    if strange := sorted(fakes.keys() - reals.keys()):
        raise UserError(
            f"class {strange[0]!r} has {fakes[strange[0]]} generated images but no "
            "reference; add real images of it, or remove it."
        )
    names = sorted(reals)
    for name in names:
        if reals[name] < 4 or fakes[name] < 2:
            raise UserError(
                f"class {name!r} has {reals[name]} real and {fakes[name]} generated "
                "images, fewer than 4 and 2; add some, or remove it from both."
            )
    number = {name: index for index, name in enumerate(names)}

    def labels(classes: Iterable[str]) -> NDArray[np.int64]:
        return np.array([number[name] for name in classes])

    return labels(real), labels(fake), names


def as_alike(
    path: str, real: Statistics, fake: Provenance, assume_alike: bool
) -> Statistics:
    """Returns statistics of a file, if they were measured as the fakes will be.

    Args:
      path: of the file.
      real: read from it.
      fake: what will be measured, and how.
      assume_alike: whether to believe it of a file that does not say.

    Raises:
      UserError: they were measured otherwise, or do not say how.
    """
    if real.provenance is None:
        if not assume_alike:
            raise UserError(
                f"REAL={path!r} does not say how it was measured; pass --assume_alike "
                f"if it was by pipeline {fake.pipeline!r} at tap {fake.tap!r} of the "
                "same weights."
            )
        real = dataclasses.replace(real, provenance=fake)
    check_same_pipeline(real, Statistics.empty(real.d, fake))
    rows.check_one_width(real.d, inception_layers.WIDTHS[fake.tap])
    return real


def _obstacle(
    metric: str,
    real: ImageSet | Statistics,
    fake: ImageSet,
    protocol: Protocol,
    taps: Sequence[str],
) -> str:
    """Returns why a metric cannot be, as the end of a sentence; '' if it can."""
    if isinstance(real, Statistics) and metric not in _FROM_STATISTICS:
        return "needs each real image, and REAL holds statistics only"
    if metric == "is" and protocol.logits not in taps:
        return f"needs {protocol.logits}, which the weights do not reach"
    least, least_fake = _LEAST[metric]
    if metric == "is":
        least_fake += protocol.ddof
    known = None if isinstance(real, Statistics) else real.count
    for field, count, needed in (
        ("REAL", known, least),
        ("FAKE", fake.count, least_fake),
    ):
        if count is not None and count < needed:
            return f"needs {needed} images at least, and {field} holds {count}"
    return ""
