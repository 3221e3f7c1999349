"""Preprocessing on the host, image by image, in threads.

It serves two purposes. Some evaluators resize with Pillow, whose filters antialias.
And for images of many sizes, the resizes of preprocessing.py would be compiled once per
size; here NumPy does the same arithmetic.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sagan_jax.extractors import preprocessing
from sagan_jax.extractors.preprocessing import SIDE, Batch

Inputs = NDArray[np.float32]


def prepare(images: Batch, pipeline: str) -> Inputs:
    """Returns inputs of the Inception network, [n, 299, 299, 3].

    Args:
      images: uint8 images [n, H, W, 3], or a list of n images [H, W, 3] of any sizes.
      pipeline: a name from PIPELINES or preprocessing.PIPELINES.
    """
    return in_threads(images, functools.partial(one, pipeline=pipeline))


def one(image: NDArray[np.uint8], pipeline: str) -> Inputs:
    """Returns the input [299, 299, 3] of one image; see `prepare`."""
    if pipeline in PIPELINES:
        return PIPELINES[pipeline](image)
    inputs: Inputs = preprocessing.PIPELINES[pipeline](image[None])[0]
    return inputs


def in_threads(
    images: Batch, prepare_one: Callable[[NDArray[np.uint8]], Inputs]
) -> Inputs:
    """Returns the inputs [n, S, S, 3] of n images, each made by `prepare_one`."""
    # NumPy and Pillow release the GIL while they work.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return np.stack(list(pool.map(prepare_one, images)))


def pil_bilinear(image: NDArray[np.uint8]) -> Inputs:
    """Returns x / 127.5 - 1 for Pillow's bilinear resize x: [299, 299, 3] in [-1, 1].

    Reference: POSTECH-CVLab/PyTorch-StudioGAN:src/utils/resize.py, 'friendly', and its
    src/metrics/preparation.py.
    """
    return _resize(image, Image.Resampling.BILINEAR) / np.float32(127.5) - np.float32(1)


def pil_bicubic(image: NDArray[np.uint8]) -> Inputs:
    """Returns (x - 128) / 128 for Pillow's bicubic resize x: [299, 299, 3].

    The range is [-1, 0.9921875].

    Reference: GaParmar/clean-fid:cleanfid/resize.py and
    cleanfid/inception_torchscript.py.
    """
    return (_resize(image, Image.Resampling.BICUBIC) - np.float32(128)) / np.float32(
        128
    )


PIPELINES: dict[str, Callable[[NDArray[np.uint8]], Inputs]] = {
    "pil_bilinear": pil_bilinear,
    "pil_bicubic": pil_bicubic,
}
"""Pipelines by name; each maps one image [H, W, 3], and has no compiled version."""


def _resize(image: NDArray[np.uint8], filter_: Image.Resampling) -> Inputs:
    """Returns [299, 299, 3] in [0, 255], not rounded to integers."""
    channels = [
        np.asarray(
            Image.fromarray(image[..., channel].astype(np.float32)).resize(
                (SIDE, SIDE), filter_
            )
        )
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1).clip(0, 255)  # bicubic overshoots at edges
