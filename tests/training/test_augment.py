"""DiffAugment, compared with closed forms and plain loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.training import augment

PIXELS = np.array([[[0.0, 0.3, 0.6], [1.0, -1.0, 0.3]]], np.float32)[None]  # 1x2 pixels


def _images(side: int, count: int = 1, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(side)
    return random.uniform(0.5, 1.0, (count, side, side, channels)).astype(np.float32)


# The operations, with given draws.


def test_brightness_adds_to_every_value() -> None:
    found = augment.brightness(jnp.asarray(PIXELS), jnp.array([0.25]))
    np.testing.assert_array_equal(found, PIXELS + np.float32(0.25))


def test_saturation_scales_the_distance_to_the_grey_of_a_pixel() -> None:
    # Greys 0.3 and 0.1.
    found = augment.saturation(jnp.asarray(PIXELS), jnp.array([2.0]))
    expected = [[[-0.3, 0.3, 0.9], [1.9, -2.1, 0.5]]]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_contrast_scales_the_distance_to_the_mean_of_an_image() -> None:
    # Mean 0.2.
    found = augment.contrast(jnp.asarray(PIXELS), jnp.array([0.5]))
    expected = [[[0.1, 0.25, 0.4], [0.6, -0.4, 0.25]]]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-3, 2), (4, 4)])
def test_translation_moves_pixels_and_fills_with_zero(down: int, right: int) -> None:
    images = _images(5)
    found = augment.translated(images, jnp.array([down]), jnp.array([right]))
    expected = np.zeros_like(images)
    for y, x in itertools.product(range(5), range(5)):
        if 0 <= y - down < 5 and 0 <= x - right < 5:
            expected[0, y, x] = images[0, y - down, x - right]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("side", "centre", "rows"),
    [
        (4, 0, {0}),  # a hole of side 2 from -1 on
        (4, 2, {1, 2}),
        (4, 4, {3}),
        (6, 0, {0, 1}),  # a hole of side 3 from -1 on
        (6, 3, {2, 3, 4}),
        (6, 5, {4, 5}),
    ],
)
def test_cutout_clears_a_square(side: int, centre: int, rows: set[int]) -> None:
    images = _images(side)
    found = augment.cut_out(images, jnp.array([centre]), jnp.array([side // 2]))
    half = int(side * 0.5 + 0.5)
    columns = range(side // 2 - half // 2, side // 2 - half // 2 + half)
    for y, x in itertools.product(range(side), range(side)):
        inside = y in rows and x in columns
        expected = np.zeros(3) if inside else images[0, y, x]
        np.testing.assert_array_equal(found[0, y, x], expected)


def test_every_image_has_its_own_draw() -> None:
    images = jnp.asarray(np.repeat(_images(8), 2, axis=0))
    found = augment.translated(images, jnp.array([0, 1]), jnp.array([0, 0]))
    np.testing.assert_array_equal(found[0], images[0])
    np.testing.assert_array_equal(found[1, 1:], images[1, :-1])


# The ranges of the draws. 4000 draws come within 0.02 of both ends of a range of 2.


def test_the_ranges_of_brightness_saturation_and_contrast() -> None:
    count = 4000
    key = jax.random.key(0)
    # Of grey images only brightness and contrast are left, and contrast keeps the mean.
    grey = jnp.asarray(np.ones((count, 1, 2, 3)) * np.array([[0.0], [0.5]]), "float32")
    found = np.asarray(augment.color(grey, key))
    shifts = found.mean((1, 2, 3)) - 0.25
    factors = (found[:, 0, 1, 0] - found[:, 0, 0, 0]) / 0.5
    # In one pixel contrast scales like saturation, around the same grey.
    pure = jnp.asarray(np.ones((count, 1, 1, 1)) * np.array([0.0, 0.5, 1.0]), "float32")
    both = np.asarray(augment.color(pure, key))
    saturations = (both[:, 0, 0, 2] - both[:, 0, 0, 0]) / factors
    for draws, low, high in (
        (shifts, -0.5, 0.5),
        (factors, 0.5, 1.5),
        (saturations, 0.0, 2.0),
    ):
        tolerance = 1e-5  # of float32
        assert low - tolerance <= draws.min() < low + 0.02
        assert high - 0.02 < draws.max() <= high + tolerance
        assert abs(draws.mean() - (low + high) / 2) < 0.05


def test_the_range_of_shifts() -> None:
    # int(0.125 * 8 + 0.5) = 1: nine shifts, all equally likely.
    side, count = 8, 1800
    images = np.zeros((count, side, side, 1), np.float32)
    images[:, 3, 3] = 1.0
    found = np.asarray(augment.translation(jnp.asarray(images), jax.random.key(1)))
    places, counts = np.unique(np.argwhere(found)[:, 1:3], axis=0, return_counts=True)
    expected = list(itertools.product([2, 3, 4], repeat=2))
    assert [tuple(place) for place in places] == expected
    assert abs(counts - 200).max() < 60  # four standard deviations


@pytest.mark.parametrize("side", [4, 6])
def test_the_range_of_holes(side: int) -> None:
    # Centres are uniform on 0..4 for an even hole (side 2), on 0..5 for one of side 3.
    hole = int(side * 0.5 + 0.5)
    centres = range(side - hole % 2 + 1)
    count = 400 * len(centres)
    images = jnp.ones((count, side, side, 1))
    found = np.asarray(augment.cutout(images, jax.random.key(2)))
    rows = (found[..., 0] == 0).any(2)
    starts, counts = np.unique(
        [(r.argmax(), r.sum()) for r in rows], axis=0, return_counts=True
    )
    expected = {
        (max(0, c - hole // 2), min(side, c - hole // 2 + hole) - max(0, c - hole // 2))
        for c in centres
    }
    assert {tuple(start) for start in starts} == expected
    assert abs(counts - 400).max() < 80  # four standard deviations


# The policy.


def test_no_policy_changes_nothing() -> None:
    images = jnp.asarray(_images(8))
    assert augment.augment(images, jax.random.key(0), ()) is images


def test_augmentations_come_in_the_order_of_the_policy() -> None:
    # Brightness after the cutout brightens the hole; before it, the hole is 0.
    images, key = jnp.ones((4, 8, 8, 1)), jax.random.key(0)
    first = augment.augment(images, key, ("color", "cutout"))
    last = augment.augment(images, key, ("cutout", "color"))
    assert (first == 0).any((1, 2, 3)).all()
    assert not (last == 0).any()


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_draws_differ_by_key_and_image(name: str) -> None:
    images = jnp.asarray(np.repeat(_images(16), 8, axis=0))
    one, same, other = (
        augment.augment(images, jax.random.key(seed), (name,)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert (one != one[:1]).any()


def test_the_gradient_comes_back_through_every_augmentation() -> None:
    # The sum of the values of a shifted image, of which half is cut out, has gradient 1
    # at the pixels that are left and 0 at the others.
    images, key = jnp.asarray(_images(8, 4)), jax.random.key(3)
    policy = ("translation", "cutout")
    gradient = jax.grad(lambda x: augment.augment(x, key, policy).sum())(images)
    kept = (augment.augment(images, key, policy) != 0).sum((1, 2, 3))
    assert set(np.unique(gradient)) == {0.0, 1.0}
    np.testing.assert_array_equal(gradient.sum((1, 2, 3)), kept)
