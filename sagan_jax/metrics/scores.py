"""The chosen metrics of one set of generated images, from features of both sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics import fid, inception_score, intra_fid, kid, prdc
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.rows import Rows
from sagan_jax.metrics.statistics import Provenance, Statistics, check_same_pipeline

METRICS = (
    "fid",
    "is",
    "kid",
    "precision_recall",
    "density_coverage",
    "intra_fid",
    "fid_infinity",
)
"""What can be asked for."""

Scores = dict[str, Any]

_KID_SUBSET = 1000
_NEIGHBOURS = 50_000
"""Images of either set, at most, whose neighbours are looked for: the rest is left."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a network says of a set of images.

    Attributes:
      features: [N, d], float32; may be a memory map.
      provenance: of which images, by which network and pipeline.
      logits: [N, C] for the inception score; None without.
      labels: [N] classes; None without.
    """

    features: Rows
    provenance: Provenance
    logits: Rows | None = None
    labels: NDArray[np.integer] | None = None


def check_metrics(metrics: Sequence[str]) -> None:
    """Raises UserError for a metric that is not known, or none at all."""
    for name in metrics or ("",):
        if name not in METRICS:
            raise UserError(
                f"metrics: {name!r} is not known; choose among {', '.join(METRICS)}."
            )


def compute(
    real: Measured | Statistics,
    fake: Measured,
    metrics: Sequence[str],
    *,
    protocol: Protocol,
    frechet: str,
) -> Scores:
    """Returns numbers by name, with what tells them from others of that name.

    Args:
      real: the reference; statistics alone are enough for the Frechet distance.
      fake: of the generated images.
      metrics: of METRICS, in the order of the result.
      protocol: how the inception score is split.
      frechet: what the distance is called: 'FID' only for the public network's last
        features; see weights.frechet_name.

    Raises:
      UserError: an unknown metric, one that needs what is not there, sets that were
        not measured alike, or too few images.
    """
    check_metrics(metrics)
    _check_alike(real, fake)
    scores: Scores = {}
    for metric in metrics:
        scores |= _compute(metric, real, fake, protocol, frechet)
    return scores


def _compute(
    metric: str,
    real: Measured | Statistics,
    fake: Measured,
    protocol: Protocol,
    frechet: str,
) -> Scores:
    if metric == "is":
        return _inception_score(fake, protocol)
    if metric == "fid":
        return {frechet: fid.frechet_distance(_set(real), _set_beside(fake, real))}
    if metric == "fid_infinity":
        # From a tenth of the images on where there are fewer than the usual 50,000.
        least = min(5000, max(2, len(fake.features) // 10))
        line = fid.fid_infinity(_set(real), fake.features, least=least)
        return {f"{frechet}_infinity": line.value, f"{frechet}_infinity_from": least}
    rows = _features(real, metric)
    if metric == "kid":
        size = min(_KID_SUBSET, len(rows), len(fake.features))
        mean, deviation = kid.kernel_distance(rows, fake.features, subset_size=size)
        name = frechet.replace("FID", "KID").replace("FD", "KD")
        return {name: mean, f"{name}_std": deviation, f"{name}_subset": size}
    if metric == "intra_fid":
        return _intra_fid(real, fake, frechet)
    near, far = rows[:_NEIGHBOURS], fake.features[:_NEIGHBOURS]
    if metric == "precision_recall":
        precision, recall = prdc.precision_recall(near, far)
        return {"precision": precision, "recall": recall}
    density, coverage = prdc.density_coverage(near, far)
    return {"density": density, "coverage": coverage}


def _inception_score(fake: Measured, protocol: Protocol) -> Scores:
    if fake.logits is None:
        raise UserError(
            "metrics: 'is' needs the logits of the whole network; give whole weights, "
            "or leave it out."
        )
    mean, deviation = inception_score.inception_score(
        fake.logits,
        splits=min(protocol.splits, len(fake.logits)),
        shuffle_seed=protocol.shuffle_seed,
        ddof=protocol.ddof,
    )
    return {"IS": mean, "IS_std": deviation}


def _intra_fid(real: Measured | Statistics, fake: Measured, frechet: str) -> Scores:
    rows = _features(real, "intra_fid")
    labels = real.labels if isinstance(real, Measured) else None
    if labels is None or fake.labels is None:
        side = "real" if labels is None else "generated"
        raise UserError(
            f"metrics: 'intra_fid' needs classes, and the {side} images have none; "
            "leave it out."
        )
    found = intra_fid.intra_frechet_distance(rows, labels, fake.features, fake.labels)
    return {
        f"intra-{frechet}": found.mean,
        f"intra-{frechet}_floor": found.floor,
        f"intra-{frechet}_matched": found.matched,
        f"intra-{frechet}_classes": {
            str(label): {
                "distance": one.distance,
                "real": one.real_count,
                "fake": one.fake_count,
                "floor": one.floor,
                "matched": one.matched,
                "half": one.half_count,
            }
            for label, one in found.classes.items()
        },
    }


def _set(side: Measured | Statistics) -> Rows | Statistics:
    return side if isinstance(side, Statistics) else side.features


def _set_beside(fake: Measured, real: Measured | Statistics) -> Rows | Statistics:
    if isinstance(real, Statistics):
        return Statistics.of(fake.features, fake.provenance)
    return fake.features


def _features(real: Measured | Statistics, metric: str) -> Rows:
    if isinstance(real, Statistics):
        raise UserError(
            f"metrics: {metric!r} needs the features of each real image, and a file of "
            "statistics holds only their mean and covariance; give the images."
        )
    return real.features


def _check_alike(real: Measured | Statistics, fake: Measured) -> None:
    """Refuses sets of different pipelines; statistics of unknown origin too."""
    sides = [
        side
        if isinstance(side, Statistics)
        else Statistics.empty(side.features.shape[1], side.provenance)
        for side in (real, fake)
    ]
    check_same_pipeline(*sides)
