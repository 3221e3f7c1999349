"""Operations, compared with loops, closed forms, SVD and hand-computed numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.networks import convolutions, ops, resampling

# One iteration for W = [[1, 2], [3, 4], [5, 6]] and u = [1, 0], computed in float64 and
# rounded to six decimals, hence the tolerance of 1e-6.
WORKED = {
    "normalized": [[0.105226, 0.210451], [0.315677, 0.420903], [0.526128, 0.631354]],
    "u": [0.622524, 0.782601],
    "sigma": 9.503383,
}
# The gradient of normalized[0, 0], with constant u and v (True) and through them.
WORKED_GRADIENTS = {
    True: [[0.104061, -0.001465], [-0.003495, -0.004394], [-0.005826, -0.007324]],
    False: [[0.102973, -0.001465], [-0.003830, -0.004394], [-0.005407, -0.007324]],
}


def _random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _one_iteration(matrix: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, ...]:
    v = matrix @ u
    v = v / np.linalg.norm(v)
    u = v @ matrix
    u = u / np.linalg.norm(u)
    return v, u, v @ matrix @ u


def _largest_singular_value(kernel: np.ndarray) -> float:
    matrix = np.reshape(np.asarray(kernel, np.float64), (-1, kernel.shape[-1]))
    return np.linalg.svd(matrix, compute_uv=False)[0]


# Spectral norm.


def test_spectral_norm_of_the_worked_example() -> None:
    kernel = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    normalized, u, sigma = ops.spectral_normalize(kernel, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(normalized, WORKED["normalized"], atol=1e-6)
    np.testing.assert_allclose(u, WORKED["u"], atol=1e-6)
    np.testing.assert_allclose(sigma, WORKED["sigma"], rtol=1e-6)


@pytest.mark.parametrize("held", [True, False], ids=["held", "through"])
def test_both_gradients_of_the_worked_example(held: bool) -> None:
    def first_entry(kernel: jax.Array) -> jax.Array:
        u = jnp.array([1.0, 0.0])
        return ops.spectral_normalize(kernel, u, stop_gradient_uv=held)[0][0, 0]

    kernel = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    gradient = jax.grad(first_entry)(kernel)
    np.testing.assert_allclose(gradient, WORKED_GRADIENTS[held], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (1, 1, 16, 6), (20, 7), (9, 1)])
def test_sigma_reaches_the_largest_singular_value(shape: tuple[int, ...]) -> None:
    kernel = jnp.asarray(_random(0, *shape))
    u = jnp.asarray(_random(1, shape[-1]))
    sigma = ops.spectral_normalize(kernel, u, num_iters=300)[2]
    np.testing.assert_allclose(sigma, _largest_singular_value(kernel), rtol=1e-5)


def test_sigma_is_never_above_the_largest_singular_value() -> None:
    kernel = jnp.asarray(_random(0, 12, 5))
    top = _largest_singular_value(kernel)
    starts = jnp.asarray(_random(1, 50, 5))
    sigmas = jax.vmap(lambda u: ops.spectral_normalize(kernel, u)[2])(starts)
    assert np.all(sigmas <= top * (1 + 1e-6))
    assert np.all(sigmas > 0)


def test_one_iteration_equals_that_of_miyato() -> None:
    kernel, u = _random(0, 12, 5), _random(1, 5)
    _, expected_u, expected_sigma = _one_iteration(kernel, u)
    normalized, new_u, sigma = ops.spectral_normalize(jnp.asarray(kernel), u)
    np.testing.assert_allclose(new_u, expected_u, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sigma, expected_sigma, rtol=1e-6)
    np.testing.assert_allclose(normalized, kernel / expected_sigma, rtol=2e-6)


def test_several_iterations_equal_as_many_calls() -> None:
    kernel, u = jnp.asarray(_random(0, 12, 5)), jnp.asarray(_random(1, 5))
    at_once = ops.spectral_normalize(kernel, u, num_iters=3)
    for _ in range(3):
        normalized, u, sigma = ops.spectral_normalize(kernel, u)
    np.testing.assert_allclose(at_once[0], normalized, rtol=1e-6)
    np.testing.assert_allclose(at_once[1], u, rtol=1e-6)
    np.testing.assert_allclose(at_once[2], sigma, rtol=1e-6)


def test_scaling_the_kernel_only_scales_sigma() -> None:
    kernel, u = jnp.asarray(_random(0, 3, 3, 2, 5)), jnp.asarray(_random(1, 5))
    once = ops.spectral_normalize(kernel, u)
    doubled = ops.spectral_normalize(2 * kernel, u)
    np.testing.assert_allclose(doubled[0], once[0], rtol=1e-6)
    np.testing.assert_allclose(doubled[1], once[1], rtol=1e-6)
    np.testing.assert_allclose(doubled[2], 2 * once[2], rtol=1e-6)


def test_gradient_of_sigma_with_constant_u_and_v_is_their_outer_product() -> None:
    kernel, u = _random(0, 12, 5), _random(1, 5)
    v, new_u, _ = _one_iteration(kernel, u)
    gradient = jax.grad(lambda w: ops.spectral_normalize(w, u)[2])(jnp.asarray(kernel))
    np.testing.assert_allclose(gradient, np.outer(v, new_u), rtol=1e-4, atol=1e-6)


def test_gradient_through_u_and_v_equals_the_difference_quotient() -> None:
    with jax.enable_x64(True):
        kernel, u = jnp.asarray(_random(0, 6, 3), float), jnp.asarray(_random(1, 3))
        normalize = functools.partial(ops.spectral_normalize, stop_gradient_uv=False)

        def loss(w: jax.Array) -> jax.Array:
            return jnp.sin(normalize(w, u.astype(float))[0]).sum()

        gradient = jax.grad(loss)(kernel)
        steps = 1e-5 * jnp.eye(kernel.size).reshape(-1, *kernel.shape)
        rise = jax.vmap(lambda step: loss(kernel + step) - loss(kernel - step))(steps)
        quotient = rise / 2e-5
        # Central differences have an error of step**2, and a rounding of 1e-16 / step.
        np.testing.assert_allclose(gradient.ravel(), quotient, atol=1e-9)


@pytest.mark.parametrize("held", [True, False], ids=["held", "through"])
def test_stored_u_is_a_constant_of_the_gradient(held: bool) -> None:
    def loss(u: jax.Array) -> jax.Array:
        kernel = jnp.asarray(_random(0, 6, 3))
        normalized, new_u, sigma = ops.spectral_normalize(
            kernel, u, stop_gradient_uv=held
        )
        return (normalized**3).sum() + sigma + new_u.sum()

    assert not np.any(jax.grad(loss)(jnp.asarray(_random(1, 3))))


def test_epsilon_is_added_to_the_norms() -> None:
    # One column: |v| = |W u| / (|W u| + eps) = 5 / (5 + eps), and v W = 5 |v|.
    kernel, eps = jnp.array([[3.0], [4.0]]), 0.5
    _, u, sigma = ops.spectral_normalize(kernel, jnp.array([1.0]), eps=eps)
    v_norm = 5 / (5 + eps)
    expected_u = 5 * v_norm / (5 * v_norm + eps)
    np.testing.assert_allclose(u, [expected_u], rtol=1e-6)
    np.testing.assert_allclose(sigma, v_norm * 5 * expected_u, rtol=1e-6)


def test_u_of_another_length_is_refused() -> None:
    with pytest.raises(AssertionError, match="shape"):
        ops.spectral_normalize(jnp.ones((4, 3)), jnp.ones(4))


# Convolution and resampling.


def _conv_by_loops(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Cross-correlation with zero padding, in float64."""
    side = kernel.shape[0]
    before, after = (side - 1) // 2, side // 2
    border = ((0, 0), (before, after), (before, after), (0, 0))
    padded = np.pad(x.astype(np.float64), border)
    out = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            window = padded[:, i : i + side, j : j + side]
            out[:, i, j] = np.einsum("nabc,abco->no", window, kernel)
    return out


