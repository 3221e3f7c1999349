"""Every form of a convolution against the layer as it is written."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sagan_jax.networks import convolutions, forms
from sagan_jax.networks.convolutions import FORMS, PLAIN, Layer

CASES = [(layer, name) for layer, named in FORMS.items() for name in named]
SIZES = {"even": (8, 12), "odd": (7, 5), "tiny": (2, 2)}


def _kernel_side(name: str) -> int:
    return 1 if name == "dot" else 3


def _arrays(
    layer: str,
    side: int,
    size: tuple[int, int],
    dtype: Any,
    n: int = 3,
    inputs: int = 8,
    outputs: int = 11,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns x, a kernel and dy."""
    keys = jax.random.split(jax.random.key(side + size[0]), 3)
    h, w = size
    if layer == forms.CONV_POOL:
        h, w = h + h % 2, w + w % 2
    x = jax.random.normal(keys[0], (n, h, w, inputs), dtype)
    kernel = jax.random.normal(keys[1], (side, side, inputs, outputs), dtype)
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


LAYERS: dict[str, Callable[..., jax.Array]] = {
    forms.CONV: convolutions.conv,
    forms.UPSAMPLE_CONV: convolutions.upsample_conv,
    forms.CONV_POOL: convolutions.conv_pool,
}


@pytest.fixture
def no_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chooses forms for small products too."""
    monkeypatch.setattr(forms, "SMALL", 0)
    monkeypatch.setattr(forms, "TINY", 0)
    # Choices are made while tracing, and remembered by shape: tests that use this take
    # shapes of their own.


@pytest.mark.usefixtures("no_threshold")
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize("layer", LAYERS)
def test_second_derivatives_equal_those_of_the_layer_as_written(
    layer: str, side: int
) -> None:
    with jax.enable_x64(True):
        x, kernel, _ = _arrays(layer, side, (16, 16), jnp.float64, 2, 17, 19)

        def penalty(convolve: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            def norm(x: jax.Array, kernel: jax.Array) -> jax.Array:
                score = lambda x: jnp.sum(jnp.sin(convolve(x, kernel)))  # noqa: E731
                return jnp.sum(jax.grad(score)(x) ** 2)

            return jax.grad(norm, argnums=(0, 1))

        found = jax.jit(penalty(LAYERS[layer]))(x, kernel)
        expected = jax.jit(penalty(PLAIN[layer]))(x, kernel)
        for value, true in zip(found, expected, strict=True):
            _assert_close(value, true, 1e-12)


@pytest.mark.parametrize("layer", LAYERS)
def test_plain_leaves_the_layer_as_it_is_written(layer: str) -> None:
    x, kernel, _ = _arrays(layer, 3, (16, 16), jnp.float32)
    found = jax.make_jaxpr(lambda x, k: LAYERS[layer](x, k, "plain"))(x, kernel)
    assert str(found) == str(jax.make_jaxpr(PLAIN[layer])(x, kernel))


@pytest.mark.usefixtures("no_threshold")
def test_a_program_has_the_forms_of_the_platform_it_is_lowered_for() -> None:
    x, kernel, _ = _arrays(forms.UPSAMPLE_CONV, 3, (16, 16), jnp.float32, 2, 17, 20)
    traced = jax.jit(convolutions.upsample_conv).trace(x, kernel)
    text = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in forms.PLATFORMS}
    products = {
        p: (t.count("stablehlo.dot_general"), t.count("stablehlo.convolution"))
        for p, t in text.items()
    }
    assert products == {"cpu": (9, 0), "cuda": (0, 1), "tpu": (0, 4)}


@pytest.mark.usefixtures("no_threshold")
def test_layers_run_under_vmap() -> None:
    x, kernel, _ = _arrays(forms.CONV, 3, (16, 16), jnp.float32, 2, 17, 20)
    kernels = jnp.stack([kernel, 2 * kernel])
    found = jax.vmap(convolutions.conv, in_axes=(None, 0))(x, kernels)
    _assert_close(found[1], PLAIN[forms.CONV](x, 2 * kernel), 1e-5)


@pytest.mark.usefixtures("no_threshold")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_batch_may_be_split_over_devices(layer: str) -> None:
    x, kernel, dy = _arrays(layer, 3, (16, 16), jnp.float32, 4, 18, 21)
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    rows = NamedSharding(mesh, PartitionSpec("data"))

    def gradients(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> Any:
        return jax.vjp(LAYERS[layer], x, kernel)[1](dy)

    expected = jax.vjp(PLAIN[layer], x, kernel)[1](dy)
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = (
        jax.device_put(x, rows),
        jax.device_put(kernel, everywhere),
        jax.device_put(dy, rows),
    )
    compiled = jax.jit(gradients).lower(*split).compile()
    for value, true in zip(compiled(*split), expected, strict=True):
        _assert_close(value, true, 1e-5)
    kinds = set(
        re.findall(r"(all-\w+|collective-permute|reduce-scatter)\(", compiled.as_text())
    )
    assert kinds == {"all-reduce"}


REAL = [(128, 64, 64), (64, 128, 128), (32, 256, 256), (16, 512, 512), (8, 1024, 1024)]


@pytest.mark.slow
@pytest.mark.parametrize(("side", "inputs", "outputs"), REAL)
@pytest.mark.parametrize(("layer", "name"), CASES)
def test_forms_keep_float32_at_the_sizes_of_the_128_px_networks(
    layer: str, name: str, side: int, inputs: int, outputs: int
) -> None:
    # Each against float64 sums, relative to the largest entry.
    keys = jax.random.split(jax.random.key(side), 3)
    kernel_side = _kernel_side(name)
    if layer == forms.UPSAMPLE_CONV:
        side //= 2
    x = jax.random.normal(keys[0], (2, side, side, inputs))
    kernel = jax.random.normal(keys[1], (kernel_side, kernel_side, inputs, outputs))
    y = jax.eval_shape(PLAIN[layer], x, kernel)
    dy = jax.random.normal(keys[2], y.shape)
    form = FORMS[layer][name](Layer(layer, kernel_side, "auto"))
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.float64(a)) for a in (x, kernel, dy)]
        expected, transpose = jax.vjp(jax.jit(PLAIN[layer]), *wide[:2])
        dx, dkernel = transpose(wide[2])
    _assert_close(jax.jit(form.output)(x, kernel), expected, 1e-5)
    _assert_close(jax.jit(form.input_gradient)(dy, kernel), dx, 1e-5)
    _assert_close(jax.jit(form.kernel_gradient)(x, dy), dkernel, 1e-5)
