"""Queries: typed ones, glyph centres of far pairs, and points spread over any image."""

import numpy as np
import pytest

from sagan_jax.data import far_pairs
from sagan_jax.errors import UserError
from sagan_jax.pictures import query_points


def test_points_are_rows_and_columns() -> None:
    assert query_points.parsed("8,9; 20,12") == [(8, 9), (20, 12)]
    assert query_points.parsed("spread") == query_points.parsed("") == []


@pytest.mark.parametrize("text", ["8", "8,9,10", "a,b", "8,9;", "1.5,2", ";", "8;9"])
def test_text_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^queries='.*' is not a list.*ROW,COLUMN"):
        query_points.parsed(text)


def test_more_than_five_points_are_refused() -> None:
    with pytest.raises(UserError, match="has 6 points; pass at most 5"):
        query_points.parsed(";".join(["1,2"] * 6))


@pytest.mark.parametrize("point", [(-1, 0), (0, 32), (32, 0)])
def test_points_outside_of_the_image_are_refused(point: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=f"queries={point[0]},{point[1]} .* 0 to 31"):
        query_points.check([(0, 0), point], 32)


@pytest.mark.parametrize("difficulty", ["easy", "full"])
def test_the_first_two_points_of_far_pairs_are_on_the_glyphs(difficulty: str) -> None:
    images, labels = far_pairs.render_many(1, range(64), difficulty=difficulty)
    points = query_points.of_far_pairs(images)
    assert points.shape == (64, 5, 2)
    # A ring (class 1) has a hole at its centre.
    solid = np.flatnonzero(labels != 1)
    chroma = images.max(-1).astype(int) - images.min(-1)
    at = chroma[solid[:, None], points[solid, :, 0], points[solid, :, 1]]
    assert (at[:, :2] > 60).mean() > 0.95
    assert (at[:, 2:] < 40).mean() > 0.95
    assert (points[:, 0, 1] < 16).all()
    assert (points[:, 1, 1] >= 16).all()


def test_the_centroid_of_a_square_of_colour_is_its_centre() -> None:
    image = np.full((1, 32, 32, 3), 128, np.uint8)
    image[0, 4:9, 6:11] = (255, 0, 0)
    image[0, 20:25, 22:27] = (0, 0, 255)
    points = query_points.of_far_pairs(image)
    np.testing.assert_array_equal(points[0, :2], [[6, 8], [22, 24]])


def test_spread_points_start_at_contrast_and_end_in_a_flat_region() -> None:
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0, 40:52, 8:20] = 255
    points = query_points.spread(image)[0]
    assert points.shape == (5, 2)
    row, column = points[0]
    assert 35 <= row <= 56
    assert 3 <= column <= 24
    last = image[0, points[4, 0] - 2 : points[4, 0] + 3, points[4, 1] - 2 :]
    assert not last.any()
    assert len({tuple(point) for point in points}) == 5


@pytest.mark.parametrize("channels", [1, 3])
def test_points_of_an_image_without_contrast_are_apart(channels: int) -> None:
    points = query_points.spread(np.full((1, 32, 32, channels), 9, np.uint8))[0]
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    assert apart[~np.eye(5, dtype=bool)].min() >= 8
    assert points.min() >= 2
    assert points.max() < 30
