"""Checks a comparison of two sets of images before any image is decoded."""

import dataclasses
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError, naming
from sagan_jax.extractors import encoders
from sagan_jax.extractors.encoders import INCEPTION, Encoder, Weights
from sagan_jax.files import paths, whole
from sagan_jax.metrics import (
    image_sets,
    intra_fid,
    kid,
    protocols,
    rows,
    scores,
    statistics_files,
)
from sagan_jax.metrics.image_sets import ImageSet
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.scores import METRICS
from sagan_jax.metrics.statistics import Provenance, Statistics, check_same_pipeline


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of `sagan_jax.metrics.evaluate`, with their defaults.

    Attributes:
      real: a folder, .zip or .npz of images, or an .npz of statistics.
      fake: a folder, .zip or .npz of images.
      metrics: names from scores.METRICS, separated by commas; '' means scores.USUAL.
      protocol: a name from protocols.PROTOCOLS.
      encoder: a name from encoders.ENCODERS, or module:function.
      pipeline: a pipeline of the encoder; '' means its first, or the protocol's.
      weights: a weights file; '' means the public weights, see encoders.Encoder.load.
      tap: the layer; '' means the last one that the weights cover, up to '2048'.
      kid_kernel: a name from kid.KERNELS.
      batch_size: images per pass on each device; 0 means the default of Extractor.
      json: a file to append the line to; '' means none.
      save_statistics: an .npz to write the statistics of the real images to; '' means
        none.
      assume_alike: whether statistics without provenance count as measured in the same
        way as the generated images.
    """

    real: str
    fake: str
    metrics: str = ""
    protocol: str = "torch-fidelity"
    encoder: str = INCEPTION
    pipeline: str = ""
    weights: str = ""
    tap: str = ""
    kid_kernel: str = "poly"
    batch_size: int = 0
    json: str = ""
    save_statistics: str = ""
    assume_alike: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A request that has been checked, with its files opened.

    Attributes:
      request: the request.
      protocol: the protocol.
      encoder: the encoder.
      real: the reference: images that are not decoded yet, or statistics.
      fake: the generated images, not decoded yet.
      weights: the weights of the network.
      metrics: the metrics to compute.
      left_out: default metrics that are not possible here, each with the reason.
      made: the provenance of the features of the generated images.
      assumed_alike: whether `real` is statistics without provenance, see Request.
      labels: labels of the real and of the generated images, or None if no metric needs
        them.
      class_names: the names that the labels index.
    """

    request: Request
    protocol: Protocol
    encoder: Encoder
    real: ImageSet | Statistics
    fake: ImageSet
    weights: Weights
    metrics: list[str]
    left_out: dict[str, str]
    made: Provenance
    assumed_alike: bool
    labels: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    class_names: list[str]

    @property
    def needs_logits(self) -> bool:
        """Whether a metric needs logits."""
        return any(METRICS[name].needs_logits for name in self.metrics)

    @property
    def taps(self) -> list[str]:
        """The taps to extract from the generated images."""
        logits = [self.protocol.logits] if self.needs_logits else []
        return list(dict.fromkeys([self.made.tap, *logits]))


def plan(request: Request) -> Plan:
    """Returns the checked plan of a comparison.

    Raises:
      UserError: a set, a file or an option that is invalid, or that does not fit the
        others.
    """
    protocol = protocols.protocol_of(request.protocol)
    encoder = encoders.encoder_of(request.encoder)
    pipeline = encoder.pipeline(request.pipeline, protocol.pipeline)
    names = scores.names_of(request.metrics)
    labelled = any(METRICS[name].needs_classes for name in names)
    # Cheap checks first: the weights may have to be downloaded.
    _check_options(request)
    real, fake = _open_real(request, labelled), _open_fake(request, labelled)
    weights: Weights = encoder.load(request.weights)
    made = Provenance(
        data_set=name_of(request.fake),
        split="",
        preprocessing="RGB, not cropped, uint8",
        pipeline=pipeline,
        tap=encoder.tap(request.tap, weights.taps),
        weights=weights.digest,
        encoder=encoder.name,
    )
    reasons = {
        name: _obstacle(name, real, fake, protocol, encoder, weights) for name in names
    }
    left_out = {name: reason for name, reason in reasons.items() if reason}
    _check_left_out(request, left_out)
    labels: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    class_names: list[str] = []
    assumed_alike = isinstance(real, Statistics) and real.provenance is None
    if isinstance(real, Statistics):
        real = _as_alike(request, real, made, encoder)
    elif labelled:
        *both, class_names = intra_fid.numbered_classes(
            real.classes or (), fake.classes or ()
        )
        labels = both[0], both[1]
    return Plan(
        request=request,
        protocol=protocol,
        encoder=encoder,
        real=real,
        fake=fake,
        weights=weights,
        metrics=[name for name in names if name not in left_out],
        left_out=left_out,
        made=made,
        assumed_alike=assumed_alike,
        labels=labels,
        class_names=class_names,
    )


