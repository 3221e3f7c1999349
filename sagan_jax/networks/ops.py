"""Pure functions of arrays: spectral normalisation, attention, batch-norm moments.

Feature maps are NHWC, kernels HWIO. Nothing here holds state.
"""

from typing import Literal, cast

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

    Power iteration starts from `u`, and sigma is computed from both vectors of the last
    iteration. With `stop_gradient_uv` these vectors are constants of the gradient, so
    d(sigma)/dW is their outer product, as in the ports. Without it, the gradient also
    flows through v and the new u, as in the official release. The given `u` is always a
    constant. Products use full float32 precision on every device.

    Args:
      kernel: [..., out]; leading axes are flattened into one.
      u: [out], the running singular vector from the `spectral` collection.
      num_iters: number of power iterations, at least 1.
      eps: constant added to the norms of both vectors.
      stop_gradient_uv: whether v and the new u are constants of the gradient.

    Returns:
      Normalised kernel [..., out], new u [out], sigma [].

    Reference: Miyato et al. 2018, Algorithm 1, https://arxiv.org/abs/1802.05957;
      `brain-research/self-attention-gan:ops.py` `spectral_normed_weight`.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    chex.assert_shape(u, (matrix.shape[1],))
    # By default, TPUs and recent GPUs would round the products to bfloat16 or TF32.
    with jax.default_matmul_precision("highest"):
        fixed = lax.stop_gradient(matrix) if stop_gradient_uv else matrix
        u = lax.stop_gradient(u)
        if num_iters > 1:  # a loop: unrolled iterations compile slowly
            u = lax.fori_loop(
                0, num_iters - 1, lambda _, u: _iterate(fixed, u, eps)[1], u
            )
        v, u = _iterate(fixed, u, eps)
        sigma = v @ matrix @ u
    return kernel / sigma, lax.stop_gradient(u), sigma


def _iterate(
    matrix: jax.Array, u: jax.Array, eps: float
) -> tuple[jax.Array, jax.Array]:
    """Returns v and the new u after one power iteration."""
    v = _normalize(matrix @ u, eps)
    return v, _normalize(v @ matrix, eps)


def _normalize(vector: jax.Array, eps: float) -> jax.Array:
    # eps is added, as in the release; some ports use it as a lower bound of the norm.
    return vector / (jnp.sqrt(jnp.sum(vector * vector)) + eps)


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns softmax(query key^T) value, and the softmax itself.

    There is no factor 1/sqrt(d), as in the paper and the official release. The softmax
    runs over the keys, in float32 or float64.

    Args:
      query: [N, Q, D].
      key: [N, K, D].
      value: [N, K, V].

    Returns:
      Output [N, Q, V] in the dtype of `value`, weights [N, Q, K] whose rows sum to 1.

    Reference: Zhang et al. 2019, section 3; `beta_ji` is weights[:, j, i].
    """
    chex.assert_rank([query, key, value], 3)
    chex.assert_equal_shape_prefix([key, value], 2)
    # Large products of unscaled queries and keys need more than bfloat16's 8 bits.
    precise = jnp.promote_types(value.dtype, jnp.float32)
    logits = jnp.einsum("nqd,nkd->nqk", query, key, preferred_element_type=precise)
    weights = jax.nn.softmax(logits, axis=-1)
    return jnp.einsum("nqk,nkv->nqv", weights.astype(value.dtype), value), weights


ATTENTION_KERNELS = ("plain", "xla", "cudnn")
"""The choices of `attention_kernel`: `attend`, or `attend_by` with a kernel of jax."""


def attend_by(
    kernel: str, query: jax.Array, key: jax.Array, value: jax.Array
) -> jax.Array:
    """Returns the output of `attend`, by jax.nn.dot_product_attention.

    That takes one number of channels: the narrower arrays are padded with zeros, which
    changes no product.

    Args:
      kernel: 'xla', the products of `attend` in jax's words, or 'cudnn', which never
        stores the weights, and needs bfloat16 and an NVIDIA GPU.
      query: [N, Q, D].
      key: [N, K, D].
      value: [N, K, V].
    """
    chex.assert_rank([query, key, value], 3)
    width = max(key.shape[-1], value.shape[-1])

    def one_head(x: jax.Array) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))[:, :, None]

    out = jax.nn.dot_product_attention(
        one_head(query),
        one_head(key),
        one_head(value),
        scale=1.0,
        implementation=cast(Literal["xla", "cudnn"], kernel),
    )
    return out[:, :, 0, : value.shape[-1]]


def group_moments(x: jax.Array, group_size: int) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and biased variance of each group of `group_size` examples.

    The variance is computed in a second pass, so that a large mean does not cost it
    precision. Groups are consecutive examples of the global batch: under `jax.jit` on a
    mesh, the result does not depend on the number of devices.

    Args:
      x: [N, H, W, C]; N is a multiple of `group_size`.
      group_size: number of examples in a group.

    Returns:
      Mean and variance, both [N / group_size, 1, 1, 1, C].
    """
    groups = x.reshape(-1, group_size, *x.shape[1:])
    mean = groups.mean((1, 2, 3), keepdims=True)
    variance = jnp.square(groups - mean).mean((1, 2, 3), keepdims=True)
    return mean, variance
