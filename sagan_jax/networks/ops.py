"""Pure functions of arrays: spectral norm, resampling, convolution, attention, moments.

Layout is NHWC for images and HWIO for kernels. Nothing here holds state.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax


def spectral_normalize(
    kernel: jax.Array,
    u: jax.Array,
    *,
    num_iters: int = 1,
    eps: float = 1e-12,
    stop_gradient_uv: bool = True,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns `kernel` divided by an estimate of its largest singular value.

    Power iteration starts from `u`; sigma uses the vectors of the last iteration, never
    the stored one alone. With `stop_gradient_uv` the singular vectors are constants, so
    d(sigma)/dW is their outer product (what every port does); without it the gradient
    also flows through v and the new u, as in the official release. `u` itself is always
    a constant. float32 products are exact on every device (precision 'highest').

    Args:
      kernel: [..., out]; leading axes are flattened to one.
      u: [out], the running singular vector from the `spectral` collection.
      num_iters: power iterations, at least 1.
      eps: added to the norms of both vectors.
      stop_gradient_uv: whether u and v are constants of the gradient.

    Returns:
      Normalised kernel [..., out], new u [out], sigma [].

    Reference: Miyato et al. 2018, Algorithm 1, https://arxiv.org/abs/1802.05957;
      `brain-research/self-attention-gan:ops.py` `spectral_normed_weight`.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    chex.assert_shape(u, (matrix.shape[1],))
    with jax.default_matmul_precision("highest"):
        held = lax.stop_gradient(matrix) if stop_gradient_uv else matrix
        u = lax.stop_gradient(u)
        if num_iters > 1:  # a loop, since many iterations are slow to compile
            u = lax.fori_loop(
                0, num_iters - 1, lambda _, u: _iterate(held, u, eps)[1], u
            )
        v, u = _iterate(held, u, eps)
        sigma = v @ matrix @ u
    return kernel / sigma, lax.stop_gradient(u), sigma


def _iterate(
    matrix: jax.Array, u: jax.Array, eps: float
) -> tuple[jax.Array, jax.Array]:
    """Returns v and the next u."""
    v = _normalize(matrix @ u, eps)
    return v, _normalize(v @ matrix, eps)


def _normalize(vector: jax.Array, eps: float) -> jax.Array:
    return vector / (jnp.sqrt(jnp.sum(vector * vector)) + eps)


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns softmax(query key^T) value, and the softmax.

    There is no 1/sqrt(d): the paper and the official release have none. The softmax is
    over the keys, in at least float32.

    Args:
      query: [N, Q, D].
      key: [N, K, D].
      value: [N, K, V].

    Returns:
      Output [N, Q, V] in the type of `value`, weights [N, Q, K] whose rows sum to 1.

    Reference: Zhang et al. 2019, section 3; `beta_ji` is weights[:, j, i].
    """
    chex.assert_rank([query, key, value], 3)
    chex.assert_equal_shape_prefix([key, value], 2)
    precise = jnp.promote_types(value.dtype, jnp.float32)
    logits = jnp.einsum("nqd,nkd->nqk", query, key, preferred_element_type=precise)
    weights = jax.nn.softmax(logits, axis=-1)
    return jnp.einsum("nqk,nkv->nqv", weights.astype(value.dtype), value), weights


def group_moments(x: jax.Array, group_size: int) -> tuple[jax.Array, jax.Array]:
    """Returns mean and biased variance of each group of `group_size` examples.

    Two passes, so that a large mean costs no digits. A group is `group_size` successive
    examples of the whole batch, wherever they are computed: under `jax.jit` over a mesh
    the result does not depend on the number of devices.

    Args:
      x: [N, H, W, C]; N is a multiple of `group_size`.
      group_size: examples in a group.

    Returns:
      Mean and variance, both [N / group_size, 1, 1, 1, C].
    """
    groups = x.reshape(-1, group_size, *x.shape[1:])
    mean = groups.mean((1, 2, 3), keepdims=True)
    variance = jnp.square(groups - mean).mean((1, 2, 3), keepdims=True)
    return mean, variance
