"""The one convention between stored pixels and network images.

uint8 0..255 outside of the networks, float in [-1, 1] inside. Both functions take
numpy and jax arrays alike and return the kind they were given.
"""

from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or jax.Array: this file imports no jax


def decode(images: Array, dtype: Any = np.float32) -> Array:
    """Returns uint8 images as floats in [-1, 1]: 0 -> -1, 255 -> 1 exactly."""
    return images.astype(dtype) * (2.0 / 255.0) - 1.0


def encode(images: Array) -> Array:
    """Returns images in [-1, 1] as uint8, rounded to the nearest level.

    Values outside of [-1, 1] are clipped. The official release truncates its previews
    (`brain-research/self-attention-gan:model.py`), which lowers every level by half a
    step on average; rounding makes encode(decode(x)) == x for all 256 levels.
    """
    return ((images + 1.0) * 127.5 + 0.5).clip(0.0, 255.0).astype(np.uint8)
