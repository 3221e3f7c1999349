"""How an image has to be turned, from one entry of its EXIF block.

Pillow's `ImageOps.exif_transpose` parses and writes back all of EXIF, and fails at
entries that have nothing to do with the orientation.
"""

import re
import struct

from PIL import Image

_TAG = 0x0112
_METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TYPES = {3: "H", 4: "I", 8: "h", 9: "i"}  # integers, by their number in TIFF
_HEADERS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0")  # the last two are misspelt
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def upright(image: Image.Image) -> Image.Image:
    """Returns a loaded image as it is meant to be seen, or the image itself.

    EXIF that cannot be read does not turn an image. Pillow turns a TIFF when it loads
    it.
    """
    if image.format == "TIFF":
        return image
    method = _METHODS.get(_orientation(image.info))
    return image if method is None else image.transpose(method)


def _orientation(info: dict[str | tuple[int, int], object]) -> int:
    """Returns the orientation, from EXIF or else from XMP; 1 if there is none."""
    for block in (info.get("exif"), _from_text(info.get("Raw profile type exif"))):
        if isinstance(block, bytes):
            try:
                found = _from_exif(block)
            except struct.error:  # it ends too early
                found = None
            if found is not None:
                return found
    for text in (info.get("XML:com.adobe.xmp"), info.get("xmp")):
        block = text.encode(errors="replace") if isinstance(text, str) else text
        if isinstance(block, bytes) and (match := _XMP.search(block)):
            return int(match[1])
    return 1


def _from_text(text: object) -> bytes | None:
    """Returns the EXIF block that ImageMagick writes into a PNG as hexadecimal text."""
    try:
        return bytes.fromhex("".join(str(text).split("\n")[3:]))
    except ValueError:
        return None


def _from_exif(block: bytes) -> int | None:
    """Returns the orientation in the first directory of an EXIF block, or None."""
    block = re.sub(rb"^(Exif\0\0){1,2}", b"", block)
    if not block.startswith(_HEADERS):
        return None
    order = "<" if block[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", block, 4)
    (count,) = struct.unpack_from(order + "H", block, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", block, place)
        if tag == _TAG and kind in _TYPES and values:
            form = order + _TYPES[kind]
            # Values of more than four bytes are stored elsewhere.
            if values * struct.calcsize(form) > 4:
                (where,) = struct.unpack_from(order + "I", block, place + 8)
            else:
                where = place + 8
            return int(struct.unpack_from(form, block, where)[0])
    return None
