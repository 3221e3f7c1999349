"""Every form of a convolution against the layer as it is written."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.networks import forms
from sagan_jax.networks.convolutions import FORMS, PLAIN, Layer

CASES = [(layer, name) for layer, named in FORMS.items() for name in named]
SIZES = {
    "even": (8, 12),
    "odd": (7, 5),
    "mixed": (6, 9),
    "small": (4, 4),
    "tiny": (2, 2),
}


def _kernel_side(name: str) -> int:
    return 1 if name == "dot" else 3


def _arrays(
    layer: str, side: int, size: tuple[int, int], dtype: Any, n: int = 3
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns x, a kernel and dy with 8 and 11 channels."""
    keys = jax.random.split(jax.random.key(side + size[0]), 3)
    h, w = size
    if layer == forms.CONV_POOL:
        h, w = h + h % 2, w + w % 2
    x = jax.random.normal(keys[0], (n, h, w, 8), dtype)
    kernel = jax.random.normal(keys[1], (side, side, 8, 11), dtype)
    y = jax.eval_shape(PLAIN[layer], x, kernel)
    return x, kernel, jax.random.normal(keys[2], y.shape, dtype)


def _assert_close(value: jax.Array, expected: jax.Array, tolerance: float) -> None:
    assert value.shape == expected.shape
    scale = np.abs(expected).max()
    np.testing.assert_allclose(value / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(("layer", "name"), CASES)
def test_every_form_equals_the_layer_as_written(
    layer: str, name: str, size: tuple[int, int]
) -> None:
    with jax.enable_x64(True):
        side = _kernel_side(name)
        x, kernel, dy = _arrays(layer, side, size, jnp.float64)
        form = FORMS[layer][name](Layer(layer, side, "auto"))
        expected, transpose = jax.vjp(PLAIN[layer], x, kernel)
        dx, dkernel = transpose(dy)
        _assert_close(jax.jit(form.output)(x, kernel), expected, 1e-12)
        _assert_close(jax.jit(form.input_gradient)(dy, kernel), dx, 1e-12)
        _assert_close(jax.jit(form.kernel_gradient)(x, dy), dkernel, 1e-12)
