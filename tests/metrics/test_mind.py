"""Monge distances against the published code's values, and against closed forms."""

import functools
import pathlib
import tracemalloc

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics import mind
from sagan_jax.metrics.mind import draw, drawn_distance, floor_distance, monge_distance

PATH = pathlib.Path(__file__).parents[1] / "goldens" / "mind.npz"
# Computed by torch-fidelity 0.5.0-unreleased (5e211a9) in float32, and by its formula
# in float64, along directions and rows of PyTorch's generator.
CASES = {"equal": "ab", "fewer": "ac", "same": "aa"}


@functools.cache
def goldens():
    with np.load(PATH) as archive:
        return dict(archive)


def normals(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def distance_of(case):
    stored = goldens()
    names = ("directions", "rows")
    return monge_distance(
        *(stored[name] for name in CASES[case]),
        **{name: stored[f"{case}/{name}"] for name in names},
    )


@pytest.mark.parametrize("case", CASES)
def test_stored_distances_are_reproduced(case):
    stored = goldens()[f"{case}/value_float64"]
    np.testing.assert_allclose(distance_of(case), stored, rtol=1e-12)
    # The published code projects and sums in float32.
    stored = goldens()[f"{case}/value_float32"]
    np.testing.assert_allclose(distance_of(case), stored, rtol=1e-6)


def test_other_rows_of_the_larger_set_give_another_distance():
    stored = goldens()
    rows = (stored["fewer/rows"] + 1) % 300
    found = monge_distance(stored["a"], stored["c"], stored["fewer/directions"], rows)
    assert abs(found / stored["fewer/value_float64"] - 1) > 1e-4


def test_two_numbers_are_compared_by_rank():
    # Gaps of 1 and 1, where pairs in the given order have gaps of 3 and 1.
    assert monge_distance([[0.0], [2.0]], [[3.0], [1.0]], [[1.0]]) == 3


def test_a_scaled_and_shifted_set_has_the_distance_of_its_formula():
    d, scale = 5, 1.5
    rows, shift, directions = normals(0, 40, d), normals(1, d), draw(1, 1, d, seed=2)[0]
    # Scaling and shifting keep the order of every projection.
    gaps = ((scale - 1) * rows + shift) @ directions.T
    expected = 3 * d * np.mean(gaps**2)
    found = monge_distance(rows, scale * rows + shift, directions)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_gaussians_have_the_distance_of_their_parameters():
    d, deviation = 6, 1.4
    shift = np.array([1.0, -2.0, 0.0, 0.5, 0.0, 0.0])
    real, fake = normals(3, 3000, d), deviation * normals(4, 3000, d) + shift
    expected = 3 * (shift @ shift + d * (deviation - 1) ** 2)
    # Over directions, (u.c)^2 d / |c|^2 has a relative deviation of 1 or so.
    found = drawn_distance(real, fake, count=1000)
    assert found == pytest.approx(expected, rel=0.05)


def test_a_set_and_itself_in_another_order_have_no_distance():
    rows = normals(5, 50, 4)
    assert drawn_distance(rows, rows) == 0
    assert drawn_distance(rows, rows[::-1].copy()) < 1e-25  # sums of products round


@pytest.mark.parametrize("count", [60, 45])
def test_the_sets_may_be_exchanged(count):
    real, fake = normals(6, 60, 4), normals(7, count, 4)
    assert drawn_distance(real, fake) == drawn_distance(fake, real)


def test_the_order_of_images_does_not_matter():
    real, fake = normals(8, 60, 4), normals(9, 60, 4)
    shuffled = np.random.default_rng(0).permutation(real)
    np.testing.assert_allclose(
        drawn_distance(shuffled, fake), drawn_distance(real, fake), rtol=1e-12
    )


def test_the_distance_of_equal_distributions_falls_with_the_number_of_images():
    few, many = (
        np.mean([drawn_distance(*normals(s, 2, n, 3), count=100) for s in range(20)])
        for n in (50, 500)
    )
    assert 5 < few / many < 20  # about as 1 / n


# Draws.


def test_a_seed_decides_the_draws():
    real, fake = normals(10, 60, 4), normals(11, 45, 4)
    assert drawn_distance(real, fake, seed=7) == drawn_distance(real, fake, seed=7)
    assert drawn_distance(real, fake, seed=7) != drawn_distance(real, fake, seed=8)


def test_directions_are_uniform_on_the_sphere():
    directions, rows = draw(9, 9, 4, count=20_000, seed=0)
    assert rows is None
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-14)
    second_moment = directions.T @ directions / len(directions)
    np.testing.assert_allclose(second_moment, np.eye(4) / 4, atol=0.01)
    np.testing.assert_allclose(directions.mean(axis=0), 0, atol=0.02)


