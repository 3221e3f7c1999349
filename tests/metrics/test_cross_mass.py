"""Cross-mass: closed forms, and glyphs where they were drawn."""

import numpy as np
import pytest

from sagan_jax.data import far_pairs
from sagan_jax.metrics import agreement, cross_mass

GRID = (4, 4)


def _pair(left: slice, right: slice, side: int = 8) -> np.ndarray:
    glyphs = np.zeros((1, 2, side, side), bool)
    glyphs[0, 0, 2:4, left] = True
    glyphs[0, 1, 2:4, right] = True
    return glyphs


def _to(keys: list[int], count: int = 16) -> np.ndarray:
    """Returns weights [1, 16, count] that are uniform over some keys."""
    weights = np.zeros((1, 16, count), np.float32)
    weights[..., keys] = 1 / len(keys)
    return weights


def test_uniform_attention_has_cross_mass_1() -> None:
    weights = _to([*range(4)], count=4)
    glyphs = _pair(slice(0, 2), slice(5, 8))
    assert cross_mass.cross_mass(weights, GRID, (2, 2), glyphs) == pytest.approx(1)


def test_attention_to_the_partner_by_hand() -> None:
    # Each glyph covers cell 4 or 7, a sixteenth of the image.
    glyphs = _pair(slice(0, 2), slice(6, 8))
    weights = _to([7])
    weights[0, 7] = np.eye(16)[4]
    assert cross_mass.cross_mass(weights, GRID, GRID, glyphs) == 16
    # From the left alone, half of the mean.
    assert cross_mass.cross_mass(_to([7]), GRID, GRID, glyphs) == 8


def test_attention_to_oneself_and_to_the_background_is_0() -> None:
    glyphs = _pair(slice(0, 2), slice(6, 8))
    for weights in (np.eye(16, dtype=np.float32)[None], _to([0, 13])):
        assert cross_mass.cross_mass(weights, GRID, GRID, glyphs) == 0


def test_cells_count_by_the_share_that_a_glyph_covers() -> None:
    # The right glyph covers half of key 6 and all of key 7.
    glyphs = _pair(slice(0, 2), slice(5, 8))
    found = cross_mass.cross_mass(_to([6]), GRID, GRID, glyphs)
    assert found == pytest.approx((0.5 / (1.5 / 16) + 0) / 2)


def test_images_without_both_glyphs_are_left_out() -> None:
    glyphs = np.concatenate([_pair(slice(0, 2), slice(6, 8))] * 2)
    glyphs[1, 1] = False
    weights = np.concatenate([_to([4, 7]), _to([0])])
    assert cross_mass.cross_mass(weights, GRID, GRID, glyphs) == 8
    assert cross_mass.cross_mass(weights[1:], GRID, GRID, glyphs[1:]) is None


@pytest.mark.parametrize("distance", ["near", "mid", "far"])
def test_masks_cover_the_glyphs_that_were_drawn(distance: str) -> None:
    images = np.stack(
        [far_pairs.render(1, index, distance=distance)[0] for index in range(8)]
    )
    masks = agreement.glyph_masks(images, distance)
    rows, columns = np.indices(masks.shape[2:]) + 0.5
    offset = far_pairs.FULL.distances[distance] / 2
    side = images.shape[1]
    for pair in masks:
        for sign, mask in zip((-1, 1), pair, strict=True):
            # A glyph lies in a circle of at most 0.15 around its centre.
            assert 0.01 < mask.mean() < np.pi * 0.17**2
            assert abs(columns[mask].mean() / side - 0.5 - sign * offset) < 0.06
            assert 0.3 < rows[mask].mean() / side < 0.7


def test_masks_of_grey_images_are_empty() -> None:
    assert not agreement.glyph_masks(np.full((2, 32, 32, 3), 0.5)).any()
