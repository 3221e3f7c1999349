"""Attention drawn over images, pixel by pixel where it was planted."""

import numpy as np
import pytest

from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.pictures import attention_maps, viridis

GAP, FRAME, TILE = attention_maps._GAP, attention_maps._FRAME, 160
STEP = TILE + 2 * FRAME + GAP
TOP = attention_maps._LINE + 2 * GAP + FRAME
"""The first row of pixels of the upper maps."""

LOWER = TOP + STEP + attention_maps._CAPTION


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_overlay_is_55_percent_map_and_45_percent_grey(channels: int) -> None:
    image = np.full((4, 4, channels), 100, np.uint8)
    attention = np.array([[0.0, 0.25], [0.5, 1.0]])
    found = attention_maps.overlay(image, attention, most=1.0)
    assert found.shape == (4, 4, 3)
    for row in range(4):
        for column in range(4):
            colour = viridis.colours(attention[row // 2, column // 2])
            expected = 0.55 * colour + 0.45 * 100
            np.testing.assert_allclose(found[row, column], expected, atol=0.51)


@pytest.mark.parametrize(
    ("point", "cell"),
    [((0, 0), 0), ((3, 4), 1 * 16 + 2), ((31, 0), 240), ((15, 31), 127)],
)
def test_a_pixel_belongs_to_the_query_that_covers_it(
    point: tuple[int, int], cell: int
) -> None:
    assert attention_maps.cell_of(point, (16, 16), 32) == cell


def _layer() -> LayerMaps:
    """Returns uniform attention, but for query (2, 3), which attends to key (6, 1)."""
    weights = np.full((1, 256, 64), 1 / 64, np.float32)
    weights[0, 2 * 16 + 3] = np.eye(64)[6 * 8 + 1]
    return LayerMaps("attention16", (16, 16), (8, 8), 0.5, weights)


def _page() -> np.ndarray:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    points = np.array([[[5, 7], [20, 20]]])  # in the cells (2, 3) and (10, 10)
    return attention_maps.page(_layer(), image, points, ["class 0"], "a title")


def _tile(page: np.ndarray, column: int, top: int) -> np.ndarray:
    left = GAP + column * STEP + FRAME
    return page[top : top + TILE, left : left + TILE]


def _brightest(tile: np.ndarray) -> np.ndarray:
    colour = attention_maps.overlay(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1)), 1.0)
    return np.all(tile == colour[0, 0], axis=-1)


def test_the_map_of_a_query_is_bright_where_attention_was_planted() -> None:
    for top in (TOP, LOWER):
        bright = _brightest(_tile(_page(), 1, top))
        rows, columns = np.nonzero(bright)
        # Key (6, 1) covers rows 120 to 139 and columns 20 to 39 of the enlarged image.
        assert (rows.min(), rows.max()) == (120, 139)
        assert (columns.min(), columns.max()) == (20, 39)


def test_a_flat_map_is_bright_on_its_own_scale_and_dark_on_the_common_one() -> None:
    page = _page()
    assert _brightest(_tile(page, 2, TOP)).mean() > 0.9
    lower = _tile(page, 2, LOWER)
    dark = attention_maps.overlay(
        np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 1 / 64), 1.0
    )
    assert np.all(lower == dark[0, 0], axis=-1).mean() > 0.9


def test_dot_arrow_and_frame_have_the_query_s_colour() -> None:
    page, colour = _page(), attention_maps.COLOURS[0]
    top, left = TOP, GAP + STEP + FRAME
    assert tuple(page[top - 2, left + TILE // 2]) == colour  # the frame
    image, drawn = _tile(page, 0, TOP), _tile(page, 1, TOP)
    # The query (2, 3) has its centre at pixel (25, 35) of the enlarged image.
    for tile in (image, drawn):
        assert tuple(tile[25, 35]) == colour
    # Its arrow ends in the centre of key (6, 1), at (130, 30).
    line = [tuple(drawn[round(25 + t * 105), round(35 - t * 5)]) for t in (0.3, 0.6)]
    assert line == [colour, colour]
    ink = np.all(drawn == colour, axis=-1)
    assert ink[124:130, 28:33].any()
    assert not ink[132:].any()


def test_each_image_has_rows_of_its_own() -> None:
    layer = _layer()
    both = layer._replace(weights=np.concatenate([layer.weights, layer.weights]))
    images = np.zeros((2, 32, 32, 3), np.uint8)
    points = np.array([[[5, 7]], [[20, 20]]])
    page = attention_maps.page(both, images, points, ["", ""], "title")
    second = TOP + 2 * STEP + attention_maps._CAPTION
    assert _brightest(_tile(page, 1, TOP)).mean() < 0.1
    assert _brightest(_tile(page, 1, second)).mean() > 0.9
