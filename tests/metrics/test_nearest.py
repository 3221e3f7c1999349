"""Nearest neighbours against brute force, and the share of close samples."""

import numpy as np
import pytest

from sagan_jax.metrics import nearest


def _brute_force(
    queries: np.ndarray, references: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    differences = queries[:, None].astype(np.float64) - references[None]
    distances = np.sqrt((differences**2).sum(axis=2))
    return distances.min(axis=1), distances.argmin(axis=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_nearest_row_is_that_of_brute_force(
    dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "_BYTES", 1)  # blocks of 16 rows
    random = np.random.default_rng(0)
    queries = random.integers(0, 256, (41, 12)).astype(dtype)
    references = random.integers(0, 256, (95, 12)).astype(dtype)
    found = nearest.nearest(queries, np.split(references, [7, 50]))
    distances, indices = _brute_force(queries, references)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
    np.testing.assert_array_equal(found.indices, indices)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_a_copy_is_at_distance_0(scale: float) -> None:
    random = np.random.default_rng(1)
    references = (scale + random.normal(size=(30, 2048))).astype(np.float32)
    found = nearest.nearest(references[[17, 3]], [references])
    assert found.distances.tolist() == [0, 0]
    assert found.indices.tolist() == [17, 3]


def test_of_equal_rows_the_first_is_found() -> None:
    references = np.zeros((5, 3), np.uint8)
    found = nearest.nearest(references[:1], [references[:2], references[2:]])
    assert found.indices.tolist() == [0]


def test_the_share_counts_distances_below_the_quantile() -> None:
    held_out = np.arange(101.0)  # whose 5 % quantile is 5
    closer = nearest.share_closer([0.0, 4.9, 5.0, 80.0], held_out)
    assert (closer.share, closer.threshold) == (0.5, 5.0)


def test_copies_are_all_closer_and_new_images_seldom() -> None:
    random = np.random.default_rng(2)
    training, samples, held_out = random.normal(size=(3, 1500, 4))

    def distances(queries: np.ndarray) -> np.ndarray:
        return nearest.nearest(queries, [training]).distances

    copies = nearest.share_closer(distances(training[:100]), distances(held_out))
    assert copies.share == 1
    honest = nearest.share_closer(distances(samples), distances(held_out))
    assert abs(honest.share - 0.05) < 4 * honest.standard_error < 0.04


def test_the_standard_error_is_the_spread_of_the_share() -> None:
    random = np.random.default_rng(3)
    draws = random.uniform(size=(2000, 500))
    found = [nearest.share_closer(row[:200], row[200:]) for row in draws]
    spread = np.std([one.share for one in found])
    # The spread of 2000 draws is known to 1 / sqrt(4000), and a quantile of 300 draws
    # is not quite normal.
    np.testing.assert_allclose(spread, found[0].standard_error, rtol=0.06)
