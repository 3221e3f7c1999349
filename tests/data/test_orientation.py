"""Turning photos by EXIF, whatever else stands in it."""

import io
import struct

import numpy as np
import pytest
from image_files import NOISE, encoded, exif, jpeg_with
from PIL import Image

from sagan_jax.data import transforms

UPRIGHT = np.asarray(NOISE.resize((24, 16)))
PICTURE = Image.fromarray(UPRIGHT)
TURNS = {  # what the camera stored, from what is to be seen
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
SHORT, LONG, ASCII, RATIONAL, BYTE = 3, 4, 2, 5, 1
TURNED = (0x0112, SHORT, 1, b"\6\0")
# Entries that Pillow cannot write back, or that lie.
ODD = {
    "unit": (0x0128, BYTE, 1, b"\2"),
    "empty text": (0x010E, ASCII, 0, b""),
    "outside": (0x010F, ASCII, 2**31, b"\xff\xff\xff\x7f"),
    "type": (0x0110, 99, 1, b"abcd"),
    "rational": (0x011A, RATIONAL, 1, bytes(8)),
    "camera": (0x8769, LONG, 1, b"\xff\xff\xff\xff"),
    "place": (0x8825, ASCII, 4, b"abc\0"),
    "float": (0x9286, 11, 1, b"\0\0\xc0\x7f"),
}


def decode(content):
    return transforms.decode(io.BytesIO(content))


def stored(content):
    """The pixels without any turn."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("odd", ODD)
def test_a_photo_is_turned_whatever_else_its_exif_holds(odd):
    content = jpeg_with(exif(ODD[odd], TURNED), PICTURE)
    transforms.check(io.BytesIO(content))
    np.testing.assert_array_equal(decode(content), np.rot90(stored(content), -1))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("number", TURNS)
def test_each_orientation_is_undone(number, order):
    block = exif((0x0112, SHORT, 1, struct.pack(order + "H", number)), order=order)
    image = Image.fromarray(np.ascontiguousarray(TURNS[number](UPRIGHT)))
    content = encoded(image, exif=block)
    np.testing.assert_array_equal(decode(content), UPRIGHT)


def test_it_may_be_a_long_number_and_have_companions():
    for entry in (
        (0x0112, LONG, 1, struct.pack("<I", 6)),
        (0x0112, SHORT, 2, struct.pack("<2H", 6, 1)),
        (0x0112, SHORT, 3, struct.pack("<3H", 6, 1, 1)),
    ):
        content = jpeg_with(exif(entry), PICTURE)
        np.testing.assert_array_equal(decode(content), np.rot90(stored(content), -1))


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0nonsense of a program",
        exif(TURNED)[:-8],
        exif((0x0112, SHORT, 1, b"\x09\0")),
        exif((0x0112, ASCII, 2, b"6\0")),
        exif((0x0112, SHORT, 0, b"\6\0")),
        exif((0x0112, SHORT, 2**30, b"\xff\xff\xff\x7f")),
        exif(TURNED).replace(struct.pack("<I", 8), b"\xff\xff\xff\xff"),
    ],
)
def test_exif_that_cannot_be_read_is_no_reason_to_leave_an_image_out(block):
    content = jpeg_with(block, PICTURE)
    transforms.check(io.BytesIO(content))
    np.testing.assert_array_equal(decode(content), stored(content))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "TIFF"])
def test_every_format_is_turned(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "AVIF":
        options = {"quality": 100, "subsampling": "4:4:4"}
    flat = np.zeros((16, 24, 3), np.uint8)
    flat[:, :12], flat[:8, :12] = [255, 0, 0], [0, 0, 255]
    image = Image.fromarray(np.ascontiguousarray(np.rot90(flat)))
    settings = Image.Exif()
    settings[0x0112] = 6
    found = decode(encoded(image, kind, exif=settings, **options))
    assert np.abs(found.astype(int) - flat).max() < 16


def test_an_avif_with_exif_that_pillow_refuses_is_read():
    content = encoded(PICTURE, "AVIF", exif=exif(ODD["unit"]))
    broken = content.replace(exif(ODD["unit"])[6:], b"XX" + exif(ODD["unit"])[8:])
    assert broken != content
    np.testing.assert_array_equal(decode(broken), decode(encoded(PICTURE, "AVIF")))


def test_text_of_imagemagick_and_xmp_count_too():
    from PIL.PngImagePlugin import PngInfo

    texts = {
        "Raw profile type exif": f"\nexif\n  26\n{exif(TURNED).hex()}\n",
        "XML:com.adobe.xmp": '<x tiff:Orientation="6"/>',
    }
    for key, text in texts.items():
        info = PngInfo()
        info.add_itxt(key, text)
        stored = Image.fromarray(np.ascontiguousarray(np.rot90(UPRIGHT)))
        np.testing.assert_array_equal(decode(encoded(stored, pnginfo=info)), UPRIGHT)
    info = PngInfo()
    info.add_itxt("Raw profile type exif", "\nexif\n 3\nno hexadecimal number\n")
    np.testing.assert_array_equal(decode(encoded(PICTURE, pnginfo=info)), UPRIGHT)


def test_a_jpeg_that_pillow_refuses_for_its_exif_is_turned():
    # Pillow takes the resolution from EXIF where JFIF gives none.
    no_jfif = encoded(PICTURE, "JPEG").replace(b"JFIF\0", b"jfif\0")
    text = (0x011A, ASCII, 1, b"7\0")
    block = exif((0x0128, SHORT, 1, b"\2\0"), text, TURNED)
    content = no_jfif[:2] + jpeg_with(block)[2 : 6 + len(block)] + no_jfif[2:]
    transforms.check(io.BytesIO(content))
    np.testing.assert_array_equal(decode(content), np.rot90(stored(no_jfif), -1))
