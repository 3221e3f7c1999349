"""Preprocessing: two pipelines from images of any size to the network's inputs.

Their features differ by several percent, so never compare statistics of one with those
of the other. Unlike jax.image.resize, neither antialiases. Both accept NumPy and JAX
arrays, and return the same type.
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
"""Images [N, H, W, 3], or a list of N images [H, W, 3] of any sizes."""

SIDE = 299
"""Pixels per side of the network's inputs."""


def check_images(images: Any) -> NDArray[np.uint8]:
    """Returns the images unchanged if they are uint8 [N, H, W, 3] with N >= 1.

    Raises:
      UserError: they are not; for floats, the message reports their range.
    """
    images = np.asarray(images)
    remedy = "pass uint8 [N, H, W, 3]; sagan_jax.pixels.encode converts from [-1, 1]."
    if images.dtype != np.uint8:
        wrong = f"images of dtype {images.dtype}"
        if np.issubdtype(images.dtype, np.floating) and images.size:
            low, high = images.min(), images.max()  # either is NaN if any value is
            if np.isnan(low):
                wrong += " hold NaN"
            elif low < -1 or high > 1:
                wrong += f" range from {low:g} to {high:g}, beyond [-1, 1]"
            else:
                wrong += " are not uint8 pixels"
        else:
            wrong += " are not uint8 pixels"
        raise UserError(f"{wrong}; {remedy}")
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(
            f"images of shape {images.shape} are empty or not [N, H, W, 3]; {remedy}"
        )
    return images


def check_batch(images: Batch) -> Batch:
    """Returns the images unchanged if they, or all images of a list, are valid.

    Raises:
      UserError: as in `check_images`.
    """
    if not isinstance(images, list) or not images:
        return check_images(images)
    for image in images:
        check_images(np.asarray(image)[None])
    return images


def as_rgb(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns uint8 images [N, H, W, 3]: grey is repeated, and alpha is dropped.

    The result is that of Pillow's conversion to RGB, which files of images go through.

    Args:
      images: uint8 [N, H, W, C]; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
    """
    channels = images.shape[-1]
    if channels == 3:
        return images
    return images[..., :3] if channels == 4 else images[..., :1].repeat(3, axis=-1)


def tf(images: Array) -> Array:
    """Returns (x - 128) / 128 for TF1's bilinear resize x: [N, 299, 299, 3].

    The range is [-1, 0.9921875]. The original FID and IS, and torch-fidelity, use this
    pipeline. Output pixel i is read at i * n / 299: the first pixels coincide, the last
    ones do not.
    """
    return (resize_tf(images) - 128.0) / 128.0


def pytorch(images: Array) -> Array:
    """Returns inputs [N, 299, 299, 3] in [-1, 1], as in pytorch-fid.

    Output pixel i is read at (i + 0.5) * n / 299 - 0.5, so the image borders coincide.
    """
    return resize_pytorch(images.astype(np.float32) / 255.0) * 2.0 - 1.0


PIPELINES: dict[str, Callable[[Array], Array]] = {"tf": tf, "pytorch": pytorch}
"""Pipelines by name; the name is recorded with every number."""


def resize_tf(images: Array, side: int = SIDE) -> Array:
    """Returns [N, side, side, C] float32: bilinear, pixel i read at i * n / side.

    An image that is already side x side does not change.
    """

    def positions(length: int) -> NDArray[np.float32]:
        # In float32, as in TF1; float64 would change the features.
        return np.arange(side, dtype=np.float32) * np.float32(length / side)

    return _bilinear(images, positions)


def resize_pytorch(images: Array) -> Array:
    """Returns [N, 299, 299, C] float32: bilinear with half-pixel centres."""

    def positions(length: int) -> NDArray[np.float32]:
        scale = np.float32(length / SIDE)
        centres = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
        return np.maximum(centres * scale - np.float32(0.5), np.float32(0))

    return _bilinear(images, positions)


def _bilinear(images: Array, positions: Callable[[int], NDArray[np.float32]]) -> Array:
    """Returns images interpolated at positions(length) along rows and columns."""
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