@pytest.mark.parametrize("side", [1, 3, 4])
def test_conv_is_a_zero_padded_cross_correlation(side: int) -> None:
    x, kernel = _random(0, 2, 4, 6, 3), _random(1, side, side, 3, 5)
    expected = _conv_by_loops(x, kernel)
    np.testing.assert_allclose(
        convolutions.conv(x, kernel), expected, rtol=1e-4, atol=1e-5
    )


def test_upsample_repeats_every_pixel_two_by_two() -> None:
    x = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(1, 2, 3, 1)
    expected = [
        [1, 1, 2, 2, 3, 3],
        [1, 1, 2, 2, 3, 3],
        [4, 4, 5, 5, 6, 6],
        [4, 4, 5, 5, 6, 6],
    ]
    np.testing.assert_array_equal(resampling.upsample(x)[0, :, :, 0], expected)


CELLS = np.array([[1.0, 2.0, -5.0, 0.0], [3.0, 6.0, -1.0, -2.0]]).reshape(1, 2, 4, 1)


def test_mean_pool_takes_the_mean_of_each_cell() -> None:
    np.testing.assert_array_equal(resampling.mean_pool(CELLS).ravel(), [3.0, -2.0])


def test_max_pool_takes_the_maximum_of_each_cell() -> None:
    np.testing.assert_array_equal(resampling.max_pool(CELLS).ravel(), [6.0, 0.0])


def test_pooling_keeps_channels_and_examples_apart() -> None:
    x = _random(0, 2, 4, 6, 3) + np.float32(4)  # no mean cancels
    for pool, reduce in (
        (resampling.mean_pool, np.mean),
        (resampling.max_pool, np.max),
    ):
        pooled = pool(jnp.asarray(x))
        assert pooled.shape == (2, 2, 3, 3)
        cell = reduce(x[1, 2:4, 4:6, 2])
        np.testing.assert_allclose(pooled[1, 1, 2, 2], cell, rtol=1e-6)