def name_of(path: str) -> str:
    """Returns the last part of a path, also for '.'."""
    return Path(os.path.abspath(paths.local(path))).name


def _check_options(request: Request) -> None:
    kid.check_kernel(request.kid_kernel)
    if request.batch_size < 0:
        raise UserError(
            f"batch_size={request.batch_size} is negative; set it to 1 or more, or to "
            "0 for the default."
        )
    for option, path in (
        ("json", request.json),
        ("save_statistics", request.save_statistics),
    ):
        if not path:
            continue
        with naming(option, path):
            place = paths.local(path)
            if not place.parent.is_dir():
                raise UserError(
                    f"{path!r} is not writable; choose a file in an existing folder."
                )
            whole.check_writable(place, append=option == "json")
    if request.save_statistics and not request.save_statistics.endswith(".npz"):
        raise UserError(
            f"save_statistics={request.save_statistics!r} does not end in .npz; choose "
            "a name that does."
        )


def _open_real(request: Request, labelled: bool) -> ImageSet | Statistics:
    with naming("REAL", request.real):
        if not image_sets.is_statistics(request.real):
            return image_sets.open_images(request.real, labelled=labelled)
        if request.save_statistics:
            raise UserError(
                f"{request.real!r} already holds statistics; drop --save_statistics."
            )
        return statistics_files.load(paths.local(request.real))


def _open_fake(request: Request, labelled: bool) -> ImageSet:
    with naming("FAKE", request.fake):
        if image_sets.is_statistics(request.fake):
            raise UserError(
                f"{request.fake!r} holds statistics, which are supported for REAL "
                "only; pass the generated images."
            )
        return image_sets.open_images(request.fake, labelled=labelled)


def _obstacle(
    name: str,
    real: ImageSet | Statistics,
    fake: ImageSet,
    protocol: Protocol,
    encoder: Encoder,
    weights: Weights,
) -> str:
    """Returns why a metric is not possible, as the end of a sentence, or ''."""
    metric = METRICS[name]
    if metric.needs_real_images and isinstance(real, Statistics):
        return "needs each real image, but REAL holds only statistics"
    least, least_fake = metric.least
    if metric.needs_logits:
        if protocol.logits not in encoder.taps:
            return f"needs logits, which encoder {encoder.name!r} does not have"
        if protocol.logits not in weights.taps:
            return f"needs {protocol.logits}, which the weights do not cover"
        least_fake += protocol.ddof  # a deviation over splits, each of an image or more
    known = None if isinstance(real, Statistics) else real.count
    for side, count, needed in (
        ("REAL", known, least),
        ("FAKE", fake.count, least_fake),
    ):
        if count is not None and count < needed:
            return f"needs at least {needed} images, but {side} holds {count}"
    return ""


def _check_left_out(request: Request, left_out: dict[str, str]) -> None:
    """Raises if a metric that was asked for is not possible, or if 'fid' is not."""
    # Without the distance, the remaining default metrics say little.
    for name, reason in left_out.items():
        if request.metrics or name == "fid":
            raise UserError(
                f"metrics: {name!r} {reason}; provide that, or choose other --metrics."
            )


def _as_alike(
    request: Request, real: Statistics, made: Provenance, encoder: Encoder
) -> Statistics:
    """Returns the statistics of REAL if they were measured as FAKE will be."""
    if real.provenance is None:
        if not request.assume_alike:
            raise UserError(
                f"REAL={request.real!r} does not record how it was measured; pass "
                f"--assume_alike if it comes from encoder {made.encoder!r} by pipeline "
                f"{made.pipeline!r} at tap {made.tap!r} with the same weights."
            )
        real = dataclasses.replace(real, provenance=made)
    # Files of pytorch-fid have no provenance, but their width tells other layers apart.
    check_same_pipeline(real, Statistics.empty(real.d, made))
    rows.check_one_width(real.d, encoder.taps[made.tap] or real.d)
    return real
