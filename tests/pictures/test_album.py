"""Pictures in a page: which of them fit, and how they are compressed."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from sagan_jax.pictures import album, grid


def _noise(side: int, seed: int = 0) -> np.ndarray:
    shape = (side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("count", "most", "places"),
    [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (9, 1, [8]), (9, 0, []), (0, 3, [])],
)
def test_places_are_spread_and_hold_the_ends(
    count: int, most: int, places: list[int]
) -> None:
    assert album.spread(count, most) == places


@pytest.mark.parametrize(
    ("budget", "places"),
    [(50, [0, 1, 2, 3, 4]), (49, [0, 1, 3, 4]), (20, [0, 4]), (19, [4]), (9, [])],
)
def test_as_many_pictures_are_shown_as_fit(budget: int, places: list[int]) -> None:
    assert album.fitting([10] * 5, budget) == places


def test_a_small_picture_keeps_every_pixel(tmp_path: pathlib.Path) -> None:
    grid.save_png(_noise(32), tmp_path / "a.png")
    content = album.compressed(tmp_path / "a.png")
    assert content
    with Image.open(io.BytesIO(content)) as opened:
        np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), _noise(32))


def test_a_large_picture_is_made_smaller(tmp_path: pathlib.Path) -> None:
    picture = np.broadcast_to(np.uint8(90), (20, album.LARGEST_SIDE * 2, 3))
    grid.save_png(picture, tmp_path / "a.png")
    content = album.compressed(tmp_path / "a.png")
    assert content
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.size == (album.LARGEST_SIDE, 10)


def test_the_page_says_how_many_sheets_it_shows(tmp_path: pathlib.Path) -> None:
    for step in range(5):
        grid.save_png(_noise(40, step), tmp_path / f"step_{step:08d}.png")
    (tmp_path / "step_00000005.png").write_bytes(b"half")
    every = album.markup(tmp_path, 10**6)
    assert every.count("<figure") == 5
    assert "5 of 6 sheets, at the same latents. 1 could not be read." in every
    few = album.markup(tmp_path, 20_000)
    assert len(few) < 21_000
    assert f"{few.count('<figure')} of 6 sheets" in few
    assert "step 0<" in few
    assert "step 4<" in few


def test_a_broken_chunk_makes_a_file_no_picture(tmp_path: pathlib.Path) -> None:
    content = bytearray(grid.encode_png(_noise(32)))
    place = content.index(b"IDAT")
    content[place : place + 4] = b";\x8c\xd8\xfd"  # Pillow raises a SyntaxError
    (tmp_path / "a.png").write_bytes(content)
    assert album.compressed(tmp_path / "a.png") is None