def test_upsample_conv_doubles_before_the_convolution() -> None:
    x, kernel = _random(0, 2, 2, 3, 3), _random(1, 3, 3, 3, 4)
    expected = _conv_by_loops(x.repeat(2, axis=1).repeat(2, axis=2), kernel)
    out = convolutions.upsample_conv(jnp.asarray(x), kernel)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_conv_pool_halves_after_the_convolution() -> None:
    x, kernel = _random(0, 2, 4, 6, 3), _random(1, 3, 3, 3, 4)
    convolved = _conv_by_loops(x, kernel)
    quarters = [convolved[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    out = convolutions.conv_pool(jnp.asarray(x), kernel)
    np.testing.assert_allclose(out, sum(quarters) / 4, rtol=1e-4, atol=1e-5)


# Attention.


def _attend_by_loops(
    query: np.ndarray, key: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    weights = np.zeros((*query.shape[:2], key.shape[1]))
    out = np.zeros((*query.shape[:2], value.shape[2]))
    for n in range(query.shape[0]):
        for j in range(query.shape[1]):
            scores = [np.exp(np.dot(query[n, j], k)) for k in key[n]]
            for i, score in enumerate(scores):
                weights[n, j, i] = score / sum(scores)
                out[n, j] += weights[n, j, i] * value[n, i]
    return out, weights


QKV = (_random(0, 2, 8, 4), _random(1, 2, 8, 4), _random(2, 2, 8, 6))


def test_attention_equals_an_explicit_loop() -> None:
    out, weights = ops.attend(*QKV)
    expected_out, expected_weights = _attend_by_loops(*QKV)
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(out, expected_out, rtol=1e-4, atol=1e-5)


def test_attention_to_fewer_keys_equals_an_explicit_loop() -> None:
    query, key, value = QKV
    pooled = query, key[:, :2], value[:, :2]
    expected, _ = _attend_by_loops(*pooled)
    np.testing.assert_allclose(ops.attend(*pooled)[0], expected, rtol=1e-4, atol=1e-5)


def test_every_query_s_weights_sum_to_one() -> None:
    np.testing.assert_allclose(ops.attend(*QKV)[1].sum(-1), 1.0, rtol=1e-6)


def test_a_softmax_over_the_queries_would_be_noticed() -> None:
    query, key, value = QKV
    transposed = jax.nn.softmax(jnp.einsum("nqd,nkd->nqk", query, key), axis=1)
    out, weights = ops.attend(query, key, value)
    assert np.abs(transposed - weights).max() > 0.1
    assert np.abs(transposed.sum(-1) - 1).max() > 0.1
    assert np.abs(transposed @ value - out).max() > 0.1


def test_attention_does_not_divide_by_the_root_of_the_dimension() -> None:
    # Products log 3 and 0 of 4-vectors give weights 3/4 and 1/4, not sqrt(3) : 1.
    query = jnp.array([[[np.log(3.0), 0.0, 0.0, 0.0]]])
    key = jnp.array([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]])
    out, weights = ops.attend(query, key, jnp.array([[[1.0], [5.0]]]))
    np.testing.assert_allclose(weights, [[[0.75, 0.25]]], rtol=1e-6)
    np.testing.assert_allclose(out, [[[2.0]]], rtol=1e-6)


def test_attention_survives_products_that_overflow_exp() -> None:
    query = jnp.full((1, 1, 1), 1e4)
    out, _ = ops.attend(query, jnp.array([[[1.0], [-1.0]]]), jnp.array([[[2.0], [7]]]))
    np.testing.assert_array_equal(out, [[[2.0]]])


def test_bfloat16_attention_has_its_softmax_in_float32() -> None:
    half = tuple(jnp.asarray(array, jnp.bfloat16) for array in QKV)
    out, weights = ops.attend(*half)
    assert (out.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)
    # The inputs are exact in float32, so only the order of the sums can differ.
    _, expected = ops.attend(*(array.astype(jnp.float32) for array in half))
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_keys_without_values_are_refused() -> None:
    query, key, value = QKV
    with pytest.raises(AssertionError, match="shape"):
        ops.attend(query, key, value[:, :2])


# Moments.


def test_group_moments_are_those_of_each_group_alone() -> None:
    x = _random(0, 6, 3, 5, 4)
    mean, variance = ops.group_moments(jnp.asarray(x), 2)
    assert mean.shape == variance.shape == (3, 1, 1, 1, 4)
    for group in range(3):
        own = x[2 * group : 2 * group + 2].astype(np.float64)
        np.testing.assert_allclose(mean[group].ravel(), own.mean((0, 1, 2)), atol=1e-6)
        biased = own.var((0, 1, 2))
        np.testing.assert_allclose(variance[group].ravel(), biased, rtol=1e-5)


def test_the_variance_is_precise_for_a_large_mean() -> None:
    # E[x^2] - E[x]^2 in float32 would have an error of about 1e6 * 1e-7 in 1.
    x = 1000.0 + _random(0, 4, 8, 8, 2)
    _, variance = ops.group_moments(jnp.asarray(x), 4)
    expected = x.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(variance.ravel(), expected, rtol=1e-4)
