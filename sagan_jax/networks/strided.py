"""4x4 convolutions of stride 2, and their transposes, as DCGANs are made of them.

Each is the other's gradient by its input, so the gradients of the transposed one are
written as products of the strided one: XLA's CPU compiler takes about ten times as long
for the ones that jax derives from a dilated convolution.
"""

import jax
from jax import lax

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def strided_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns [N, H/2, W/2, out]: a convolution of stride 2, padded by 1.

    That is PyTorch's `Conv2d(4, 2, 1)`, and TensorFlow's `SAME` for even H and W.

    Args:
      x: [N, H, W, in]; H and W are even.
      kernel: [4, 4, in, out].
    """
    return lax.conv_general_dilated(
        x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=_LAYOUT
    )


@jax.custom_vjp
def transposed_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns [N, 2H, 2W, out]: a transposed convolution of stride 2, padded by 1.

    Place i of the input adds x[i] kernel[k] to place 2i - 1 + k of the output. That is
    PyTorch's `ConvTranspose2d(4, 2, 1)`, and TensorFlow's `conv2d_transpose` with
    `SAME`.

    Args:
      x: [N, H, W, in].
      kernel: [4, 4, in, out]. PyTorch stores [in, out, 4, 4], TensorFlow
        [4, 4, out, in].
    """
    n, h, w, _ = x.shape
    large = jax.ShapeDtypeStruct((n, 2 * h, 2 * w, kernel.shape[-1]), x.dtype)
    down = kernel.swapaxes(2, 3)
    return jax.linear_transpose(lambda y: strided_conv(y, down), large)(x)[0]


def _saved(
    x: jax.Array, kernel: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return transposed_conv(x, kernel), (x, kernel)


def _gradients(
    saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    down = kernel.swapaxes(2, 3)
    shape = jax.ShapeDtypeStruct(down.shape, down.dtype)
    by_kernel = jax.linear_transpose(lambda k: strided_conv(dy, k), shape)(x)[0]
    return strided_conv(dy, down), by_kernel.swapaxes(2, 3)


transposed_conv.defvjp(_saved, _gradients)
