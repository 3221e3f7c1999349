"""Distance and entropy of attention, against closed forms."""

import math

import numpy as np
import pytest

from sagan_jax.metrics import attention_distance

GRIDS = [((4, 4), (4, 4)), ((4, 4), (2, 2)), ((4, 6), (2, 3))]
grids = pytest.mark.parametrize(("queries", "keys"), GRIDS)


def _one_hot(targets: list[int], keys: int) -> np.ndarray:
    return np.eye(keys, dtype=np.float32)[targets][None]


@grids
def test_uniform_attention_has_ratio_and_entropy_1(
    queries: tuple[int, int], keys: tuple[int, int]
) -> None:
    count = math.prod(keys)
    weights = np.full((3, math.prod(queries), count), 1 / count, np.float32)
    found = attention_distance.reach(weights, queries, keys)
    assert found.distance_ratio == pytest.approx(1, rel=1e-6)
    assert found.entropy == pytest.approx(1, rel=1e-6)


def test_uniform_distances_of_2x2_queries_by_hand() -> None:
    # From each corner of a square to its four corners: 0, 1, 1 and sqrt(2).
    uniform = np.full((1, 4, 4), 0.25, np.float32)
    found = attention_distance.reach(uniform, (2, 2), (2, 2))
    assert found.distance == pytest.approx((2 + math.sqrt(2)) / 4 / math.sqrt(8))
    # One pooled key lies in the middle, half a diagonal of a pixel from each query.
    pooled = attention_distance.reach(np.ones((1, 4, 1)), (2, 2), (1, 1))
    assert pooled.distance == pytest.approx(math.sqrt(0.5) / math.sqrt(8))
    assert pooled.entropy == 0


def test_attention_to_oneself_has_distance_0_without_pooling() -> None:
    found = attention_distance.reach(_one_hot([*range(24)], 24), (4, 6), (4, 6))
    assert (found.distance, found.distance_ratio, found.entropy) == (0, 0, 0)


def test_attention_to_the_own_cell_has_distance_0707_if_pooled() -> None:
    own = [i // 2 * 3 + j // 2 for i in range(4) for j in range(6)]
    found = attention_distance.reach(_one_hot(own, 6), (4, 6), (2, 3))
    assert found.distance == pytest.approx(math.sqrt(0.5) / math.hypot(4, 6))
    assert found.entropy == 0


def test_attention_to_one_far_corner_by_hand() -> None:
    found = attention_distance.reach(_one_hot([3] * 16, 4), (4, 4), (2, 2))
    expected = [math.hypot(i - 2.5, j - 2.5) for i in range(4) for j in range(4)]
    assert found.distance == pytest.approx(np.mean(expected) / math.hypot(4, 4))


def test_images_are_averaged() -> None:
    weights = np.concatenate([_one_hot([0] * 4, 4), np.full((1, 4, 4), 0.25)])
    each = [attention_distance.reach(w[None], (2, 2), (2, 2)) for w in weights]
    both = attention_distance.reach(weights, (2, 2), (2, 2))
    assert both.entropy == pytest.approx(0.5)
    assert both.distance == pytest.approx(np.mean([one.distance for one in each]))


def test_the_entropy_of_two_equal_keys_among_four_is_a_half() -> None:
    weights = np.array([[[0.5, 0, 0.5, 0]]])
    found = attention_distance.reach(weights, (1, 1), (2, 2))
    assert found.entropy == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(1, 16, 3), (16, 4), (0, 16, 4)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        attention_distance.reach(np.ones(shape), (4, 4), (2, 2))


def test_most_attended_is_the_centre_of_the_cell_of_a_one_hot_row() -> None:
    found = attention_distance.most_attended(_one_hot([5], 6)[0], (2, 3))
    np.testing.assert_allclose(found, [[0.75, 5 / 6]])


def test_most_attended_is_the_centroid_of_the_keys_that_hold_the_share() -> None:
    # The first two of four columns hold 80 %; the others must not move the centroid.
    row = np.array([0.5, 0.3, 0.1, 0.1])
    found = attention_distance.most_attended(row, (1, 4), share=0.6)
    assert found == pytest.approx([0.5, (0.5 * 0.125 + 0.3 * 0.375) / 0.8])
    assert attention_distance.most_attended(row, (1, 4)) == pytest.approx([0.5, 0.125])


def test_most_attended_of_everything_is_the_centroid_of_the_map() -> None:
    uniform = np.full((2, 16), 1 / 16)
    found = attention_distance.most_attended(uniform, (4, 4), share=1.0)
    np.testing.assert_allclose(found, 0.5)
