"""Two sets of images compared: scores, with what is needed to make them again."""

import dataclasses
import hashlib
import importlib.metadata
import json
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
from sagan_jax.extractors import features, inception_weights
from sagan_jax.extractors.features import Extractor
from sagan_jax.extractors.preprocessing import Batch
from sagan_jax.metrics import scores, statistics_files
from sagan_jax.metrics.image_sets import ImageSet
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.request import Plan, Request, name_of, plan
from sagan_jax.metrics.scores import Measured
from sagan_jax.metrics.statistics import Statistics

Line = dict[str, Any]


def compare(request: Request, *, progress: bool = True) -> Line:
    """Returns the scores of generated images, with all that they depend on.

    What can be wrong with the request is said before an image is decoded.

    Raises:
      UserError: a set, a file or an option that cannot be.
    """
    planned = plan(request)
    protocol, made = planned.protocol, planned.made
    extractor = Extractor(
        planned.weights,
        planned.taps,
        pipeline=protocol.pipeline,
        batch_size=request.batch_size,
    )
    real, real_facts = _real(planned, extractor, progress)
    fake, fake_facts = _fake(planned, extractor, progress)
    numbers = scores.compute(
        real,
        fake,
        planned.metrics,
        protocol=protocol,
        frechet=inception_weights.metric_name(made.tap, planned.weights),
    )
    line = {
        "protocol": protocol.name,
        "protocol_differs": _differences(protocol, planned.fake.count),
        "time": round(time.time(), 3),
        "metrics": planned.metrics,
        "left_out": planned.left_out,
        **real_facts,
        **fake_facts,
        "images": made.preprocessing,
        "tap": made.tap,
        "pipeline": made.pipeline,
        "weights": made.weights,
        "weights_origin": planned.weights.origin,
        "weights_public": planned.weights.is_public,
        # 'precision' is a score.
        "network_precision": extractor.provenance["precision"],
        "batch_size": extractor.batch_size // jax.local_device_count(),
        **_versions(),
        **_named(numbers, planned.class_names),
    }
    if request.json:
        with Path(request.json).expanduser().open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return line


def _real(
    planned: Plan, extractor: Extractor, progress: bool
) -> tuple[Measured | Statistics, Line]:
    """Returns the reference, and what a line says of it."""
    request, real, tap = planned.request, planned.real, planned.made.tap
    facts: Line = {"real": request.real}
    if isinstance(real, Statistics):
        content = Path(request.real).expanduser().read_bytes()
        return real, facts | {
            "real_images": real.n,
            "real_statistics": hashlib.sha256(content).hexdigest(),
            "real_assumed_alike": planned.assumed_alike,
        }
    rows, pixels = _features("REAL", real, extractor, [tap], progress)
    measured = Measured(
        features=rows[tap],
        provenance=dataclasses.replace(planned.made, data_set=name_of(request.real)),
        labels=planned.labels[0] if planned.labels else None,
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


def _fake(planned: Plan, extractor: Extractor, progress: bool) -> tuple[Measured, Line]:
    """Returns the generated images, measured, and what a line says of them."""
    fake = planned.fake
    rows, pixels = _features("FAKE", fake, extractor, planned.taps, progress)
    measured = Measured(
        features=rows[planned.made.tap],
        provenance=planned.made,
        logits=rows[planned.protocol.logits] if "is" in planned.metrics else None,
        labels=planned.labels[1] if planned.labels else None,
    )
    return measured, {
        "fake": planned.request.fake,
        "fake_images": fake.count,
        "fake_pixels": pixels,
        "fake_lossy": fake.lossy,
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
