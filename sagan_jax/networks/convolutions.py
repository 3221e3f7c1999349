"""Convolutions of feature maps (NHWC) with kernels (HWIO), in their fastest forms.

A layer is a trilinear form of its input, its kernel and the gradient of its output. Its
three products are functions here whose gradients are again these products, so that
gradients of any order run in the chosen forms. forms.py chooses, for the platform that
a program is lowered for: one program exported for several platforms has the forms of
each.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from sagan_jax.networks import (
    forms,
    four_ninths,
    im2col,
    nine_products,
    resampling,
    winograd,
)
from sagan_jax.networks.outlined import outlined

CONVOLUTIONS = ("auto", "plain")
"""Choices of `convolutions`: the forms of forms.py, or layers as they are written."""


class Layer(NamedTuple):
    """What a product needs to know about its layer.

    Attributes:
      name: forms.CONV, forms.UPSAMPLE_CONV or forms.CONV_POOL.
      kernel: side of the kernel.
      convolutions: a name in CONVOLUTIONS.
    """

    name: str
    kernel: int
    convolutions: str


class Form(NamedTuple):
    """A form's three products.

    Attributes:
      output: maps x and kernel to y.
      input_gradient: maps dy and kernel to dx.
      kernel_gradient: maps x and dy to the gradient of the kernel.
    """

    output: Callable[[jax.Array, jax.Array], jax.Array]
    input_gradient: Callable[[jax.Array, jax.Array], jax.Array]
    kernel_gradient: Callable[[jax.Array, jax.Array], jax.Array]


def conv(x: jax.Array, kernel: jax.Array, convolutions: str = "auto") -> jax.Array:
    """Returns the stride-1 convolution of [N, H, W, in], zero-padded (SAME).

    Args:
      x: [N, H, W, in].
      kernel: [side, side, in, out].
      convolutions: a name in CONVOLUTIONS.
    """
    return _layer(forms.CONV, x, kernel, convolutions)


def upsample_conv(
    x: jax.Array, kernel: jax.Array, convolutions: str = "auto"
) -> jax.Array:
    """Returns `conv(upsample(x), kernel)`: [N, H, W, in] -> [N, 2H, 2W, out]."""
    if kernel.shape[0] == 1 and convolutions == "auto":
        return resampling.upsample(conv(x, kernel))
    return _layer(forms.UPSAMPLE_CONV, x, kernel, convolutions)


def conv_pool(x: jax.Array, kernel: jax.Array, convolutions: str = "auto") -> jax.Array:
    """Returns `mean_pool(conv(x, kernel))`: [N, H, W, in] -> [N, H/2, W/2, out]."""
    if kernel.shape[0] == 1 and convolutions == "auto":
        return conv(resampling.mean_pool(x), kernel)
    return _layer(forms.CONV_POOL, x, kernel, convolutions)


def _layer(name: str, x: jax.Array, kernel: jax.Array, convolutions: str) -> jax.Array:
    if convolutions == "plain":
        return PLAIN[name](x, kernel)
    return _output(Layer(name, kernel.shape[0], convolutions), x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _output(layer: Layer, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _run(layer, forms.OUTPUT, x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _input_gradient(layer: Layer, dy: jax.Array, kernel: jax.Array) -> jax.Array:
    return _run(layer, forms.INPUT_GRADIENT, dy, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(layer: Layer, x: jax.Array, dy: jax.Array) -> jax.Array:
    return _run(layer, forms.KERNEL_GRADIENT, x, dy)


def _saved(
    product: Callable[..., jax.Array],
) -> Callable[..., tuple[jax.Array, tuple[jax.Array, jax.Array]]]:
    return lambda layer, a, b: (product(layer, a, b), (a, b))


_output.defvjp(
    _saved(_output),
    lambda layer, saved, dy: (
        _input_gradient(layer, dy, saved[1]),
        _kernel_gradient(layer, saved[0], dy),
    ),
)
_input_gradient.defvjp(
    _saved(_input_gradient),
    lambda layer, saved, x: (
        _output(layer, x, saved[1]),
        _kernel_gradient(layer, x, saved[0]),
    ),
)
_kernel_gradient.defvjp(
    _saved(_kernel_gradient),
    lambda layer, saved, kernel: (
        _input_gradient(layer, saved[1], kernel),
        _output(layer, saved[0], kernel),
    ),
)


# Jitted by itself, so that layers of equal shape are traced and lowered once.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(layer: Layer, result: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns a product in the form that the target platform is given."""
    product = _product(layer, result, a, b)
    chosen = {p: forms.choose(p, product) for p in forms.PLATFORMS}
    branches = {p: _computed(layer, result, form) for p, form in chosen.items()}
    if result == forms.KERNEL_GRADIENT:
        cpu = branches["cpu"]
        branches["cpu"] = lambda a, b: outlined(lambda x: x)(cpu(a, b))
    return lax.platform_dependent(a, b, default=branches.pop("cuda"), **branches)


