"""Features of uint8 images: the network on all local devices, and their collection."""

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray
from tqdm import tqdm

from sagan_jax.errors import UserError
from sagan_jax.extractors import host_resize, inception, inception_layers, preprocessing
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.extractors.npy_file import NpyFile
from sagan_jax.extractors.preprocessing import Batch

A = TypeVar("A", bound="Accumulator")
Features = dict[str, NDArray[np.float32]]
FeatureFunction = Callable[[Any], Mapping[str, NDArray[Any]]]
"""From a Batch to {name: [n, d]}: an Extractor, or what can stand in for it."""


class Accumulator(Protocol):
    """What features are added to, such as statistics.Statistics."""

    def add(self, features: NDArray[Any], /) -> Self:
        """Returns itself, or one in its place, with features [n, d] added."""


class Extractor:
    """Features at taps of the Inception network, of uint8 images of any size and count.

    Images are taken in batches of one shape, the last one filled up, so that the
    network is compiled once; the resize is once for each size, unless a batch is a list
    of several, which are resized on the host. Each device takes `batch_size` of them at
    a time, by the same program whatever the other devices do: their number changes no
    feature.

    Attributes:
      taps: names of the features returned.
      batch_size: images in a pass, on all devices together.
      provenance: what the features depend on: 'pipeline', 'weights' (their digest),
        'origin' (sha256 of the file they were converted from, or ''), 'taps' and
        'precision'.
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
        """Puts the network on its devices.

        Args:
          weights: of the network; they may suffice for some taps only.
          taps: of inception_layers.TAPS.
          pipeline: 'tf', as torch-fidelity and the original FID; 'pytorch', as
            pytorch-fid; or, on the host, 'pil_bilinear' or 'pil_bicubic'.
          batch_size: images in a pass on each device; 0: 4 on a CPU, which is slower
            with many more, and 128 on an accelerator.
          devices: of this process; None: all of them.

        Raises:
          UserError: an unknown tap or pipeline, or a tap that the weights lack.
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
        self._split = NamedSharding(mesh, PartitionSpec("images"))
        copied = NamedSharding(mesh, PartitionSpec())
        self._variables = jax.device_put({"params": params}, copied)
        # Two programs: sizes of images differ, and the network takes long to compile.
        self._prepare = None
        if pipeline in preprocessing.PIPELINES:
            self._prepare = jax.jit(
                preprocessing.PIPELINES[pipeline], out_shardings=self._split
            )
        self._network = jax.jit(
            inception.Inception(self.taps).apply, out_shardings=self._split
        )

    def __call__(self, images: Batch) -> Features:
        """Returns {tap: float32 [n, d]} of images uint8 [n, H, W, 3], or of a list.

        Raises:
          UserError: images of another kind.
        """
        images = preprocessing.check_batch(images)
        parts: list[Features] = []
        running = None
        for begin in range(0, len(images), self.batch_size):
            # One batch computes while the one before is fetched.
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
        missing = self.batch_size - len(images)
        if missing:
            images = np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0)))
        return jax.device_put(images, self._split)


def extract(
    batches: Iterable[Batch],
    extractor: FeatureFunction,
    *,
    total: int | None = None,
    keep: str | Path | None = None,
    progress: bool = True,
) -> dict[str, NDArray[Any]]:
    """Returns {name: [N, d]}, the features of all images, in their order.

    Args:
      batches: of uint8 images [n, H, W, 3], or lists of them in several sizes.
      extractor: from images to features.
      total: take exactly so many images.
      keep: a directory, not there yet, for a file <name>.npy of each; what is returned
        is then mapped from the disk, not held in memory. It appears when it is whole.
      progress: whether to show a bar.

    Raises:
      UserError: fewer images than `total`, or none; features that are not one finite
        row for each image; `keep` exists or cannot be written.
    """
    if keep is None:
        lists = accumulate(
            batches, extractor, lambda *_: Rows(), total=total, progress=progress
        )
        return {name: rows.array() for name, rows in lists.items()}
    keep = Path(keep).expanduser()
    with _whole(keep) as beside, contextlib.ExitStack() as opened:

        def file(name: str, d: int) -> NpyFile:
            return opened.enter_context(NpyFile(beside / f"{name}.npy", d))

        names = tuple(
            accumulate(batches, extractor, file, total=total, progress=progress)
        )
    return {name: np.load(keep / f"{name}.npy", mmap_mode="r") for name in names}


def accumulate(
    batches: Iterable[Batch],
    extractor: FeatureFunction,
    start: Callable[[str, int], A],
    *,
    total: int | None = None,
    progress: bool = True,
) -> dict[str, A]:
    """Returns {name: what start(name, d).add(features [n, d]) of all batches became}.

    Only one batch is in memory at a time: `start` may return statistics, a file, or
    rows in memory. Other arguments and errors are those of `extract`.
    """
    found: dict[str, A] = {}
    count = 0
    with tqdm(
        total=total, desc="features", unit="image", disable=not progress, smoothing=0.1
    ) as bar:
        for images in _exactly(batches, total):
            features = extractor(images)
            for name, rows in features.items():
                _check(name, rows, len(images))
                if name not in found:
                    found[name] = start(name, rows.shape[1])
                found[name] = found[name].add(rows)
            count += len(images)
            bar.update(len(images))
    if count == 0 or (total is not None and count < total):
        wanted = "at least one is needed" if total is None else f"not total={total}"
        raise UserError(
            f"batches: they hold {count} images, {wanted}; pass more, or ask for fewer."
        )
    return found


class Rows:
    """Features kept in memory."""

    def __init__(self) -> None:
        self._parts: list[NDArray[Any]] = []

    def add(self, features: NDArray[Any], /) -> Self:
        """Returns itself with features [n, d] added."""
        self._parts.append(features)
        return self

    def array(self) -> NDArray[Any]:
        """Returns all features [N, d]."""
        return np.concatenate(self._parts)


def _exactly(batches: Iterable[Batch], total: int | None) -> Iterator[Batch]:
    """Yields batches until there are `total` images, the last one cut."""
    left = math.inf if total is None else total
    for images in batches:
        images = preprocessing.check_batch(images)
        yield images if len(images) <= left else images[: int(left)]
        left -= len(images)
        if left <= 0:
            return  # before another batch is made in vain


def _check(name: str, rows: NDArray[Any], n: int) -> None:
    if rows.ndim != 2 or len(rows) != n:
        raise UserError(
            f"features {name!r} of shape {rows.shape} are not one row for each of {n} "
            "images; let the extractor return [n, d]."
        )
    if not np.isfinite(rows).all():
        raise UserError(
            f"features {name!r} hold a number that is not finite; look at the images "
            "and at the weights of the extractor."
        )


@contextlib.contextmanager
def _whole(directory: Path) -> Iterator[Path]:
    """Gives a directory beside, which takes the name of `directory` at the end."""
    if directory.exists():
        raise UserError(
            f"keep={str(directory)!r} exists; remove it or name another directory."
        )
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.mkdtemp(dir=directory.parent, suffix=".tmp")
    except OSError as error:
        raise UserError(
            f"keep={str(directory)!r} cannot be written ({error.strerror}); name a "
            "directory in another place."
        ) from error
    try:
        yield Path(beside)
        os.replace(beside, directory)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
