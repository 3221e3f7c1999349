"""3x3 convolutions with resampling, as convolutions of the small map.

The convolution of an upsampled map has equal inputs under neighbouring taps, and the
mean of neighbouring outputs has one input under several of its taps. Once such taps are
added up, 16 of 36 products are left. The sums are made in float32 or wider, and rounded
once.
"""

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def strided(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `mean_pool(conv(x, kernel))` as one 4x4 convolution of stride 2."""
    return lax.conv_general_dilated(
        x,
        _folded(kernel, 0.25),
        (2, 2),
        ((1, 1), (1, 1)),
        dimension_numbers=_LAYOUT,
    )


def transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `conv(upsample(x), kernel)` as one transposed 4x4 convolution."""
    return lax.conv_general_dilated(
        x,
        _folded(kernel, 1.0),
        (1, 1),
        ((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=_LAYOUT,
    )


def phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `conv(upsample(x), kernel)` as four 2x2 convolutions, interleaved.

    Rows 2i of the output see rows i-1 and i of the input, rows 2i+1 see i and i+1.
    """
    wide = _wide(kernel)
    rows = []
    for taps in _pair_taps(wide, 0):
        row = [
            lax.conv_general_dilated(
                x,
                pair[1].astype(kernel.dtype),
                (1, 1),
                (taps[0], pair[0]),
                dimension_numbers=_LAYOUT,
            )
            for pair in _pair_taps(taps[1], 1)
        ]
        rows.append(jnp.stack(row, 3))
    n, h, w, _ = x.shape
    return jnp.stack(rows, 2).reshape(n, 2 * h, 2 * w, -1)


def _pair_taps(kernel: jax.Array, axis: int) -> list[tuple[tuple[int, int], jax.Array]]:
    """Returns padding and two taps along `axis`, for even and for odd outputs."""
    first, middle, last = (
        lax.slice_in_dim(kernel, i, i + 1, 1, axis) for i in range(3)
    )
    even = jnp.concatenate([first, middle + last], axis)
    odd = jnp.concatenate([first + middle, last], axis)
    return [((1, 0), even), ((0, 1), odd)]


def _folded(kernel: jax.Array, scale: float) -> jax.Array:
    """Returns [4, 4, C, K]: the sum of the kernel's four shifts by 0 or 1, scaled."""
    wide = _wide(kernel)
    shifts = [
        jnp.pad(wide, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0)))
        for i in range(2)
        for j in range(2)
    ]
    return ((shifts[0] + shifts[1] + shifts[2] + shifts[3]) * scale).astype(
        kernel.dtype
    )


def _wide(kernel: jax.Array) -> jax.Array:
    return kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
