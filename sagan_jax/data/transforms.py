"""Functions from an encoded file to a square uint8 image, one for each step.

Images are uint8 [H, W, C] with C channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
A function with nothing to do returns its argument itself, not a copy.
"""

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's mode for each number of channels."""

MAX_PIXELS = 89_478_485
"""Maximum size of a decoded image: Pillow's threshold for decompression bombs."""


def decode(file: BinaryIO | str) -> np.ndarray:
    """Returns the first frame of an image file, uint8 [H, W, C], upright.

    The EXIF orientation is applied, a palette is resolved, and 16-bit grey is scaled to
    8 bits. C is the number of channels in the file. Pillow's own exceptions are not
    caught.

    Raises:
      ValueError: the pixels have no fixed range, such as 32-bit floats, or the header
        declares more than `MAX_PIXELS`; the pixels are not decoded then.
    """
    with _opened(file) as image:
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):
            # Some of Pillow's conversions clip instead of scaling.
            pixels = (np.asarray(image).astype(np.uint32) + 128) // 257
            return pixels.astype(np.uint8)[..., None]
        return _to_array(_as_mode(image, _natural_mode(image)))


def size(file: BinaryIO | str) -> tuple[int, int]:
    """Returns (width, height) from the header, before the EXIF orientation is applied.

    Raises the exceptions of `decode`.
    """
    with _opened(file) as image:
        return image.size


def check(file: BinaryIO) -> None:
    """Raises the exceptions of `decode`, and for a wrong checksum that it ignores.

    It is faster than `decode` on a JPEG: the whole file is read, but decoded at an
    eighth of its size.
    """
    with _opened(file) as image:
        image.draft(image.mode, (1, 1))
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        of_png = image.format == "PNG"
    if of_png:
        file.seek(0)
        with Image.open(file) as image:
            image.verify()  # checksums; the image cannot be decoded afterwards


@contextlib.contextmanager
def _opened(file: BinaryIO | str) -> Iterator[Image.Image]:
    """Yields the image once its header has been read and checked."""
    too_many = f"its header declares more than {MAX_PIXELS} pixels"
    try:
        image = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(too_many) from None
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(too_many)
        if image.mode in ("I", "F"):
            raise ValueError(f"pixel mode {image.mode!r} has no fixed range")
        yield image


def fit(
    image: np.ndarray, resolution: int, channels: int, place: float = 0.5
) -> np.ndarray:
    """Returns the image as uint8 [resolution, resolution, channels].

    The image is cropped to a square, converted, then resized. An image that already has
    this shape is returned unchanged, bit for bit. For `place`, see `crop_square`.
    """
    return resize(to_channels(crop_square(image, place), channels), resolution)


def fit_shorter(image: np.ndarray, resolution: int, channels: int) -> np.ndarray:
    """Returns the image with a shorter side of `resolution` pixels, uncropped.

    Only an image more than four times as long as wide is cropped, to its middle. `fit`
    at the same resolution then only chooses a square. An image that already has this
    size is returned unchanged.
    """
    side = min(image.shape[:2])
    height, width = (min(length, 4 * side) for length in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    image = to_channels(image[top : top + height, left : left + width], channels)
    if side == resolution:
        return image
    # Rounds half up, in integers: the same result on every machine.
    size = tuple((2 * n * resolution + side) // (2 * side) for n in (width, height))
    return _to_array(_to_pillow(image).resize(size, Image.Resampling.BILINEAR))


def crop_square(image: np.ndarray, place: float = 0.5) -> np.ndarray:
    """Returns a square of side min(H, W), at `place` in [0, 1) along the longer side.

    Each possible square takes an equal part of that interval. In the centre, an odd
    remainder puts the extra row or column before the square, as in
    `openai/improved-gan:imagenet/convert_imagenet_to_records.py` under Python 2, whose
    `round` rounds half up.
    """
    height, width = image.shape[:2]
    if height == width:
        return image
    side = min(height, width)
    top, left = int(place * (height - side + 1)), int(place * (width - side + 1))
    return image[top : top + side, left : left + side]


def resize(image: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the image at [resolution, resolution, C], antialiased.

    This is Pillow's bilinear filter, as in the official release: its triangle widens
    with the factor when shrinking. With alpha, colours are weighted by it.
    """
    if image.shape[:2] == (resolution, resolution):
        return image
    size = (resolution, resolution)
    return _to_array(_to_pillow(image).resize(size, Image.Resampling.BILINEAR))


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Returns the image with 1 to 4 channels: uint8 [H, W, channels].

    Grey is repeated; colour becomes ITU-R 601 luma. Unwanted alpha is blended over
    white, as image viewers do; dropping it would reveal the colours that an editor left
    in the transparent parts.
    """
    have = image.shape[-1]
    if have == channels:
        return image
    picture = _to_pillow(image)
    if have in (2, 4) and channels in (1, 3):
        picture = _as_mode(picture, "RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture).convert("RGB")
    return _to_array(_as_mode(picture, MODES[channels]))


def flip_horizontally(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the image or its mirror image, each with probability one half."""
    return image[:, ::-1] if rng.random() < 0.5 else image


def _natural_mode(image: Image.Image) -> str:
    grey = image.mode in ("1", "L", "LA", "La")
    return ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")


def _as_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _to_pillow(image: np.ndarray) -> Image.Image:
    # Pillow copies views such as crops, and takes one channel without its axis only.
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _to_array(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]
