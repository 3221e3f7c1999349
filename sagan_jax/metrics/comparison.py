"""The comparison of two sets of images: scores, with all that they depend on."""

import dataclasses
import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import naming
from sagan_jax.extractors import features
from sagan_jax.extractors.encoders import Extractor
from sagan_jax.extractors.preprocessing import Batch
from sagan_jax.files import json_lines, paths
from sagan_jax.metrics import scores, statistics_files
from sagan_jax.metrics.image_sets import ImageSet
from sagan_jax.metrics.measured import Measured
from sagan_jax.metrics.plan import Plan, Request, name_of, plan
from sagan_jax.metrics.statistics import Statistics
from sagan_jax.runtime import provenance

Line = dict[str, Any]


def compare(request: Request, *, progress: bool = True) -> Line:
    """Returns the scores of generated images, with all that they depend on.

    The request is checked before any image is decoded. The line is appended to
    `request.json`, if given.

    Raises:
      UserError: a set, a file or an option that is invalid.
    """
    planned = plan(request)
    protocol, made, encoder = planned.protocol, planned.made, planned.encoder
    extractor = encoder.make(
        planned.weights,
        planned.taps,
        pipeline=made.pipeline,
        batch_size=request.batch_size,
    )
    real, real_facts = _real(planned, extractor, progress)
    fake, fake_facts = _fake(planned, extractor, progress)
    numbers = scores.compute(
        real,
        fake,
        planned.metrics,
        protocol=protocol,
        frechet=encoder.metric_name(made.tap, planned.weights),
        label=encoder.label,
        kid_kernel=request.kid_kernel,
    )
    line = {
        "protocol": protocol.name,
        "protocol_differs": _differences(planned),
        "time": round(time.time(), 3),
        "metrics": planned.metrics,
        "left_out": planned.left_out,
        **scores.settings(planned.metrics, request.kid_kernel),
        **real_facts,
        **fake_facts,
        "images": made.preprocessing,
        "encoder": made.encoder,
        "features": fake.features.shape[1],
        "tap": made.tap,
        "pipeline": made.pipeline,
        "weights": made.weights,
        "weights_origin": planned.weights.origin,
        "weights_public": planned.weights.is_public,
        # The key 'precision' is taken by the score.
        "network_precision": extractor.provenance["precision"],
        "batch_size": extractor.batch_size // jax.local_device_count(),
        **provenance.facts(),
        **_with_class_names(numbers, planned.class_names),
    }
    if request.json:
        json_lines.append(paths.local(request.json), line)
    return line


def _real(
    planned: Plan, extractor: Extractor, progress: bool
) -> tuple[Measured | Statistics, Line]:
    """Returns the reference, and the facts about it."""
    request, real, tap = planned.request, planned.real, planned.made.tap
    facts: Line = {"real": request.real}
    if isinstance(real, Statistics):
        content = paths.local(request.real).read_bytes()
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
        statistics_files.save(
            paths.local(request.save_statistics),
            Statistics.of(measured.features, measured.provenance),
        )
    return measured, facts | {
        "real_images": real.count,
        "real_pixels": pixels,
        "real_lossy": real.lossy,
    }


def _fake(planned: Plan, extractor: Extractor, progress: bool) -> tuple[Measured, Line]:
    """Returns the generated images as the network sees them, and facts about them."""
    fake = planned.fake
    rows, pixels = _features("FAKE", fake, extractor, planned.taps, progress)
    measured = Measured(
        features=rows[planned.made.tap],
        provenance=planned.made,
        logits=rows[planned.protocol.logits] if planned.needs_logits else None,
        labels=planned.labels[1] if planned.labels else None,
    )
    return measured, {
        "fake": planned.request.fake,
        "fake_images": fake.count,
        "fake_pixels": pixels,
        "fake_lossy": fake.lossy,
    }


def _features(
    side: str,
    images: ImageSet,
    extractor: Extractor,
    taps: Sequence[str],
    progress: bool,
) -> tuple[dict[str, NDArray[np.float32]], str]:
    """Returns features by tap, and the SHA-256 of all pixels in order."""
    if progress:
        print(f"{side}: {images.count} images", file=sys.stderr)
    digest = hashlib.sha256()

    def hashed(batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            for image in batch:
                digest.update(f"{image.shape}".encode())  # pixels alone are ambiguous
                digest.update(np.ascontiguousarray(image).data)
            yield batch

    # Several passes per batch, so that reading overlaps with computing.
    size = extractor.batch_size * max(1, 64 // extractor.batch_size)
    with naming(side, images.path):
        # REAL has no use for logits, which the extractor computes for FAKE.
        found = features.extract(
            hashed(images.batches(size)),
            lambda batch: {
                tap: rows for tap, rows in extractor(batch).items() if tap in taps
            },
            total=images.count,
            progress=progress,
        )
    return found, digest.hexdigest()


def _differences(planned: Plan) -> str:
    """Returns how this comparison differs from the evaluator of the protocol."""
    protocol, count = planned.protocol, planned.fake.count
    found = protocol.differences(planned.encoder, planned.made.pipeline)
    if count != protocol.fakes:
        found.append(f"{count} images instead of {protocol.fakes}")
    return "; ".join(found)


def _with_class_names(numbers: scores.Scores, names: Sequence[str]) -> scores.Scores:
    """Returns scores in which classes have names instead of labels."""
    return {
        metric: {names[int(label)]: one for label, one in value.items()}
        if isinstance(value, dict)
        else value
        for metric, value in numbers.items()
    }
