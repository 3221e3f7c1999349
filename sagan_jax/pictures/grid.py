"""Grids of images, as PNG."""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from sagan_jax.files import whole

GAP = 2
MARGIN = 255


def sheet(images: np.ndarray, columns: int) -> np.ndarray:
    """Returns one uint8 picture [H', W', C] of images, row by row, on white.

    Images smaller than 128 pixels are enlarged by an integer factor, without smoothing.

    Args:
      images: uint8 [N, H, W, C]; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
      columns: number of images in a row; the last row may have fewer.
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
    """Writes a uint8 picture [H, W, C] to `path`, whole or not at all."""
    whole.write_bytes(path, encode_png(picture))


def encode_png(picture: np.ndarray) -> bytes:
    """Returns a uint8 picture [H, W, C] as the content of a PNG file."""
    squeezed = picture[..., 0] if picture.shape[-1] == 1 else picture
    content = io.BytesIO()
    Image.fromarray(squeezed).save(content, format="PNG")
    return content.getvalue()


def encode_webp(picture: np.ndarray, widest: int, quality: int = 85) -> bytes:
    """Returns a uint8 picture [H, W, C] as the content of a small WebP file.

    Args:
      picture: the picture.
      widest: most pixels across; a wider picture is made smaller.
      quality: of the compression, which loses detail; up to 100.
    """
    squeezed = picture[..., 0] if picture.shape[-1] == 1 else picture
    image = Image.fromarray(squeezed)
    image = image.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB")
    if image.width > widest:
        height = max(1, round(image.height * widest / image.width))
        image = image.resize((widest, height), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, format="WEBP", quality=quality)
    return content.getvalue()


def opened_png(path: Path) -> Image.Image:
    """Returns the picture of a PNG file.

    Raises:
      ValueError: it cannot be read, is damaged, or is too large for Pillow.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # A sheet of a thousand classes is large, and no reason for a warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file, formats=["PNG"])
            picture.load()
            return picture
    except UnidentifiedImageError:  # whose message is about Python's file object
        raise ValueError("no PNG file") from None
    # Pillow raises errors of many kinds about bytes that are no picture.
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
