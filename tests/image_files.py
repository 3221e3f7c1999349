"""Image files of every kind, intact and damaged, and folders and zips of them."""

import io
import re
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from sagan_jax import config as config_lib
from sagan_jax.data import sources
from sagan_jax.errors import UserError

FORMS = ("folder", "zip")


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def three_classes(root):
    """Writes 8 x 8 images of one level each: 10 * class + number."""
    for label, name in enumerate(["cat", "dog", "owl"]):
        for number in range(2):
            level = np.full((8, 8, 3), 10 * label + number, np.uint8)
            write(root / name / f"{number}.png", level)
    return root


def pack(root, form, method=zipfile.ZIP_DEFLATED):
    """Returns the path of a directory, or of a new zip of it next to it."""
    if form == "folder":
        return str(root)
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as file:
        for found in sorted(root.rglob("*")):
            file.write(found, found.relative_to(root).as_posix())
    return str(path)


def configure(path="", num_classes=3, resolution=8, channels=3, max_unreadable=0):
    config = config_lib.Config()
    config.data.source, config.data.path = "folder", str(path)
    config.data.max_unreadable = max_unreadable
    config.model.resolution, config.model.channels = resolution, channels
    config.model.num_classes = num_classes
    return config


def sentence(config):
    with pytest.raises(UserError) as caught:
        sources.make_source(config)
    return str(caught.value)


