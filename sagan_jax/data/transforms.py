"""Functions from an encoded file to a square uint8 image, one for each step.

Images are uint8 [H, W, C] with C channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA.
A function with nothing to do returns its argument itself, not a copy.
"""

from typing import BinaryIO

import numpy as np
from PIL import Image

from sagan_jax.data import formats, orientation

_PLAIN = {"L", "LA", "RGB", "RGBA"}
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's mode for each number of channels."""


def decode(file: BinaryIO | str) -> np.ndarray:
    """Returns the first frame of an image file, uint8 [H, W, C], upright.

    The EXIF orientation is applied, a palette is resolved, and 16-bit and 12-bit grey
    is scaled to 8 bits. C is the number of channels in the file. Pillow's own
    exceptions are not caught.

    Raises:
      ValueError: the pixels have no fixed range, such as 32-bit floats, or the header
        declares more than `formats.MAX_PIXELS`; the pixels are not decoded then.
    """
    if isinstance(file, str):
        with open(file, "rb") as stream:
            return decode(stream)
    with formats.opened(file) as image:
        return _decoded(image, file)


def decode_to_fit(
    file: BinaryIO, resolution: int, channels: int, place: float = 0.5
) -> np.ndarray:
    """Returns `fit(decode(file), resolution, channels, place)`, to the last bit.

    The usual JPEG stays an image of Pillow from the decoder to the last resize, which
    saves two copies of it. Raises the exceptions of `decode`.
    """
    with formats.opened(file) as image:
        if image.format != "JPEG" or image.mode != MODES[channels]:
            return fit(_decoded(image, file), resolution, channels, place)
        image.load()
        upright = orientation.upright(image)
        width, height = upright.size
        if width != height:
            side, top, left = _square(height, width, place)
            upright = upright.crop((left, top, left + side, top + side))
        return _to_array(_resized(upright, resolution))


def _decoded(image: Image.Image, file: BinaryIO) -> np.ndarray:
    if formats.raw_mode(image) == "RGB;16B" and "transparency" in image.info:
        return _deep_with_transparency(image, file)
    image.load()
    return _levels(orientation.upright(image), image)


def size(file: BinaryIO) -> tuple[int, int]:
    """Returns (width, height) from the header, before the EXIF orientation is applied.

    Raises the exceptions of `decode`.
    """
    with formats.opened(file) as image:
        return image.size


def check(file: BinaryIO) -> None:
    """Raises the exceptions of `decode`, and for a wrong checksum that it ignores.

    It is faster than `decode` on a JPEG: the whole file is read, but decoded at an
    eighth of its size.
    """
    with formats.opened(file) as image:
        image.draft(image.mode, (1, 1))
        image.load()
        if image.mode not in _PLAIN or "transparency" in image.info:
            _levels(image, image)  # a palette may be missing, for example
        of_png = image.format == "PNG"
    if of_png:
        file.seek(0)
        with formats.opened(file) as image:
            image.verify()  # checksums; the image cannot be decoded afterwards


def _levels(image: Image.Image, header: Image.Image) -> np.ndarray:
    """Returns the pixels of a loaded image, uint8 [H, W, C].

    Args:
      image: the image, perhaps turned.
      header: the image as opened.
    """
    if not image.mode.startswith("I;16"):
        return _to_array(_as_mode(image, _natural_mode(image)))
    # Some of Pillow's conversions clip instead of scaling.
    pixels, most = np.asarray(image).astype(np.uint32), formats.largest_level(header)
    grey = ((255 * pixels + most // 2) // most).astype(np.uint8)
    if formats.white_is_zero(header):
        grey = 255 - grey
    if (clear := image.info.get("transparency")) is None:
        return grey[..., None]
    return np.stack([grey, _opaque(pixels != clear)], axis=-1)


def _deep_with_transparency(image: Image.Image, file: BinaryIO) -> np.ndarray:
    """Returns a PNG of 16-bit colours, one of them transparent, as uint8 [H, W, 4].

    Pillow keeps the upper 8 bits only, but the transparent colour differs from others
    in the lower ones too.
    """
    clear = np.array(image.info.pop("transparency"))
    image.load()
    upper = np.asarray(orientation.upright(image))
    file.seek(0)
    with formats.opened(file) as again:
        # As little-endian numbers, the upper 8 bits are the lower ones.
        again.tile = [part._replace(args="RGB;16L") for part in again.tile]  # type: ignore[attr-defined]
        again.load()
        lower = np.asarray(orientation.upright(again))
    opaque = ((upper != clear >> 8) | (lower != clear & 255)).any(axis=-1)
    return np.concatenate([upper, _opaque(opaque)[..., None]], axis=-1)


def _opaque(where: np.ndarray) -> np.ndarray:
    return np.where(where, 255, 0).astype(np.uint8)


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
    side, top, left = _square(height, width, place)
    return image[top : top + side, left : left + side]


def _square(height: int, width: int, place: float) -> tuple[int, int, int]:
    """Returns side, top and left of the square that `crop_square` cuts out."""
    side = min(height, width)
    return side, int(place * (height - side + 1)), int(place * (width - side + 1))


def resize(image: np.ndarray, resolution: int) -> np.ndarray:
    """Returns the image at [resolution, resolution, C], antialiased.

    This is Pillow's bilinear filter, as in the official release: its triangle widens
    with the factor when shrinking. With alpha, colours are weighted by it.
    """
    if image.shape[:2] == (resolution, resolution):
        return image
    return _to_array(_resized(_to_pillow(image), resolution))


def _resized(image: Image.Image, resolution: int) -> Image.Image:
    size = (resolution, resolution)
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.BILINEAR)


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
