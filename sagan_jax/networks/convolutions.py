"""Convolution and resampling of feature maps (NHWC) with kernels (HWIO)."""

import jax
import jax.numpy as jnp
from jax import lax


def conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the stride-1 convolution of [N, H, W, in], zero-padded (SAME)."""
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `conv(upsample(x), kernel)`: [N, H, W, in] -> [N, 2H, 2W, out]."""
    return conv(upsample(x), kernel)


def conv_pool(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `mean_pool(conv(x, kernel))`: [N, H, W, in] -> [N, H/2, W/2, out]."""
    return mean_pool(conv(x, kernel))


def upsample(x: jax.Array) -> jax.Array:
    """Returns [N, 2H, 2W, C]: nearest-neighbour upsampling of [N, H, W, C]."""
    n, h, w, c = x.shape
    wide = jnp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c))
    return wide.reshape(n, 2 * h, 2 * w, c)


def mean_pool(x: jax.Array) -> jax.Array:
    """Returns the mean of each 2x2 cell: [N, H, W, C] -> [N, H/2, W/2, C]."""
    return _cells(x).mean((2, 4))


def max_pool(x: jax.Array) -> jax.Array:
    """Returns the maximum of each 2x2 cell: [N, H, W, C] -> [N, H/2, W/2, C]."""
    return _cells(x).max((2, 4))


def _cells(x: jax.Array) -> jax.Array:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c)
