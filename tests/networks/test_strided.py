"""4x4 convolutions of stride 2 and their transposes, against sums written out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.networks import strided

N, H, W, C, K = 2, 4, 6, 3, 5


def _arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def _strided(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    n, h, w, _ = x.shape
    y = np.zeros((n, h // 2, w // 2, kernel.shape[-1]))
    for i in range(h // 2):
        for j in range(w // 2):
            patch = padded[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
            y[:, i, j] = np.einsum("nhwc,hwck->nk", patch, kernel)
    return y


def _transposed(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    n, h, w, _ = x.shape
    y = np.zeros((n, 2 * h + 2, 2 * w + 2, kernel.shape[-1]))
    for i in range(h):
        for j in range(w):
            added = np.einsum("nc,hwck->nhwk", x[:, i, j], kernel)
            y[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += added
    return y[:, 1:-1, 1:-1]


@pytest.mark.parametrize(
    ("ours", "expected"),
    [(strided.strided_conv, _strided), (strided.transposed_conv, _transposed)],
    ids=["strided", "transposed"],
)
def test_the_sums_are_those_written_out(
    ours: Callable[..., Any], expected: Callable[..., Any]
) -> None:
    x, kernel = _arrays((N, H, W, C), (4, 4, C, K))
    np.testing.assert_allclose(ours(x, kernel), expected(x, kernel), atol=2e-5)


def _of_dilated(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the transposed convolution as one of a map with holes."""
    return jax.lax.conv_general_dilated(
        x,
        kernel[::-1, ::-1],
        (1, 1),
        ((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def test_gradients_of_the_transpose_are_those_of_a_dilated_convolution() -> None:
    x, kernel, dy = _arrays((N, H, W, C), (4, 4, C, K), (N, 2 * H, 2 * W, K))
    _, ours = jax.vjp(strided.transposed_conv, jnp.asarray(x), jnp.asarray(kernel))
    _, theirs = jax.vjp(_of_dilated, jnp.asarray(x), jnp.asarray(kernel))
    for found, expected in zip(ours(dy), theirs(dy), strict=True):
        np.testing.assert_allclose(found, expected, atol=3e-5)


def test_second_gradients_of_the_transpose_exist() -> None:
    x, kernel = map(jnp.asarray, _arrays((1, 2, 2, 1), (4, 4, 1, 1)))

    def penalty(function: Any) -> Any:
        slope = jax.grad(lambda k, x: (function(x, k) ** 2).sum(), 1)
        return jax.grad(lambda k: (slope(k, x) ** 2).sum())(kernel)

    ours, theirs = penalty(strided.transposed_conv), penalty(_of_dilated)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)
