"""Inputs of the network made on the host, image by image, in threads.

There are two reasons for it. Some evaluators resize by Pillow, whose filters smooth
before they shrink. And images of many sizes would have the compiled resizes of
preprocessing.py compiled for each of them: here the same arithmetic is done by NumPy.
"""

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
    """Returns inputs [n, 299, 299, 3] of n images, each of its own size.

    Args:
      images: uint8 [n, H, W, 3], or a list of n [H, W, 3].
      pipeline: of PIPELINES, or of preprocessing.PIPELINES; see features.Extractor.
    """
    inputs = np.empty((len(images), SIDE, SIDE, 3), np.float32)

    def fill(index: int) -> None:
        inputs[index] = (
            PIPELINES[pipeline](images[index])
            if pipeline in PIPELINES
            else preprocessing.PIPELINES[pipeline](images[index][None])[0]
        )

    # NumPy and Pillow let go of the interpreter while they work.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(len(images))):
            pass
    return inputs


def pil_bilinear(image: NDArray[np.uint8]) -> Inputs:
    """Returns [299, 299, 3] in [-1, 1]: x / 127.5 - 1 of Pillow's bilinear resize.

    Source: POSTECH-CVLab/PyTorch-StudioGAN:src/utils/resize.py, 'friendly', and its
    src/metrics/preparation.py.
    """
    return _resize(image, Image.Resampling.BILINEAR) / np.float32(127.5) - np.float32(1)


def pil_bicubic(image: NDArray[np.uint8]) -> Inputs:
    """Returns [299, 299, 3] in [-1, 0.9921875]: (x - 128) / 128 of a bicubic resize.

    Source: GaParmar/clean-fid:cleanfid/resize.py and cleanfid/inception_torchscript.py.
    """
    return (_resize(image, Image.Resampling.BICUBIC) - np.float32(128)) / np.float32(
        128
    )


PIPELINES: dict[str, Callable[[NDArray[np.uint8]], Inputs]] = {
    "pil_bilinear": pil_bilinear,
    "pil_bicubic": pil_bicubic,
}
"""By name, from one image [H, W, 3]; no compiled function does the same."""


def _resize(image: NDArray[np.uint8], filter_: Image.Resampling) -> Inputs:
    """Returns [299, 299, 3] in [0, 255], not rounded to whole levels."""
    channels = [
        np.asarray(
            Image.fromarray(image[..., channel].astype(np.float32)).resize(
                (SIDE, SIDE), filter_
            )
        )
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1).clip(0, 255)  # bicubic goes beyond at edges
