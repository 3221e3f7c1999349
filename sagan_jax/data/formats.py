"""Image files: the formats that are read, and the one function that opens them."""

import contextlib
import ctypes
import importlib.util
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import BinaryIO, cast

from PIL import Image, ImagePalette, PngImagePlugin

_PLUGINS = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jfif": "JPEG",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
if importlib.util.find_spec("PIL._avif") is None:  # Pillow before 11.3, some builds
    del _PLUGINS[".avif"]

SUFFIXES = tuple(_PLUGINS)
"""Suffixes of image files, in upper or lower case; other files are ignored."""

FORMATS = ("JPEG", "PNG", *sorted({*_PLUGINS.values()} - {"JPEG", "PNG"}))
"""Pillow's names of the formats that are tried, whatever the suffix of a file is.

The commonest come first. Pillow knows more of them, some of which run other programs,
such as Ghostscript for EPS.
"""

MAX_PIXELS = 89_478_485
"""Maximum size of a decoded image: Pillow's threshold for decompression bombs."""

MAX_METADATA = 2**26
"""Maximum unpacked size of a colour profile or text in a PNG, in bytes.

Pillow's own limit is 1 MiB, less than the profiles of some printers.
"""

PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA

# Pillow raises an exception for each image that cannot be read. Its warnings and log
# only add remarks on metadata, without the name of the file.
logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
_IGNORED = ("ignore", None, Warning, re.compile(r"PIL\."), 0)

_SAMPLE_FORMAT, _PLANES, _COLOUR_MAP, _BITS, _PHOTOMETRIC = 339, 284, 320, 258, 262


_EXIF = b"Exif\0\0"


def _silence_libtiff() -> None:
    """Takes away its messages, which go to stderr by themselves."""
    library = ctypes.CDLL(Image.core.__file__)
    for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        set_handler = getattr(library, name)
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


with contextlib.suppress(OSError, AttributeError):  # it may be linked in another way
    _silence_libtiff()


@contextlib.contextmanager
def opened(file: BinaryIO) -> Iterator[Image.Image]:
    """Yields the image once its header has been read and checked.

    Pillow's own exceptions are not caught.

    Raises:
      ValueError: the levels have no fixed range or Pillow would misread them, or the
        header declares more than `MAX_PIXELS`.
    """
    # Not at import: each warnings.catch_warnings, as in tests, has its own filters.
    if _IGNORED not in warnings.filters[:1]:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    too_many = f"its header declares more than {MAX_PIXELS} pixels"
    try:
        image = _open(file)
    except Image.DecompressionBombError:
        raise ValueError(too_many) from None
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(too_many)
        if image.mode in ("I", "F"):
            raise ValueError(f"pixel mode {image.mode!r} has no fixed range")
        if image.format == "TIFF":
            _check_tiff(image)
        elif image.format == "PNG":
            _scale_transparency(image)
        if image.mode in ("P", "PA") and image.palette is None:
            raise ValueError("its palette is missing")
        yield image


def white_is_zero(image: Image.Image) -> bool:
    """Returns whether the 16-bit levels of an `opened` image run from white to black.

    Pillow inverts fewer bits itself.
    """
    tags = getattr(image, "tag_v2", {})
    return image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == 0


def largest_level(image: Image.Image) -> int:
    """Returns the largest level of an `opened` image of 16 or 12 bits."""
    bits = getattr(image, "tag_v2", {}).get(_BITS, (16,))
    return int(2 ** bits[0] - 1)


def _open(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise
    except Exception:
        # Pillow refuses some images for their metadata alone.
        file.seek(0)
        content = file.read()
        hidden = _without_metadata(content)
        if hidden == content:
            raise
    image = Image.open(io.BytesIO(hidden), formats=FORMATS)
    for _, block in getattr(image, "applist", ()):
        if block.startswith(_EXIF.swapcase()):  # it holds the orientation
            image.info["exif"] = _EXIF + block.removeprefix(_EXIF.swapcase())
    return image


def _without_metadata(content: bytes) -> bytes:
    """Returns a JPEG or AVIF whose metadata Pillow does not recognise.

    Names of blocks change case, and sizes stay: an AVIF consists of offsets.
    """
    names = rb"(?!)"
    if content.startswith(b"\xff\xd8"):
        names = rb"(?:%b|MPF\0|ICC_PROFILE\0|Photoshop 3\.0\0)" % _EXIF
    elif content[4:8] == b"ftyp":
        names = rb"(?<=infe.{8})Exif"
    return re.sub(names, lambda m: m[0].swapcase(), content, flags=re.DOTALL)


def _check_tiff(image: Image.Image) -> None:
    """Refuses what Pillow would misread, and repairs colour maps of 8 bits."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    if set(tags.get(_SAMPLE_FORMAT, ())) - {1, 4}:  # 4: undefined
        raise ValueError("its levels are signed or floating, without a fixed range")
    stored_raw = image.info.get("compression") == "raw"
    if tags.get(_PLANES) == 2 and stored_raw and set(tags.get(_BITS, ())) - {8}:
        raise ValueError("its channels are stored apart with more than 8 bits")
    if image.mode in ("P", "PA") and max(tags[_COLOUR_MAP], default=256) < 256:
        # The format asks for 16 bits, of which Pillow takes the upper 8.
        image.palette = ImagePalette.raw("RGB;L", bytes(tags[_COLOUR_MAP]))


def _scale_transparency(image: Image.Image) -> None:
    """Scales the transparent level of a PNG as Pillow scales the levels.

    Its chunk holds a level of the file's own bits, in two bytes.
    """
    level, scale = image.info.get("transparency"), raw_mode(image)
    if image.mode == "L" and isinstance(level, int):
        most = {"L;2": 3, "L;4": 15}.get(scale, 255)
        image.info["transparency"] = (level & most) * (255 // most)
    elif scale == "RGB" and isinstance(level, tuple):
        image.info["transparency"] = tuple(value & 255 for value in level)


def raw_mode(image: Image.Image) -> str:
    """Returns how a PNG that is not loaded yet stores its pixels, such as 'L;4'."""
    return cast(str, image.tile[0].args) if image.tile else ""  # type: ignore[attr-defined]
