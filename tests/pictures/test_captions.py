"""Words on pictures: where they are, and that they fit."""

import numpy as np
import pytest

from sagan_jax.pictures import captions, grid


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_strip_is_black_on_white_and_opaque(channels: int) -> None:
    strip = captions.strip("step 1", 100, channels)
    assert strip.shape[1:] == (100, channels)
    colours = strip[..., : 1 if channels < 3 else 3]
    assert (colours.min(), colours.max()) == (0, 255)
    assert (colours[0] == 255).all()
    if channels in (2, 4):
        assert (strip[..., -1] == 255).all()


def test_words_that_do_not_fit_begin_another_line() -> None:
    one, two = captions.strip("word", 80), captions.strip("word word", 80)
    assert len(captions.strip("word word", 160)) == len(one) < len(two)
    below = two[len(two) - len(one) :]
    assert (below < 128).any()


def test_sections_are_grids_below_their_captions() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (4, 128, 128, 3), np.uint8)
    strip = captions.strip("some", 262)
    picture = captions.captioned([("some", images[:2]), ("", images[2:])], columns=2)
    expected = [strip, grid.sheet(images[:2], 2), grid.sheet(images[2:], 2)]
    np.testing.assert_array_equal(picture, np.concatenate(expected))
