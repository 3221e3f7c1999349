"""Two sets of images compared: scores, with what is needed to make them again."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

import sagan_jax
from sagan_jax.errors import UserError
from sagan_jax.metrics import (
    features,
    image_sets,
    measurable,
    protocols,
    scores,
    statistics_files,
)
from sagan_jax.metrics import weights as weights_lib
from sagan_jax.metrics.features import Extractor
from sagan_jax.metrics.image_sets import ImageSet
from sagan_jax.metrics.preprocessing import Batch
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.scores import Measured
from sagan_jax.metrics.statistics import Provenance, Statistics

Line = dict[str, Any]


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


def compare(request: Request, *, progress: bool = True) -> Line:
    """Returns the scores of generated images, with all that they depend on.

    What can be wrong with the request is said before an image is decoded.

    Raises:
      UserError: a set, a file or an option that cannot be.
    """
    protocol = protocols.protocol_of(request.protocol)
    labelled = "intra_fid" in measurable.asked_for(request.metrics)
    _check(request)
    real = _open_real(request, labelled)
    if image_sets.is_statistics(request.fake):
        raise UserError(
            f"FAKE={request.fake!r} holds statistics, which only REAL may be; give the "
            "generated images."
        )
    fake = image_sets.open_images(request.fake, "FAKE", labelled=labelled)
    weights = weights_lib.load(request.weights)
    tap = measurable.tap_of(request.tap, weights.taps)
    metrics, left_out = measurable.choose(
        request.metrics, real, fake, protocol=protocol, taps=weights.taps
    )
    names: list[str] = []
    real_labels = fake_labels = None
    if labelled and not isinstance(real, Statistics):
        real_labels, fake_labels, names = measurable.labels_of(
            real.classes or (), fake.classes or ()
        )
    by = Provenance(
        data_set=Path(request.fake).name,
        split="",
        preprocessing="RGB, not cropped, uint8",
        pipeline=protocol.pipeline,
        tap=tap,
        weights=weights.digest,
    )
    if isinstance(real, Statistics):
        real = measurable.as_alike(request.real, real, by, request.assume_alike)
    taps = [tap] + [protocol.logits] * ("is" in metrics and tap != protocol.logits)
    extractor = Extractor(
        weights, taps, pipeline=protocol.pipeline, batch_size=request.batch_size
    )
    reference, real_facts = _reference(
        request, real, real_labels, extractor, by, progress
    )
    rows, fake_pixels = _features("FAKE", fake, extractor, taps, progress)
    measured = Measured(
        features=rows[tap],
        provenance=by,
        logits=rows.get(protocol.logits) if "is" in metrics else None,
        labels=fake_labels,
    )
    numbers = scores.compute(
        reference,
        measured,
        metrics,
        protocol=protocol,
        frechet=weights_lib.metric_name(tap, weights),
    )
    line = {
        "protocol": protocol.name,
        "protocol_differs": _differences(protocol, fake.count),
        "time": round(time.time(), 3),
        "metrics": metrics,
        "left_out": left_out,
        **real_facts,
        "fake": request.fake,
        "fake_images": fake.count,
        "fake_pixels": fake_pixels,
        "fake_lossy": fake.lossy,
        "images": by.preprocessing,
        "tap": tap,
        "pipeline": protocol.pipeline,
        "weights": weights.digest,
        "weights_origin": weights.origin,
        "weights_public": weights.is_public,
        "network_precision": extractor.provenance["precision"],
        "batch_size": extractor.batch_size // jax.local_device_count(),
        **_versions(),
        **_named(numbers, names),
    }
    if request.json:
        with Path(request.json).expanduser().open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return line


def _open_real(request: Request, labelled: bool) -> ImageSet | Statistics:
    if not image_sets.is_statistics(request.real):
        return image_sets.open_images(request.real, "REAL", labelled=labelled)
    if request.save_statistics:
        raise UserError(
            f"REAL={request.real!r} holds statistics already; leave --save_statistics "
            "out."
        )
    return statistics_files.load(Path(request.real).expanduser())


def _reference(
    request: Request,
    real: ImageSet | Statistics,
    labels: NDArray[np.int64] | None,
    extractor: Extractor,
    by: Provenance,
    progress: bool,
) -> tuple[Measured | Statistics, Line]:
    """Returns the real side, and what a line says of it."""
    facts: Line = {"real": request.real}
    if isinstance(real, Statistics):
        return real, facts | {
            "real_images": real.n,
            "real_statistics": _digest(request.real),
            "real_assumed_alike": request.assume_alike,
        }
    rows, pixels = _features("REAL", real, extractor, [by.tap], progress)
    measured = Measured(
        features=rows[by.tap],
        provenance=dataclasses.replace(by, data_set=Path(request.real).name),
        labels=labels,
    )
    if request.save_statistics:
        place = Path(request.save_statistics).expanduser()
        whole = Statistics.of(measured.features, measured.provenance)
        statistics_files.save(place, whole)
    return measured, facts | {
        "real_images": real.count,
        "real_pixels": pixels,
        "real_lossy": real.lossy,
    }


def _features(
    field: str,
    images: ImageSet,
    extractor: Extractor,
    taps: Sequence[str],
    progress: bool,
) -> tuple[dict[str, NDArray[np.float32]], str]:
    """Returns features by tap, and the sha256 of all pixels in their order."""
    if progress:
        print(f"{field}: {images.count} images", file=sys.stderr)
    digest = hashlib.sha256()

    def hashed(batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            for image in batch:
                digest.update(f"{image.shape}".encode())
                digest.update(np.ascontiguousarray(image).data)
            yield batch

    # Many passes at a time, so that reading and computing overlap.
    size = extractor.batch_size * max(1, 64 // extractor.batch_size)
    found = features.extract(
        hashed(images.batches(size)),
        lambda batch: {
            tap: rows for tap, rows in extractor(batch).items() if tap in taps
        },
        total=images.count,
        progress=progress,
    )
    return found, digest.hexdigest()


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
        parent = Path(path).expanduser().parent
        if path and (Path(path).is_dir() or not os.access(parent, os.W_OK)):
            raise UserError(
                f"{option}={path!r} cannot be written; name a file in a folder that "
                "is there."
            )
    if request.save_statistics and not request.save_statistics.endswith(".npz"):
        raise UserError(
            f"save_statistics={request.save_statistics!r} would be taken for another "
            "kind; let it end in .npz."
        )


def _differences(protocol: Protocol, count: int) -> str:
    """Returns in what the numbers differ from those of the protocol's name."""
    found = [protocol.differs] if protocol.differs else []
    if count != protocol.fakes:
        found.append(f"{count} images instead of {protocol.fakes}")
    return "; ".join(found)


def _named(numbers: scores.Scores, names: Sequence[str]) -> scores.Scores:
    """Returns scores in which classes go by their names, not by numbers."""
    return {
        metric: {names[int(label)]: one for label, one in value.items()}
        if isinstance(value, dict)
        else value
        for metric, value in numbers.items()
    }


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()


def _versions() -> Line:
    device = jax.devices()[0]
    packages = ("jax", "jaxlib", "flax", "numpy", "pillow")
    return {
        "sagan_jax": sagan_jax.__version__,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.local_device_count(),
    }
