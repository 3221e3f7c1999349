"""The u from which our power iteration arrives at a given sigma."""

import numpy as np
import pytest

from sagan_jax.interop import spectral
from sagan_jax.networks import ops

SHAPES = {"tall": (30, 6), "wide": (6, 30), "row": (1, 7), "column": (7, 1)}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def _matrix(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _ours(matrix: np.ndarray, u: np.ndarray) -> float:
    """Returns the sigma that the layers divide by."""
    _, _, sigma = ops.spectral_normalize(matrix.astype(np.float32), u)
    return float(sigma)


@shapes
def test_sigma_of_stored_vectors_is_reached_by_way_of_their_v(
    shape: tuple[int, int],
) -> None:
    matrix = _matrix(shape)
    v = _unit(matrix @ np.random.default_rng(0).normal(size=shape[1]))
    u = _unit(v @ matrix)
    found = spectral.start(matrix, v, float(v @ matrix @ u))
    np.testing.assert_allclose(_unit(matrix @ found.u), v, atol=1e-6)
    np.testing.assert_allclose(_ours(matrix, found.u), v @ matrix @ u, rtol=1e-6)
    assert found.miss < 1e-6


@pytest.mark.parametrize("part", [0.05, 0.3, 0.7, 0.999, 1.0])
@pytest.mark.parametrize("shape", [SHAPES["tall"], SHAPES["wide"]])
def test_any_sigma_between_the_singular_values_is_reached(
    shape: tuple[int, int], part: float
) -> None:
    # As of vectors of earlier weights, or of an average of unit vectors.
    matrix = _matrix(shape)
    values = np.linalg.svd(matrix, compute_uv=False)
    sigma = values[-1] + part * (values[0] - values[-1])
    v = _unit(np.random.default_rng(1).normal(size=shape[0]))
    found = spectral.start(matrix, v, sigma)
    np.testing.assert_allclose(_ours(matrix, found.u), sigma, rtol=1e-5)
    assert found.miss < 1e-5


def test_a_sigma_beyond_every_singular_value_is_missed_by_the_difference() -> None:
    matrix = np.diag([3.0, 2.0])
    found = spectral.start(matrix, np.array([1.0, 0.0]), 4.0)
    assert found.miss == pytest.approx(0.25)


def test_a_kernel_of_zeros_has_no_sigma() -> None:
    found = spectral.start(np.zeros((4, 3)), np.ones(4), 1.0)
    assert np.isfinite(found.u).all()
    assert found.miss == 1.0


def test_a_v_outside_the_range_of_the_kernel_is_replaced() -> None:
    matrix = np.array([[2.0], [0.0]])
    found = spectral.start(matrix, np.array([0.0, 1.0]), 2.0)
    assert _ours(matrix, found.u) == pytest.approx(2.0)
