"""Features of uint8 images: the Inception network, and the loop over all images."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sagan_jax.errors import UserError
from sagan_jax.extractors import host_resize, inception, inception_layers, preprocessing
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.extractors.preprocessing import Batch
from sagan_jax.extractors.sharded import Sharded

FeatureFunction = Callable[[Any], Mapping[str, NDArray[Any]]]
"""Maps a Batch to {name: [n, d]}; usually an Extractor."""


class Extractor(Sharded):
    """Computes features at taps of the Inception network from uint8 images of any size.

    Attributes:
      taps: names of the features.
      batch_size: images per pass, over all devices.
      provenance: the dependencies of the features: 'pipeline', 'weights' (digest),
        'origin' (SHA-256 of the file that the weights were converted from, or ''),
        'taps' and 'precision'.
    """

    def __init__(
        self,
        weights: Weights,
        taps: Sequence[str] = ("2048",),
        *,
        pipeline: str = "tf",
        batch_size: int = 0,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Copies the network to its devices.

        Args:
          weights: the weights; they must cover `taps`.
          taps: names from inception_layers.TAPS.
          pipeline: 'tf', as in torch-fidelity and the original FID; 'pytorch', as in
            pytorch-fid; or 'pil_bilinear' or 'pil_bicubic', which run on the host.
          batch_size: images per pass on each device; 0 means 4 on a CPU, where larger
            batches are slower, and 128 on an accelerator.
          devices: devices of this process; None means all of them.

        Raises:
          UserError: an unknown tap or pipeline, or a tap that the weights do not cover.
        """
        known = (*preprocessing.PIPELINES, *host_resize.PIPELINES)
        if pipeline not in known:
            raise UserError(
                f"pipeline={pipeline!r} is not known; choose among {', '.join(known)}."
            )
        params = inception_layers.parameters(weights.arrays, taps)
        super().__init__(
            inception.Inception(tuple(taps)).apply,
            taps=taps,
            provenance={
                "pipeline": pipeline,
                "weights": weights.digest,
                "origin": weights.origin,
                "taps": list(taps),
                "precision": "highest",
            },
            on_host=functools.partial(host_resize.one, pipeline=pipeline),
            compiled=preprocessing.PIPELINES.get(pipeline),
            batch_size=batch_size,
            on_cpu=4,
            on_accelerator=128,
            devices=devices,
        )
        self.hold(self.copied(params))


def extract(
    batches: Iterable[Batch],
    extractor: FeatureFunction,
    *,
    total: int | None = None,
    progress: bool = True,
) -> dict[str, NDArray[Any]]:
    """Returns the features {name: [N, d]} of all images, in order.

    Args:
      batches: uint8 images [n, H, W, 3] each, or lists of images of several sizes.
      extractor: maps images to features.
      total: number of images to use; None uses all of them.
      progress: whether to show a progress bar.

    Raises:
      UserError: no images, or fewer than `total`; or features that are not one finite
        row per image.
    """
    parts: dict[str, list[NDArray[Any]]] = {}
    count = 0
    with tqdm(
        total=total, desc="features", unit="image", disable=not progress, smoothing=0.1
    ) as bar:
        for images in _exactly(batches, total):
            for name, rows in extractor(images).items():
                _check(name, rows, len(images))
                parts.setdefault(name, []).append(rows)
            count += len(images)
            bar.update(len(images))
    if count == 0 or (total is not None and count < total):
        needed = "at least one is needed" if total is None else f"total={total}"
        raise UserError(
            f"batches hold {count} images, but {needed}; pass more images, or reduce "
            "`total`."
        )
    return {name: np.concatenate(found) for name, found in parts.items()}


def _exactly(batches: Iterable[Batch], total: int | None) -> Iterator[Batch]:
    """Yields checked batches up to `total` images; the last batch is cut to fit."""
    left = math.inf if total is None else total
    for images in batches:
        images = preprocessing.check_batch(images)
        yield images if len(images) <= left else images[: int(left)]
        left -= len(images)
        if left <= 0:
            return  # before the next batch is decoded


def _check(name: str, rows: NDArray[Any], n: int) -> None:
    if rows.ndim != 2 or len(rows) != n:
        raise UserError(
            f"features {name!r} of shape {rows.shape} are not one row for each of {n} "
            "images; the extractor must return [n, d]."
        )
    if not np.isfinite(rows).all():
        raise UserError(
            f"features {name!r} hold NaN or infinite values; check the images and the "
            "weights of the extractor."
        )
