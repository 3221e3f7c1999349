"""What is asked of two sets of images, checked before any of them is measured."""

import dataclasses
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_weights as weights_lib
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics import image_sets, protocols, statistics_files
from sagan_jax.metrics import plan as plan_lib
from sagan_jax.metrics.image_sets import ImageSet
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.statistics import Provenance, Statistics


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted; the defaults are those of the command evaluate.

    Attributes:
      real: a folder, .zip or .npz of images, or an .npz of statistics.
      fake: a folder, .zip or .npz of images.
      metrics: of scores.METRICS, with commas between; '': measurable.USUAL.
      protocol: of protocols.PROTOCOLS.
      weights: a file; '': the public ones, see weights.load.
      tap: the layer; '': the last that the weights cover, at most '2048'.
      batch_size: images in a pass on each device; 0: see features.Extractor.
      json: a file that the line is appended to; '': none.
      save_statistics: an .npz to write, of the real images; '': none.
      assume_alike: whether statistics that do not say how they were measured are taken
        as measured like the generated images.
    """

    real: str
    fake: str
    metrics: str = ""
    protocol: str = "torch-fidelity"
    weights: str = ""
    tap: str = ""
    batch_size: int = 0
    json: str = ""
    save_statistics: str = ""
    assume_alike: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A request whose parts were found, and fit together.

    Attributes:
      request: as it was made.
      protocol: of that name.
      real: the reference, not measured yet unless it is statistics.
      fake: the generated images, not measured yet.
      weights: of the network.
      metrics: that will be computed.
      left_out: usual metrics that cannot be, each with the reason.
      made: what the features of the fakes will be.
      assumed_alike: whether `real` is statistics that are taken at our word.
      labels: of the real and the generated images; None where no metric needs them.
      class_names: that labels count through.
    """

    request: Request
    protocol: Protocol
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
    def taps(self) -> list[str]:
        """The taps that are needed of the generated images."""
        logits = [self.protocol.logits] if "is" in self.metrics else []
        return list(dict.fromkeys([self.made.tap, *logits]))


def plan(request: Request) -> Plan:
    """Returns what will be measured, and how.

    Raises:
      UserError: a set, a file or an option that cannot be.
    """
    protocol = protocols.protocol_of(request.protocol)
    labelled = "intra_fid" in plan_lib.asked_for(request.metrics)
    _check(request)
    real, fake = _open_real(request, labelled), _open_fake(request, labelled)
    weights = weights_lib.load(request.weights)
    tap = plan_lib.tap_of(request.tap, weights.taps)
    metrics, left_out = plan_lib.choose(
        request.metrics, real, fake, protocol=protocol, taps=weights.taps
    )
    made = Provenance(
        data_set=name_of(request.fake),
        split="",
        preprocessing="RGB, not cropped, uint8",
        pipeline=protocol.pipeline,
        tap=tap,
        weights=weights.digest,
    )
    labels: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
    class_names: list[str] = []
    assumed_alike = False
    if isinstance(real, Statistics):
        assumed_alike = real.provenance is None
        real = plan_lib.as_alike(request.real, real, made, request.assume_alike)
    elif labelled:
        reals, fakes, class_names = plan_lib.labels_of(
            real.classes or (), fake.classes or ()
        )
        labels = reals, fakes
    return Plan(
        request=request,
        protocol=protocol,
        real=real,
        fake=fake,
        weights=weights,
        metrics=metrics,
        left_out=left_out,
        made=made,
        assumed_alike=assumed_alike,
        labels=labels,
        class_names=class_names,
    )


def name_of(path: str) -> str:
    """Returns the last part of a path, of '.' too."""
    return Path(os.path.abspath(Path(path).expanduser())).name


def _open_real(request: Request, labelled: bool) -> ImageSet | Statistics:
    if not image_sets.is_statistics(request.real):
        return image_sets.open_images(request.real, "REAL", labelled=labelled)
    if request.save_statistics:
        raise UserError(
            f"REAL={request.real!r} holds statistics already; leave --save_statistics "
            "out."
        )
    return statistics_files.load(Path(request.real).expanduser())


def _open_fake(request: Request, labelled: bool) -> ImageSet:
    if image_sets.is_statistics(request.fake):
        raise UserError(
            f"FAKE={request.fake!r} holds statistics, which only REAL may be; give the "
            "generated images."
        )
    return image_sets.open_images(request.fake, "FAKE", labelled=labelled)


def _check(request: Request) -> None:
    if request.batch_size < 0:
        raise UserError(
            f"batch_size={request.batch_size} is not a number of images; set it to 1 "
            "or more, or to 0 for the usual one."
        )
    for option, path in (
        ("json", request.json),
        ("save_statistics", request.save_statistics),
    ):
        place = Path(path).expanduser()
        if path and (place.is_dir() or not os.access(place.parent, os.W_OK)):
            raise UserError(
                f"{option}={path!r} cannot be written; name a file in a folder that "
                "is there."
            )
    if request.save_statistics and not request.save_statistics.endswith(".npz"):
        raise UserError(
            f"save_statistics={request.save_statistics!r} would be taken for another "
            "kind; let it end in .npz."
        )
