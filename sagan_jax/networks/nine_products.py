"""3x3 convolutions after upsampling or before pooling, as nine small matrix products.

Upsampled rows come in equal pairs, and pooled rows are sums of pairs. Along one axis,
with e and o the even and odd rows of the large map, each tap of the kernel then meets
one sum of rows at the size of the small map:

    tap 0: o[i-1] + e[i]        tap 1: e[i] + o[i]        tap 2: o[i] + e[i+1]

Over both axes these are nine maps, and one product of each with its tap: 9 products for
4 outputs where the convolution of the large map has 36. The kernel itself is never
transformed. Zeros outside of the large map are zeros outside of the small one.
"""

import jax
import jax.numpy as jnp
from jax import lax

_TAPS = [(i, j) for i in range(3) for j in range(3)]


def conv_pool(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `mean_pool(conv(x, kernel))`: [N, 2H, 2W, C] -> [N, H, W, K]."""
    maps = _gathered(x)
    return _sum([_product(maps[i][j], kernel[i, j], 0) for i, j in _TAPS]) * 0.25


def conv_pool_input_gradient(dy: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns [N, 2H, 2W, C], the gradient of conv_pool's input for dy [N, H, W, K]."""
    dy = dy * 0.25
    return _scattered(
        [[_product(dy, kernel[i, j], 1) for j in range(3)] for i in range(3)]
    )


def conv_pool_kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Returns [3, 3, C, K], the gradient of conv_pool's kernel."""
    dy, maps = dy * 0.25, _gathered(x)
    return jnp.stack([_outer(maps[i][j], dy) for i, j in _TAPS]).reshape(
        3, 3, x.shape[-1], dy.shape[-1]
    )


# Upsampling is the adjoint of pooling, so its taps meet the same maps in reverse order.
def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `conv(upsample(x), kernel)`: [N, H, W, C] -> [N, 2H, 2W, K]."""
    return _scattered(
        [[_product(x, kernel[2 - i, 2 - j], 0) for j in range(3)] for i in range(3)]
    )


def upsample_conv_input_gradient(dy: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns [N, H, W, C], upsample_conv's input gradient for dy [N, 2H, 2W, K]."""
    maps = _gathered(dy)
    return _sum([_product(maps[i][j], kernel[2 - i, 2 - j], 1) for i, j in _TAPS])


def upsample_conv_kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
    """Returns [3, 3, C, K], the gradient of upsample_conv's kernel."""
    maps = _gathered(dy)
    return jnp.stack([_outer(x, maps[2 - i][2 - j]) for i, j in _TAPS]).reshape(
        3, 3, x.shape[-1], dy.shape[-1]
    )


def _gathered(x: jax.Array) -> list[list[jax.Array]]:
    """Returns the nine sums [3][3] of a large map, each [N, H, W, C]."""
    return [_pair_sums(rows, axis=2) for rows in _pair_sums(x, axis=1)]


def _pair_sums(x: jax.Array, axis: int) -> list[jax.Array]:
    even = lax.slice_in_dim(x, 0, None, 2, axis)
    odd = lax.slice_in_dim(x, 1, None, 2, axis)
    return [
        _shifted(odd, 1, axis) + even,
        even + odd,
        odd + _shifted(even, -1, axis),
    ]


def _scattered(maps: list[list[jax.Array]]) -> jax.Array:
    """Returns the large map for nine maps [3][3] of the small size: _gathered^T."""
    return _pairs([_pairs(row, axis=2) for row in maps], axis=1)


def _pairs(maps: list[jax.Array], axis: int) -> jax.Array:
    before, both, after = maps
    even = before + both + _shifted(after, 1, axis)
    odd = _shifted(before, -1, axis) + both + after
    shape = list(even.shape)
    shape[axis] *= 2
    return jnp.stack([even, odd], axis + 1).reshape(shape)


def _shifted(x: jax.Array, by: int, axis: int) -> jax.Array:
    """Returns x moved by one place along `axis`, with zeros moving in."""
    widths = [(0, 0)] * x.ndim
    size = x.shape[axis]
    if by > 0:
        widths[axis] = (1, 0)
        return jnp.pad(lax.slice_in_dim(x, 0, size - 1, 1, axis), widths)
    widths[axis] = (0, 1)
    return jnp.pad(lax.slice_in_dim(x, 1, size, 1, axis), widths)


def _product(x: jax.Array, tap: jax.Array, contracted: int) -> jax.Array:
    return lax.dot_general(x, tap, (((3,), (contracted,)), ((), ())))


def _outer(x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns [C, K], the sum over all places of the outer products."""
    return x.reshape(-1, x.shape[-1]).T @ y.reshape(-1, y.shape[-1])


def _sum(maps: list[jax.Array]) -> jax.Array:
    total, *rest = maps
    for value in rest:
        total = total + value
    return total
