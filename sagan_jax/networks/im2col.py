"""3x3 convolutions as one matrix product with the nine neighbours of each place.

Good for small maps, and where one side has few channels, such as an image: neighbours
are collected on the side with fewer channels.
"""

import jax
import jax.numpy as jnp
from jax import lax

_WIDE = 128
"""Channels from which nine products are cheaper than a transposed copy of a kernel."""


def output(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution of [N, H, W, C] with [3, 3, C, K]: [N, H, W, K]."""
    c, k = kernel.shape[2:]
    if c <= k:
        return neighbours(x) @ kernel.reshape(9 * c, k)
    return _collected(x @ jnp.moveaxis(kernel, 2, 0).reshape(c, 9 * k))


def input_gradient(dy: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns [N, H, W, C], the gradient of the input for dy [N, H, W, K]."""
    flipped = kernel[::-1, ::-1]
    if min(kernel.shape[2:]) < _WIDE:
        return output(dy, flipped.swapaxes(2, 3))
    h, w = dy.shape[1:3]
    padded = jnp.pad(dy, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = jnp.zeros((), dy.dtype)
    for i in range(3):
        for j in range(3):
            moved = padded[:, i : i + h, j : j + w]
            total = total + lax.dot_general(
                moved, flipped[i, j], (((3,), (1,)), ((), ()))
            )
    return total


def kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Returns [3, 3, C, K], the gradient of the kernel for x and dy."""
    c, k = x.shape[-1], dy.shape[-1]
    if c <= k:
        return (_rows(neighbours(x)).T @ _rows(dy)).reshape(3, 3, c, k)
    product = _rows(x).T @ _rows(neighbours(dy))
    return jnp.moveaxis(product.reshape(c, 3, 3, k), 0, 2)[::-1, ::-1]


def neighbours(x: jax.Array) -> jax.Array:
    """Returns [N, H, W, 9 C]: each place's 3x3 neighbours, zeros outside of the map."""
    h, w = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.concatenate(
        [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=-1
    )


def _collected(parts: jax.Array) -> jax.Array:
    """Returns [N, H, W, K], the sum of nine parts [N, H, W, 9 K] at their places."""
    n, h, w, _ = parts.shape
    padded = jnp.pad(
        parts.reshape(n, h, w, 9, -1), ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0))
    )
    total = jnp.zeros((), parts.dtype)
    for i in range(3):
        for j in range(3):
            total = total + padded[:, i : i + h, j : j + w, 3 * i + j]
    return total


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])
