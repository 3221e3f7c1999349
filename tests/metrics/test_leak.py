"""Leaks of augmentations, on images whose statistics are known."""

import math
from typing import Any

import numpy as np
import pytest

from sagan_jax.config import CHOICES
from sagan_jax.errors import UserError
from sagan_jax.metrics import leak as leak_lib


def _images(count: int, seed: int, side: int = 16) -> np.ndarray:
    """Returns images without grey: every value is near -1 or 1, their means vary."""
    random = np.random.default_rng(seed)
    signs = np.where(random.random((count, side, side, 3)) < 0.5, -1.0, 1.0)
    return (0.7 * signs + random.normal(0.0, 0.1, (count, 1, 1, 1))).clip(-1, 1)


def _shifted(images: np.ndarray, share: float = 1.0) -> np.ndarray:
    """Returns images moved down by two lines; `share` of them."""
    moved = images.copy()
    count = round(share * len(images))
    moved[:count, 2:] = images[:count, :-2]
    moved[:count, :2] = 0.0
    return moved


def test_there_is_a_statistic_for_every_augmentation() -> None:
    assert tuple(leak_lib.STATISTICS) == CHOICES["regularizers.augment"]


def test_brightness_is_the_mean() -> None:
    images = np.stack([np.full((2, 2, 1), 0.25), np.arange(4.0).reshape(2, 2, 1)])
    np.testing.assert_array_equal(leak_lib.brightness(images), [0.25, 1.5])


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (slice(0, 0), slice(0, 0), 0),
        (slice(0, 2), slice(0, 8), 2),
        (slice(7, 8), slice(0, 8), 1),
        (slice(0, 8), slice(5, 8), 3),
        (slice(1, 3), slice(0, 8), 0),  # it does not touch the edge
    ],
)
def test_the_grey_border_is_counted_from_the_edges(
    rows: slice, columns: slice, expected: int
) -> None:
    images = np.ones((1, 8, 8, 3))
    images[:, rows, columns] = 0.05
    assert leak_lib.grey_border(images)[0] == expected / 8


@pytest.mark.parametrize("side", [0, 1, 3, 8])
def test_the_largest_grey_square(side: int) -> None:
    images = np.ones((2, 8, 8, 3))
    start = min(2, 8 - side)
    images[0, start : start + side, start : start + side] = -0.05
    images[0, 0, :side] = 0.0  # a line is no larger square
    images[1, 1, 1] = (0.0, 0.0, 0.2)  # not grey in every channel
    expected = 1 / 8 if side == 1 else side / 8
    np.testing.assert_array_equal(leak_lib.grey_square(images), [expected, 0.0])


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_leak_is_the_share_of_images_that_show_it(share: float) -> None:
    real = _images(200, 0)
    found = leak_lib.leak(
        "translation", real, _shifted(real), _shifted(_images(200, 1), share)
    )
    assert found.leak == pytest.approx(share, abs=1e-6)
    assert found.interval.low <= share <= found.interval.high
    # The standard error of a share of 200.
    width = 2 * 1.96 * math.sqrt(share * (1 - share) / 200)
    assert found.interval.high - found.interval.low == pytest.approx(width, rel=0.2)


def test_a_leak_of_brightness_is_a_wider_distribution() -> None:
    random = np.random.default_rng(3)
    real, held_out, generated = (_images(500, seed) for seed in (0, 1, 2))
    augmented = real + random.uniform(-0.5, 0.5, (500, 1, 1, 1))
    null = leak_lib.leak("color", real, augmented, held_out)
    assert null.interval.low < 0 < null.interval.high
    full = leak_lib.leak(
        "color", real, augmented, generated + random.uniform(-0.5, 0.5, (500, 1, 1, 1))
    )
    assert full.interval.low < 1 < full.interval.high
    assert full.interval.low > null.interval.high


def test_bytes_and_floats_give_the_same() -> None:
    real = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)
    hole = real.copy()
    hole[:, 2:6, 2:6] = 128
    as_bytes = leak_lib.leak("cutout", real, hole, real)
    as_floats = leak_lib.leak(
        "cutout", *(x / np.float32(127.5) - np.float32(1) for x in (real, hole, real))
    )
    assert as_bytes == as_floats
    assert as_bytes.leak == 0.0


def test_the_bootstrap_follows_its_seed() -> None:
    wide = 0.5 * _images(80, 1) + np.linspace(-0.5, 0.5, 80).reshape(-1, 1, 1, 1)
    sets: Any = ("color", _images(80, 0), wide, _images(80, 2))
    found = [leak_lib.leak(*sets, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0].leak == found[2].leak
    assert found[0].interval != found[2].interval


def test_a_statistic_that_does_not_move_gives_no_share() -> None:
    real = _images(50, 0)
    found = leak_lib.leak("translation", real, real, _shifted(real))
    assert math.isnan(found.leak)
    assert math.isnan(found.interval.low)


def test_wrong_arguments_are_refused() -> None:
    real = _images(3, 0)
    with pytest.raises(UserError, match=r"augmentation='blur' .* choose one of color"):
        leak_lib.leak("blur", real, real, real)
    with pytest.raises(UserError, match=r"images has the shape \(16, 16, 3\); pass"):
        leak_lib.leak("color", real, real, real[0])
    with pytest.raises(UserError, match=r"augmented of type int64 .* pass uint8"):
        leak_lib.leak("color", real, real.astype(np.int64), real)
