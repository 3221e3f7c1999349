"""Formats and levels: what is read, and what is refused rather than misread."""

import io
import os
import stat
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from image_files import (
    NOISE,
    configure,
    deep_png,
    encoded,
    exif,
    jpeg_with,
    png,
    put,
    sentence,
    tiff,
)
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from sagan_jax.data import formats, sources, transforms
from sagan_jax.metrics import image_sets

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 40
%%EndComments
0 0 40 40 rectfill
showpage
%%EOF
"""


def decode(content):
    transforms.check(io.BytesIO(content))
    return transforms.decode(io.BytesIO(content))


def refused(content, match):
    for function in (transforms.check, transforms.decode):
        with pytest.raises(ValueError, match=match):
            function(io.BytesIO(content))
    with pytest.raises(ValueError, match=match):
        image_sets.decode(content)


def test_no_other_program_is_run_for_an_image(tmp_path, monkeypatch):
    gs = tmp_path / "bin" / "gs"
    put(gs, b"#!/bin/sh\ntouch %b\nexit 1\n" % os.fsencode(tmp_path / "was_run"))
    gs.chmod(gs.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{gs.parent}{os.pathsep}{os.environ['PATH']}")
    put(tmp_path / "images" / "a.jpg", EPS)
    put(tmp_path / "images" / "b.png", encoded(NOISE))
    text = sentence(configure(tmp_path / "images", num_classes=0))
    assert "a.jpg' cannot be read" in text
    assert "format is not known" in text
    with pytest.raises(Exception, match="cannot identify"):
        image_sets.decode(EPS)
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("kind", ["PPM", "TGA", "PCX", "SGI", "ICO", "JPEG2000"])
def test_only_the_documented_formats_are_tried(kind):
    with pytest.raises(Exception, match="cannot identify"):
        transforms.decode(io.BytesIO(encoded(NOISE, kind)))


def test_jfif_and_avif_are_read(tmp_path):
    put(tmp_path / "a.jfif", encoded(NOISE, "JPEG"))
    names = {"a.jfif"}
    if features.check("avif"):
        put(tmp_path / "b.AVIF", encoded(NOISE, "AVIF"))
        names.add("b.AVIF")
    source = sources.make_source(configure(tmp_path, num_classes=0))
    assert len(source) == len(names)
    assert set(formats.SUFFIXES) >= {".jfif", ".jpg", ".png"}


def big(kind):
    noise = np.random.default_rng(0).bytes(800_000).hex()  # 1.6 MB of text
    info = PngInfo()
    if kind == "profile":
        return encoded(NOISE, icc_profile=noise.encode())
    if kind == "text":
        info.add_text("Comment", noise, zip=True)
    else:
        info.add_itxt("Comment", noise, zip=True)
    return encoded(NOISE, pnginfo=info)


@pytest.mark.parametrize("kind", ["profile", "text", "itxt"])
def test_long_metadata_is_no_reason_to_leave_an_image_out(kind):
    np.testing.assert_array_equal(decode(big(kind)), np.asarray(NOISE))
    np.testing.assert_array_equal(image_sets.decode(big(kind)), np.asarray(NOISE))


def test_a_bomb_of_metadata_is_refused():
    bomb = zlib.compress(bytes(2**26 + 1), 9)
    content = deep_png(8, 0, bytes(4), (b"iCCP", b"name\0\0" + bomb))
    with pytest.raises(ValueError, match="too large"):
        transforms.decode(io.BytesIO(content))


# Levels.


def sixteen(value, *more, photometric=1):
    pixels = np.full(12, value, "<u2").tobytes()
    return tiff(pixels, 4, 3, [16], photometric, *more)


@pytest.mark.parametrize(("level", "shown"), [(0, 255), (60000, 22), (65535, 0)])
def test_white_is_zero_in_16_bits(level, shown):
    content = sixteen(level, photometric=0)
    assert decode(content).tolist() == [[[shown]] * 4] * 3
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:  # the same, compressed
        image.save(stream, "TIFF", compression="tiff_lzw", tiffinfo={262: 0})
    assert decode(stream.getvalue())[0, 0].tolist() == [shown]


def test_black_is_zero_in_16_bits_as_before():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = decode(encoded(Image.fromarray(levels)))[..., 0]
    np.testing.assert_array_equal(found, (levels.astype(int) + 128) // 257)


@pytest.mark.parametrize(("level", "shown"), [(0, 0), (2048, 128), (4095, 255)])
def test_12_bits(level, shown):
    row = level << 12 | level  # two pixels in three bytes
    pixels = row.to_bytes(3, "big") * 6
    assert decode(tiff(pixels, 4, 3, [12], 1)).tolist() == [[[shown]] * 4] * 3


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("form", [2, 3])
def test_signed_and_floating_levels_are_refused(bits, form):
    pixels = bytes(12 * bits // 8)
    more = (339, 3, 1, struct.pack("<H", form))
    with pytest.raises(Exception, match=r"range|cannot identify"):
        transforms.decode(io.BytesIO(tiff(pixels, 4, 3, [bits], 1, more)))


def test_signed_levels_of_8_bits_are_refused():
    content = tiff(bytes(12), 4, 3, [8], 1, (339, 3, 1, b"\2\0"))
    refused(content, "signed")


def test_planes_of_16_bits_are_refused():
    planes = [np.full(12, value, "<u2").tobytes() for value in (65535, 256, 0)]
    offsets = struct.pack("<3I", *(8 + 24 * n for n in range(3)))
    more = [(273, 4, 3, offsets), (279, 4, 3, struct.pack("<3I", 24, 24, 24))]
    content = tiff(b"".join(planes), 4, 3, [16] * 3, 2, *more, (284, 3, 1, b"\2\0"))
    refused(content, "apart")


@pytest.mark.parametrize("scale", [1, 257])
def test_a_colour_map_of_8_or_16_bits(scale):
    colours = np.zeros((3, 256), "<u2")
    colours[:, 7] = [200 * scale, 100 * scale, 50 * scale]
    content = tiff(bytes([7] * 12), 4, 3, [8], 3, (320, 3, 768, colours.tobytes()))
    assert decode(content)[0, 0].tolist() == [200, 100, 50]
    assert image_sets.decode(content)[0, 0].tolist() == [200, 100, 50]


# Transparent colours.


def trns(*levels):
    return b"tRNS", struct.pack(f">{len(levels)}H", *levels)


def row(depth, levels):
    bits = "".join(f"{level:0{depth}b}" for level in levels)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@pytest.mark.parametrize("depth", [2, 4, 8, 16])
def test_one_level_is_transparent(depth):
    most = 2**depth - 1
    content = deep_png(depth, 0, row(depth, [1, 0, most, 1]), trns(1))
    grey = [round(255 / most * level) for level in (1, 0, most, 1)]
    expected = [[grey[0], 0], [grey[1], 255], [grey[2], 255], [grey[3], 0]]
    found = decode(content)
    assert found[0].tolist() == expected
    white = transforms.to_channels(found, 3)
    assert white[0, 0].tolist() == white[0, 3].tolist() == [255] * 3
    assert white[0, 1].tolist() == [0] * 3


@pytest.mark.parametrize("clear", [0, 1])
def test_black_or_white_is_transparent(clear):
    content = deep_png(1, 0, b"\xaa", trns(clear), side=8)
    alpha = [255 * (bit != clear) for bit in (1, 0, 1, 0, 1, 0, 1, 0)]
    assert decode(content)[0, :, 1].tolist() == alpha


def test_the_upper_bits_of_a_transparent_level_do_not_count():
    content = deep_png(4, 0, row(4, [7, 0, 7, 0]), trns(0x107))
    assert decode(content)[0, :, 1].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("depth", [8, 16])
def test_one_colour_is_transparent(depth):
    most = 2**depth - 1
    colours = [(1, most, 2), (1, most, 3), (0, 0, 0), (1, most, 2)]
    content = deep_png(depth, 2, row(depth, sum(colours, ())), trns(1, most, 2))
    found = decode(content)
    assert found[0, :, 3].tolist() == [0, 255, 255, 0]
    shift = depth - 8
    assert found[0, 1, :3].tolist() == [c >> shift for c in colours[1]]


def test_a_palette_that_is_missing_is_found_before_the_start(tmp_path):
    refused(deep_png(8, 3, b"\1" * 4), "palette")
    put(tmp_path / "a.png", deep_png(8, 3, b"\1" * 4))
    put(tmp_path / "b.png", encoded(NOISE))
    assert "palette" in sentence(configure(tmp_path, num_classes=0))


# Silence.

LOUD = {
    "exif": jpeg_with(exif((0x010F, 2, 999, b"\xff\xff\0\0"))),
    "tiff": sixteen(
        9, (0x0117, 4, 2, b"\0\0\0\0\0\0\0\0"), (305, 2, 99, b"\xff\xff\0")
    ),
    "samples": tiff(bytes(12), 4, 3, [8], 1, (277, 3, 1, b"\xff\x7f")),
    "apng": deep_png(8, 0, bytes(4), (b"acTL", bytes(8))),
    "large": png(10_000, 9_000),
}


@pytest.mark.parametrize("kind", LOUD)
def test_remarks_of_pillow_do_not_reach_the_terminal(kind, tmp_path):
    put(tmp_path / "a.img", LOUD[kind])
    program = (
        "from sagan_jax.data import transforms\n"
        "from sagan_jax.metrics import image_sets\n"
        "for read in (transforms.decode, lambda path: image_sets.decode("
        "open(path, 'rb').read())):\n"
        "    try: read('a.img')\n"
        "    except Exception: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.path.abspath(".")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout + done.stderr == ""


def test_the_user_s_own_warnings_still_count():
    transforms.decode(io.BytesIO(LOUD["exif"]))
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)