def _product(layer: Layer, result: str, a: jax.Array, b: jax.Array) -> forms.Product:
    """Returns the description of a product of the arrays a and b."""
    kernel = layer.kernel
    if result == forms.KERNEL_GRADIENT:
        inputs, outputs = a.shape[-1], b.shape[-1]
    else:
        inputs, outputs = b.shape[-2:]
    side = min(a.shape[1:3])
    # dy of a pooled layer has the small size, as has x of an upsampled one.
    small = forms.UPSAMPLE_CONV if result != forms.INPUT_GRADIENT else forms.CONV_POOL
    return forms.Product(
        layer.name,
        result,
        kernel,
        2 * side if layer.name == small else side,
        inputs,
        outputs,
        _batch(a),
        half=jnp.finfo(a.dtype).bits < 32,
    )


def _batch(a: jax.Array) -> int:
    """Returns the number of images, or a usual one where it is a symbol."""
    # jax.export leaves it open; the forms of any number are equal.
    return a.shape[0] if isinstance(a.shape[0], int) else _USUAL_BATCH


_USUAL_BATCH = 64


def _computed(
    layer: Layer, result: str, name: str
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    form = FORMS[layer.name][name](layer)
    return {
        forms.OUTPUT: form.output,
        forms.INPUT_GRADIENT: form.input_gradient,
        forms.KERNEL_GRADIENT: form.kernel_gradient,
    }[result]


def _plain_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


PLAIN: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    forms.CONV: _plain_conv,
    forms.UPSAMPLE_CONV: lambda x, k: _plain_conv(resampling.upsample(x), k),
    forms.CONV_POOL: lambda x, k: resampling.mean_pool(_plain_conv(x, k)),
}
"""Each layer as it is written: the reference that every form must equal."""


def _transposing(
    output: Callable[[jax.Array, jax.Array], jax.Array],
) -> Callable[[Layer], Form]:
    """Returns the form whose gradients are jax's own transposes of `output`."""

    def form(layer: Layer) -> Form:
        def input_gradient(dy: jax.Array, kernel: jax.Array) -> jax.Array:
            n, h, w, _ = dy.shape
            h, w = {
                forms.CONV: (h, w),
                forms.UPSAMPLE_CONV: (h // 2, w // 2),
                forms.CONV_POOL: (2 * h, 2 * w),
            }[layer.name]
            x = jax.ShapeDtypeStruct((n, h, w, kernel.shape[2]), dy.dtype)
            return jax.linear_transpose(lambda x: output(x, kernel), x)(dy)[0]

        def kernel_gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
            shape = (layer.kernel, layer.kernel, x.shape[-1], dy.shape[-1])
            kernel = jax.ShapeDtypeStruct(shape, x.dtype)
            return jax.linear_transpose(lambda kernel: output(x, kernel), kernel)(dy)[0]

        return Form(output, input_gradient, kernel_gradient)

    return form


def _winograd(m: int) -> Callable[[Layer], Form]:
    form = Form(
        functools.partial(winograd.output, m),
        functools.partial(winograd.input_gradient, m),
        functools.partial(winograd.kernel_gradient, m),
    )
    return lambda layer: form


_DOT = Form(
    lambda x, kernel: x @ kernel[0, 0],
    lambda dy, kernel: lax.dot_general(dy, kernel[0, 0], (((3,), (1,)), ((), ()))),
    lambda x, dy: lax.dot_general(x, dy, (((0, 1, 2), (0, 1, 2)), ((), ())))[
        None, None
    ],
)

FORMS: dict[str, dict[str, Callable[[Layer], Form]]] = {
    forms.CONV: {
        "plain": _transposing(PLAIN[forms.CONV]),
        "im2col": lambda layer: Form(
            im2col.output, im2col.input_gradient, im2col.kernel_gradient
        ),
        "dot": lambda layer: _DOT,
        "winograd 2": _winograd(2),
        "winograd 4": _winograd(4),
    },
    forms.UPSAMPLE_CONV: {
        "plain": _transposing(PLAIN[forms.UPSAMPLE_CONV]),
        "transposed": _transposing(four_ninths.transposed),
        "phases": _transposing(four_ninths.phases),
        "nine products": lambda layer: Form(
            nine_products.upsample_conv,
            nine_products.upsample_conv_input_gradient,
            nine_products.upsample_conv_kernel_gradient,
        ),
    },
    forms.CONV_POOL: {
        "plain": _transposing(PLAIN[forms.CONV_POOL]),
        "strided": _transposing(four_ninths.strided),
        "nine products": lambda layer: Form(
            nine_products.conv_pool,
            nine_products.conv_pool_input_gradient,
            nine_products.conv_pool_kernel_gradient,
        ),
    },
}
"""The forms of each layer."""
