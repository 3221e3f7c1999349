"""Up- and downsampling of feature maps (NHWC)."""

import jax
import jax.numpy as jnp


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
