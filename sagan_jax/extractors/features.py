"""Features of uint8 images: runs the network on all local devices."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray
from tqdm import tqdm

from sagan_jax.errors import UserError
from sagan_jax.extractors import host_resize, inception, inception_layers, preprocessing
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.extractors.preprocessing import Batch

Features = dict[str, NDArray[np.float32]]
FeatureFunction = Callable[[Any], Mapping[str, NDArray[Any]]]
"""Maps a Batch to {name: [n, d]}; usually an Extractor."""


class Extractor:
    """Computes features at taps of the Inception network from uint8 images of any size.

    The network is compiled once: all passes have the same shape, and the last one is
    padded. The resize is compiled once per image size; lists of images with several
    sizes are resized on the host. Each device runs the same program on its own images,
    so the number of devices does not change the features.

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
        self.taps = tuple(taps)
        params = inception_layers.parameters(weights.arrays, self.taps)
        devices = list(devices or jax.local_devices())
        each = batch_size or (4 if devices[0].platform == "cpu" else 128)
        self.batch_size = each * len(devices)
        self.provenance: dict[str, Any] = {
            "pipeline": pipeline,
            "weights": weights.digest,
            "origin": weights.origin,
            "taps": list(self.taps),
            "precision": "highest",
        }
        mesh = Mesh(np.asarray(devices), ("images",), axis_types=(AxisType.Auto,))
        # A batch is split over devices; the weights are copied to each.
        self._split = NamedSharding(mesh, PartitionSpec("images"))
        copied = NamedSharding(mesh, PartitionSpec())
        self._variables = jax.device_put({"params": params}, copied)
        # Two programs: image sizes vary, and the network takes long to compile.
        self._prepare = None
        if pipeline in preprocessing.PIPELINES:
            self._prepare = jax.jit(
                preprocessing.PIPELINES[pipeline], out_shardings=self._split
            )
        self._network = jax.jit(
            inception.Inception(self.taps).apply, out_shardings=self._split
        )

    def __call__(self, images: Batch) -> Features:
        """Returns {tap: float32 [n, d]} for uint8 images [n, H, W, 3], or for a list.

        Raises:
          UserError: invalid images.
        """
        images = preprocessing.check_batch(images)
        parts: list[Features] = []
        running = None
        for begin in range(0, len(images), self.batch_size):
            # Fetch a pass while the next one computes.
            started = self._start(images[begin : begin + self.batch_size])
            if running is not None:
                parts.append(jax.device_get(running))
            running = started
        parts.append(jax.device_get(running))
        return {
            tap: np.concatenate([part[tap] for part in parts])[: len(images)]
            for tap in self.taps
        }

    def _start(self, images: Batch) -> dict[str, jax.Array]:
        if self._prepare is None or isinstance(images, list):
            pipeline = self.provenance["pipeline"]
            inputs = self._put(host_resize.prepare(images, pipeline))
        else:
            inputs = self._prepare(self._put(images))
        return self._network(self._variables, inputs)

    def _put(self, images: NDArray[Any]) -> jax.Array:
        # Padding keeps one shape, and with it one compiled program.
        missing = self.batch_size - len(images)
        if missing:
            images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        return jax.device_put(images, self._split)


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
