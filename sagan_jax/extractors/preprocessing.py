"""How images of any size become the network's inputs: two pipelines, two numbers.

Their features differ by percents, so that statistics of one must never meet those of
the other. Neither smooths before it shrinks an image, unlike jax.image.resize.
Both take numpy and jax arrays alike and return the kind they were given.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError

Array = Any  # numpy.ndarray or jax.Array
Batch = NDArray[np.uint8] | list[NDArray[np.uint8]]
"""Images [N, H, W, 3], or a list of N images [H, W, 3], each of its own size."""

SIDE = 299
"""Pixels per side of the network's inputs."""


def check_images(images: Any) -> NDArray[np.uint8]:
    """Returns images as they are, if they are uint8 [N, H, W, 3] and at least one.

    Raises:
      UserError: anything else; what is wrong with floats is said too.
    """
    images = np.asarray(images)
    remedy = "pass uint8 [N, H, W, 3]; sagan_jax.pixels.encode makes it of [-1, 1]."
    if images.dtype != np.uint8:
        wrong = f"images of dtype {images.dtype}"
        if np.issubdtype(images.dtype, np.floating) and images.size:
            low, high = images.min(), images.max()  # either is NaN if any value is
            if np.isnan(low):
                wrong += " hold NaN"
            elif low < -1 or high > 1:
                wrong += f" range from {low:g} to {high:g}, beyond [-1, 1]"
            else:
                wrong += " are not stored pixels"
        else:
            wrong += " are not stored pixels"
        raise UserError(f"{wrong}; {remedy}")
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(
            f"images of shape {images.shape} are not [N, H, W, 3] with pixels in them; "
            f"{remedy}"
        )
    return images


def check_batch(images: Batch) -> Batch:
    """Returns images as they are, if `check_images` lets each size of them pass.

    Raises:
      UserError: as there.
    """
    if not isinstance(images, list) or not images:
        return check_images(images)
    for image in images:
        check_images(np.asarray(image)[None])
    return images


def tf(images: Array) -> Array:
    """Returns [N, 299, 299, 3] in [-1, 0.9921875]: (x - 128) / 128, resized as by TF1.

    So do the original FID and IS, and torch-fidelity. Output i is read at i * n / 299:
    first pixels coincide, last ones do not.
    """
    return (resize_tf(images) - 128.0) / 128.0


def pytorch(images: Array) -> Array:
    """Returns [N, 299, 299, 3] in [-1, 1], as pytorch-fid makes them.

    Output i is read at (i + 0.5) * n / 299 - 0.5, so that the borders coincide.
    """
    return resize_pytorch(images.astype(np.float32) / 255.0) * 2.0 - 1.0


PIPELINES: dict[str, Callable[[Array], Array]] = {"tf": tf, "pytorch": pytorch}
"""By name, which is part of every number that comes of it."""


def resize_tf(images: Array) -> Array:
    """Returns [N, 299, 299, C] float32: bilinear from whole pixels, 299 as it was."""

    def positions(length: int) -> NDArray[np.float32]:
        # TF1 computes them in float32, and the features show it.
        return np.arange(SIDE, dtype=np.float32) * np.float32(length / SIDE)

    return _bilinear(images, positions)


def resize_pytorch(images: Array) -> Array:
    """Returns [N, 299, 299, C] float32: bilinear, between half-pixel centres."""

    def positions(length: int) -> NDArray[np.float32]:
        scale = np.float32(length / SIDE)
        centres = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
        return np.maximum(centres * scale - np.float32(0.5), np.float32(0))

    return _bilinear(images, positions)


def _bilinear(images: Array, positions: Callable[[int], NDArray[np.float32]]) -> Array:
    """Returns images read at positions(length) of their rows and columns."""
    take = jnp.take if isinstance(images, jax.Array) else np.take
    images = images.astype(np.float32)
    for axis in (2, 1):  # columns first, as TF1 does
        where = positions(images.shape[axis])
        low = np.floor(where).astype(np.int32)
        high = np.minimum(low + 1, images.shape[axis] - 1)
        share = (where - low).astype(np.float32).reshape((-1,) + (1,) * (3 - axis))
        first = take(images, low, axis=axis)
        second = take(images, high, axis=axis)
        images = first + (second - first) * share[(None,) * (4 - share.ndim)]
    return images
