"""Three ways from images of any size to 224 px, normalised by ImageNet's moments.

Published distances in the space of DINOv2 differ in the resize, so the name of the
pipeline is part of every result. `resize_bicubic` accepts NumPy and JAX arrays, and
returns the same type.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray
from PIL import Image

from sagan_jax.extractors import preprocessing

Array = Any  # numpy.ndarray or jax.Array
Inputs = NDArray[np.float32]

SIDE = 224
"""Pixels per side of the network's inputs."""

_MEAN = np.array([[[[0.485, 0.456, 0.406]]]], np.float32)
_STD = np.array([[[[0.229, 0.224, 0.225]]]], np.float32)
_CUBIC = -0.5  # of bicubic resizes that antialias, in Pillow and PyTorch


def torch_bicubic(images: Array) -> Array:
    """Returns normalised inputs by PyTorch's antialiased bicubic resize in float32.

    The result is neither rounded nor clipped, so it may leave [0, 255] at edges.

    Reference: NVlabs/edm2:calculate_metrics.py, resize_mode='torch', its default.
    """
    return _normalised(resize_bicubic(images))


def tf1_bilinear(images: Array) -> Array:
    """Returns normalised inputs by TF1's bilinear resize, which does not antialias.

    Reference: toshas/torch-fidelity:torch_fidelity/feature_extractor_dinov2.py.
    """
    return _normalised(preprocessing.resize_tf(images, SIDE))


def pil_bicubic(image: NDArray[np.uint8]) -> Inputs:
    """Returns the normalised input [224, 224, 3] of one image, resized by Pillow.

    The resized image is uint8, that is, rounded and clipped.

    Reference: layer6ai-labs/dgm-eval:dgm_eval/resizer.py; NVlabs/edm2:
    calculate_metrics.py, resize_mode='pil'.
    """
    size = (SIDE, SIDE)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    inputs: Inputs = _normalised(np.asarray(resized)[None])[0]
    return inputs


COMPILED: dict[str, Callable[[Array], Array]] = {
    "torch_bicubic": torch_bicubic,
    "tf1_bilinear": tf1_bilinear,
}
"""Pipelines for batches [N, H, W, 3], which can be compiled."""

ON_HOST: dict[str, Callable[[NDArray[np.uint8]], Inputs]] = {"pil_bicubic": pil_bicubic}
"""Pipelines for one image [H, W, 3]."""

PIPELINES = (*ON_HOST, *COMPILED)
"""All pipelines; the first one is the default."""


def one(image: NDArray[np.uint8], pipeline: str) -> Inputs:
    """Returns the input [224, 224, 3] of one image, computed on the host."""
    if pipeline in ON_HOST:
        return ON_HOST[pipeline](image)
    inputs: Inputs = COMPILED[pipeline](image[None])[0]
    return inputs


def resize_bicubic(images: Array) -> Array:
    """Returns [N, 224, 224, C] float32: bicubic, antialiased when shrinking."""
    images = images.astype(np.float32)
    _, height, width, _ = images.shape
    rows, columns = _matrix(height), _matrix(width)
    if isinstance(images, jax.Array):
        product = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
        images = product("jw,nhwc->nhjc", columns, images)
        return product("ih,nhjc->nijc", rows, images)
    images = np.einsum("jw,nhwc->nhjc", columns, images, optimize=True)
    return np.einsum("ih,nhjc->nijc", rows, images, optimize=True)


def _matrix(length: int) -> NDArray[np.float32]:
    """Returns [224, length], the weights of the pixels that each output is the sum of.

    The kernel is stretched by the scale when shrinking, cut at the border, and its
    weights are normalised to 1.

    Reference: python-pillow/Pillow:src/libImaging/Resample.c, `precompute_coeffs`.
    """
    scale = length / SIDE
    stretch = max(scale, 1.0)
    centres = (np.arange(SIDE) + 0.5) * scale
    first = np.maximum((centres - 2 * stretch + 0.5).astype(int), 0)
    beyond = np.minimum((centres + 2 * stretch + 0.5).astype(int), length)
    pixels = np.arange(length)[None]
    inside = (pixels >= first[:, None]) & (pixels < beyond[:, None])
    weights = inside * _cubic((pixels + 0.5 - centres[:, None]) / stretch)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns Keys' cubic kernel at distances x, 0 beyond 2."""
    a, x = _CUBIC, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _normalised(images: Array) -> Array:
    """Returns (x / 255 - mean) / std, float32, for x in [0, 255]."""
    return (images.astype(np.float32) / np.float32(255) - _MEAN) / _STD
