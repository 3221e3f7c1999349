"""Conversion between uint8 images and images in [-1, 1]."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax import pixels

LEVELS = np.arange(256, dtype=np.uint8)
KINDS = pytest.mark.parametrize(
    ("asarray", "kind"),
    [(np.asarray, np.ndarray), (jnp.asarray, jax.Array)],
    ids=["numpy", "jax"],
)


@KINDS
def test_every_level_survives_decode_and_encode(asarray: Any, kind: type) -> None:
    back = pixels.encode(pixels.decode(asarray(LEVELS)))
    assert isinstance(back, kind)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, LEVELS)


def test_every_level_survives_under_jit() -> None:
    back = jax.jit(lambda x: pixels.encode(pixels.decode(x)))(LEVELS)
    np.testing.assert_array_equal(back, LEVELS)


@KINDS
def test_decode_maps_0_to_minus_1_and_255_to_1(asarray: Any, kind: type) -> None:
    images = pixels.decode(asarray(np.array([0, 255], np.uint8)))
    assert isinstance(images, kind)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, [-1.0, 1.0])


def test_decode_is_two_x_over_255_minus_1() -> None:
    expected = 2 * LEVELS.astype(np.float64) / 255 - 1
    np.testing.assert_allclose(pixels.decode(LEVELS), expected, atol=1e-7)


def test_decode_returns_the_requested_dtype() -> None:
    assert pixels.decode(LEVELS, np.float64).dtype == np.float64


@KINDS
def test_encode_clips(asarray: Any, kind: type) -> None:
    beyond = asarray(np.array([-1e9, -1.5, -1.0001, 1.0001, 1.5, 1e9], np.float32))
    np.testing.assert_array_equal(pixels.encode(beyond), [0, 0, 0, 255, 255, 255])


@KINDS
def test_encode_rounds_to_the_nearest_level(asarray: Any, kind: type) -> None:
    offsets = np.array([-0.49, -0.01, 0.01, 0.49])
    images = asarray(((100 + offsets) / 127.5 - 1).astype(np.float32))
    np.testing.assert_array_equal(pixels.encode(images), [100] * 4)


def test_zero_is_the_upper_of_the_two_middle_levels() -> None:
    assert pixels.encode(np.zeros(1, np.float32)) == 128