def test_directions_do_not_depend_on_the_counts():
    equal, fewer = draw(9, 9, 4, seed=3), draw(9, 5, 4, seed=3)
    np.testing.assert_array_equal(equal.directions, fewer.directions)


@pytest.mark.parametrize("counts", [(9, 5), (5, 9)])
def test_rows_are_different_images_of_the_larger_set(counts):
    drawn = [draw(*counts, 2, count=1, seed=seed).rows for seed in range(100)]
    assert {len(set(rows)) for rows in drawn} == {5}
    assert set(np.concatenate(drawn)) == set(range(9))


# The floor.


def test_the_floor_compares_disjoint_halves_of_the_real_images():
    values = np.array([0.0, 1.0, 10.0, 100.0])
    pairs = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    possible = [3 * np.mean((values[[*a]] - values[[*b]]) ** 2) for a, b in pairs]
    for seed in range(10):
        found, half = floor_distance(values[:, None], most=9, seed=seed)
        assert half == 2
        assert np.isclose(found, possible, rtol=1e-12).any()


def test_the_floor_takes_no_more_images_than_were_generated():
    found, half = floor_distance(2.0 ** np.arange(20)[:, None], most=1)
    assert half == 1
    # 3 (2^i - 2^j)^2 with i != j: no image is compared with itself.
    gap = np.sqrt(found / 3)
    assert any(np.isclose(gap, 2**i - 2**j) for i in range(20) for j in range(i))


# Memory.


def test_memory_does_not_grow_with_the_number_of_directions(monkeypatch):
    real, fake = normals(12, 2000, 4), normals(13, 2000, 4)
    directions = draw(1, 1, 4, count=256, seed=0).directions
    expected = monge_distance(real, fake, directions)
    monkeypatch.setattr(mind, "_MOST_PROJECTIONS", 2**14)
    tracemalloc.start()
    try:
        found = monge_distance(real, fake, directions)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert peak < 2**20  # all projections take 4 MB for each set


# Bad input.

ROWS = normals(14, 6, 3)
UNITS = np.eye(3)


@pytest.mark.parametrize(
    ("fake", "directions", "rows", "message"),
    [
        (ROWS[:, 1:], UNITS, None, "d=3 cannot be compared with .* d=2"),
        (ROWS + np.nan, UNITS, None, "fake features hold NaN"),
        (ROWS[:0], UNITS, None, "fake features of 0 images are too few"),
        (ROWS, UNITS[:, 1:], None, r"directions .*\(3, 2\).* 3 features; pass .*K, 3"),
        (ROWS, UNITS[:0], None, r"directions of shape \(0, 3\)"),
        (ROWS, UNITS[0], None, r"directions of shape \(3,\)"),
        (ROWS, 2 * UNITS, None, "not unit vectors; divide each by its norm"),
        (ROWS, 0 * UNITS, None, "not unit vectors"),
        (ROWS, UNITS + np.nan, None, "not unit vectors"),
        (ROWS[:4], UNITS, None, "rows=None .*6 and 4; pass 4 indices .*larger"),
        (ROWS[:4], UNITS, [0, 1, 2], "rows .*not 4 different indices below 6"),
        (ROWS[:4], UNITS, [0, 1, 2, 2], "rows .*not 4 different indices below 6"),
        (ROWS[:4], UNITS, [0, 1, 2, 6], "rows .*not 4 different indices below 6"),
        (ROWS[:4], UNITS, [0, 1, 2, -1], "rows .*not 4 different indices below 6"),
        (ROWS[:4], UNITS, [0.0, 1.0, 2.0, 3.0], "rows .*float64 .*not 4 different"),
    ],
)
def test_bad_input_is_refused(fake, directions, rows, message):
    with pytest.raises(UserError, match=message):
        monge_distance(ROWS, fake, directions, rows)


def test_what_the_messages_ask_for_is_accepted():
    assert monge_distance(ROWS, 2 * ROWS, UNITS) > 0
    assert monge_distance(ROWS, ROWS[:4], UNITS, [0, 1, 2, 5]) > 0
    assert monge_distance(ROWS, ROWS[:4], *draw(6, 4, 3, seed=0)) > 0


def test_no_direction_and_no_second_half_are_refused():
    with pytest.raises(UserError, match=r"directions=0 are too few.*at least 1"):
        drawn_distance(ROWS, ROWS, count=0)
    with pytest.raises(UserError, match="real features of 1 images are too few"):
        floor_distance(ROWS[:1], most=1)
