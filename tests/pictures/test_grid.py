"""Sheets of images, pixel by pixel, and their files."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from sagan_jax.pictures import grid


def _images(n: int, side: int, channels: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, 255, (n, side, side, channels), np.uint8)  # never white


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sheet_places_images_in_rows_with_white_between(channels: int) -> None:
    images = _images(5, 128, channels)
    picture = grid.sheet(images, columns=3)
    assert picture.dtype == np.uint8
    assert picture.shape == (2 + 2 * 130, 2 + 3 * 130, channels)
    white = np.ones(picture.shape, bool)
    for index, (top, left) in enumerate(
        [(2, 2), (2, 132), (2, 262), (132, 2), (132, 132)]
    ):
        place = np.s_[top : top + 128, left : left + 128]
        np.testing.assert_array_equal(picture[place], images[index])
        white[place] = False
    assert (picture[white] == 255).all()


@pytest.mark.parametrize(("side", "factor"), [(32, 4), (64, 2), (100, 1), (256, 1)])
def test_small_images_are_enlarged_by_repeating_pixels(side: int, factor: int) -> None:
    images = _images(1, side, 3)
    picture = grid.sheet(images, columns=1)[2:-2, 2:-2]
    assert picture.shape == (side * factor, side * factor, 3)
    expected = np.kron(images[0], np.ones((factor, factor, 1), np.uint8))
    np.testing.assert_array_equal(picture, expected)


def test_sheet_does_not_alias_its_images() -> None:
    images = _images(3, 128, 3)
    before = images.copy()
    grid.sheet(images, columns=2)[:] = 0
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    ("channels", "mode"), [(1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")]
)
def test_png_holds_the_picture(
    channels: int, mode: str, tmp_path: pathlib.Path
) -> None:
    picture = _images(1, 9, channels)[0]
    path = tmp_path / "new" / "folder" / "sheet_0.5.png"
    grid.save_png(picture, path)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", mode)
        stored = np.asarray(image).reshape(picture.shape)
    np.testing.assert_array_equal(stored, picture)
    assert [p.name for p in path.parent.iterdir()] == ["sheet_0.5.png"]


def test_a_failed_write_leaves_the_earlier_png(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sheet.png"
    grid.save_png(_images(1, 9, 3)[0], path)
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        grid.save_png(np.zeros((9, 9, 5), np.uint8), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("channels", "mode"), [(1, "RGB"), (2, "RGBA"), (3, "RGB"), (4, "RGBA")]
)
def test_a_wide_picture_becomes_a_small_webp(channels: int, mode: str) -> None:
    ramp = np.linspace(0, 255, 200)[None, :, None]
    picture = np.broadcast_to(ramp, (100, 200, channels)).astype(np.uint8).copy()
    if channels in (2, 4):
        picture[..., -1] = 200  # no alpha is kept where all is opaque
    with Image.open(io.BytesIO(grid.encode_webp(picture, widest=50))) as image:
        assert (image.format, image.mode, image.size) == ("WEBP", mode, (50, 25))
        # In the middle of each pixel; the compression loses some levels.
        middle = np.linspace(0, 255, 200).reshape(50, 4).mean(1)
        found = np.asarray(image, float)[12, 5:-5, 0]
        np.testing.assert_allclose(found, middle[5:-5], atol=6)


def test_a_narrow_picture_keeps_its_size_as_webp() -> None:
    content = grid.encode_webp(np.zeros((9, 7, 3), np.uint8), widest=50)
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (7, 9)
