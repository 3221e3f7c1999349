"""Pictures: sheets of images as PNG."""

from pathlib import Path

import numpy as np
from PIL import Image

GAP = 2
MARGIN = 255


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Returns one uint8 picture of images, row by row, on white.

    Images under 128 pixels are enlarged by a whole factor, each pixel a square, so that
    a person can see them.

    Args:
      images: uint8 [N, H, W, C]; C of 1 is grey, 2 grey and alpha, 3 RGB, 4 RGBA.
      columns: images in a row; the last row may be short.
    """
    scale = max(1, 128 // images.shape[1])
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.full(
        (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, channels),
        MARGIN,
        np.uint8,
    )
    for index, image in enumerate(images):
        top = GAP + index // columns * (height + GAP)
        left = GAP + index % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = image
    return canvas


def save_png(picture: np.ndarray, path: Path) -> None:
    """Writes a uint8 picture [H, W, C], beside and renamed: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    squeezed = picture[..., 0] if picture.shape[-1] == 1 else picture
    beside = path.with_suffix(".tmp")
    Image.fromarray(squeezed).save(beside, format="PNG")
    beside.replace(path)