def assert_says(text, *parts):
    """Asserts that a message contains all parts, in this order."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"{part!r} is missing, or too early, in: {text}"
        at = found + len(part)


def levels(source, indices):
    return [int(source[index]["image"][0, 0, 0]) for index in indices]


def without_counts(line):
    return re.sub(r" \(\d+ bytes not processed\)", "", line)


DOT = encoded(Image.new("RGB", (8, 8), (1, 2, 3)))
"""A small valid image."""


# All images show four colours, [top left, top right, bottom left, bottom right], and
# are 24 pixels high and 40 wide. A square from the middle shows the four colours too.

COLOURS = np.array([[200, 30, 40], [20, 180, 60], [30, 50, 210], [240, 230, 20]])
LEVELS = np.array([10, 90, 170, 250])
ALPHA = np.array([255, 0, 128, 255])
ENTRIES = np.arange(4)


def quadrants(values, dtype=np.uint8):
    """[24, 40] or [24, 40, C], each quadrant of one value."""
    where = np.repeat([[0, 1], [2, 3]], 12, axis=0).repeat(20, axis=1)
    return np.asarray(values, dtype)[where]


def picture(values):
    return Image.fromarray(quadrants(values))


def over_white(colours):
    share = ALPHA[:, None] / 255
    return colours * share + 255 * (1 - share)


def grey(levels):
    return np.repeat(np.asarray(levels)[:, None], 3, axis=1)


def palette():
    image = Image.new("P", (40, 24))
    image.putpalette(COLOURS.flatten().tolist())
    image.putdata(quadrants(ENTRIES).flatten().tolist())
    return image


def cmyk():
    inks = [[0, 255, 255, 0], [255, 0, 255, 0], [255, 255, 0, 0], [0, 0, 0, 100]]
    image = Image.frombytes("CMYK", (40, 24), quadrants(inks).tobytes())
    return encoded(image, "JPEG", quality=100, subsampling=0)


def animated(kind, **options):
    first, second = picture(COLOURS), Image.new("RGB", (40, 24))
    return encoded(first, kind, save_all=True, append_images=[second], **options)


def turned(orientation):
    """A JPEG with an EXIF orientation.

    The first stored row and column are the image's bottom and right (3), right and top
    (6), or left and bottom (8).
    """
    height, width = (24, 40) if orientation == 3 else (40, 24)
    row, column = np.indices((height, width))
    shown = {
        3: (height - 1 - row, width - 1 - column),
        6: (column, height - 1 - row),
        8: (width - 1 - column, row),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(quadrants(COLOURS)[shown[orientation]])
    return encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif)


def _kinds():
    deep = Image.fromarray(quadrants(257 * LEVELS, np.uint16))
    transparent = np.concatenate([COLOURS, ALPHA[:, None]], axis=1)
    levels_alpha = np.stack([LEVELS, ALPHA], axis=1)
    with_a_hole = [COLOURS[0], [255, 255, 255], *COLOURS[2:]]
    return {
        "colour.jpg": (
            encoded(picture(COLOURS), "JPEG", quality=100, subsampling=0),
            COLOURS,
        ),
        "colour.bmp": (encoded(picture(COLOURS), "BMP"), COLOURS),
        "colour.tif": (encoded(picture(COLOURS), "TIFF"), COLOURS),
        "grey.png": (encoded(picture(LEVELS)), grey(LEVELS)),
        "grey.jpeg": (encoded(picture(LEVELS), "JPEG", quality=100), grey(LEVELS)),
        "black_and_white.png": (
            encoded(picture([0, 255, 255, 0]).convert("1")),
            grey([0, 255, 255, 0]),
        ),
        "alpha.png": (encoded(picture(transparent)), over_white(COLOURS)),
        "alpha.webp": (
            encoded(picture(transparent), "WEBP", lossless=True, exact=True),
            over_white(COLOURS),
        ),
        "grey_alpha.png": (encoded(picture(levels_alpha)), over_white(grey(LEVELS))),
        "deep.png": (encoded(deep), grey(LEVELS)),
        "deep.tiff": (encoded(deep, "TIFF"), grey(LEVELS)),
        "cmyk.jpg": (cmyk(), [[255, 0, 0], [0, 255, 0], [0, 0, 255], [155] * 3]),
        "palette.png": (encoded(palette()), COLOURS),
        "palette_alpha.png": (
            encoded(palette(), transparency=bytes(ALPHA.tolist())),
            over_white(COLOURS),
        ),
        "palette_hole.gif": (encoded(palette(), "GIF", transparency=1), with_a_hole),
        "animated.gif": (animated("GIF"), COLOURS),
        "animated.webp": (animated("WEBP", lossless=True), COLOURS),
        "animated.png": (animated("PNG"), COLOURS),
        **{f"turned_{n}.jpg": (turned(n), COLOURS) for n in (3, 6, 8)},
    }


KINDS = _kinds()
"""For each name, the file and the four colours that a viewer shows."""


def png_chunk(kind, content, checksum=None):
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    length, checksum = struct.pack(">I", len(content)), struct.pack(">I", checksum)
    return length + kind + content + checksum


def png(width, height, data=b"", **options):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(data), **options)
    return b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")


NOISE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
)
JPEG = encoded(NOISE, "JPEG")
TOO_LARGE = "its header declares more than 89478485 pixels"
DAMAGE = {
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "image file is truncated"),
    "truncated.png": (encoded(NOISE)[:5000], "image file is truncated"),
    "empty.jpg": (b"", "it is empty"),
    "text.png": (b"hello", "its format is not known"),
    "huge.png": (png(50_000, 50_000), TOO_LARGE),
    "large.png": (png(10_000, 9_000), TOO_LARGE),
    "checksum.png": (
        png(2, 2, bytes(6), checksum=1),
        "broken PNG file (bad header checksum in b'IDAT')",
    ),
    "float.tif": (
        encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
        "pixel mode 'F' has no fixed range",
    ),
}
"""For each name, the file and why it cannot be read, without counts of bytes."""


# Files that Pillow does not write, byte by byte.


def ifd(entries, extra=0, start=8, order="<"):
    """A directory of a TIFF at `start`, entries (tag, type, count, content)."""
    offset = start + 2 + 12 * len(entries) + 4 + extra
    table, body = struct.pack(order + "H", len(entries)), b""
    for tag, kind, count, content in sorted(entries):
        table += struct.pack(order + "HHI", tag, kind, count)
        if len(content) <= 4:
            table += content.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", offset + len(body))
            body += content
    return table + struct.pack(order + "I", 0) + body


def exif(*entries, order="<"):
    header = b"II*\0" if order == "<" else b"MM\0*"
    return (
        b"Exif\0\0" + header + struct.pack(order + "I", 8) + ifd(entries, order=order)
    )


def jpeg_with(block, image=NOISE, **options):
    """A JPEG with an EXIF block as it is."""
    content = encoded(image, "JPEG", **options)
    return b"%b\xff\xe1%b%b%b" % (
        content[:2],
        struct.pack(">H", len(block) + 2),
        block,
        content[2:],
    )


def tiff(pixels, width, height, bits, photometric, *more):
    """An uncompressed little-endian TIFF of one strip; more: directory entries."""
    channels = len(bits)
    entries = [
        (256, 3, 1, struct.pack("<H", width)),
        (257, 3, 1, struct.pack("<H", height)),
        (258, 3, channels, struct.pack(f"<{channels}H", *bits)),
        (259, 3, 1, b"\1\0"),
        (262, 3, 1, struct.pack("<H", photometric)),
        (273, 4, 1, struct.pack("<I", 8)),
        (277, 3, 1, struct.pack("<H", channels)),
        (278, 3, 1, struct.pack("<H", height)),
        (279, 4, 1, struct.pack("<I", len(pixels))),
        *more,
    ]
    taken = {tag for tag, *_ in more}
    entries = [e for e in entries if e[0] not in taken or e in more]
    start = 8 + len(pixels) + len(pixels) % 2
    head = b"II*\0" + struct.pack("<I", start)
    return head + pixels.ljust(start - 8, b"\0") + ifd(entries, start=start)


def deep_png(depth, colour, row, *chunks, side=4):
    """A square PNG of equal rows; chunks: (kind, content) before the pixels."""
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks]
    parts += [(b"IDAT", zlib.compress((b"\0" + row) * side)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)
