"""Both ports: their layer tables, their values, and their quirks.

The values are those of PyTorch modules written from the tables; see pytorch_ports.py.
"""

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import port_arrays
import pytest
import tiny_gan

from experiments import celeba128_port, lsun64_port
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.networks import build
from sagan_jax.networks.dcgan import DcganDiscriminator, DcganGenerator
from sagan_jax.networks.dcgan_layers import SNTransposedConv
from sagan_jax.networks.layers import INITIALIZERS, SNConv, bias_init

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "port_values.npz"
CONFIGS: dict[str, Callable[[], Config]] = {
    "celeba128_port": celeba128_port.get_config,
    "celeba128_port:prose": lambda: celeba128_port.get_config("prose"),
    "lsun64_port": lsun64_port.get_config,
}


# Layer tables.


@functools.cache
def _shapes(name: str) -> tuple[Any, Any]:
    """Returns the shapes of both networks' variables at full size."""
    model = CONFIGS[name]().model
    generator, discriminator = build(model)
    z = jnp.zeros((2, model.latent_dim))
    images = jnp.zeros((2, model.resolution, model.resolution, 3))
    key = jax.random.key(0)
    return (
        jax.eval_shape(lambda: generator.init(key, z)),
        jax.eval_shape(lambda: discriminator.init(key, images)),
    )


def _counts(variables: Any) -> dict[str, int]:
    return {
        name: sum(math.prod(x.shape) for x in jax.tree.leaves(tree))
        for name, tree in variables["params"].items()
    }


CELEBA_G = {
    "first": 1_056_768,
    "block1": 2_097_152 + 256,
    "block2": 524_288 + 128,
    "block3": 131_072 + 64,
    "attention32": 5_201,
    "block4": 32_768 + 32,
    "block5": 8_192 + 16,
    "last": 435,
}
CELEBA_D = {
    "block1": 1_568,
    "block2": 32_832,
    "attention32": 5_201,
    "block3": 131_200,
    "block4": 524_544,
    "block5": 2_097_664,
    "last": 8_193,
}
LSUN_G = {
    "first": 1_049_088,
    "first_norm": 1_024,
    "block1": 2_097_920,
    "block2": 524_672,
    "attention16": 20_641,
    "block3": 131_264,
    "attention32": 5_201,
    "last": 3_075,
}
LSUN_D = {
    "block1": 3_136,
    "block2": 131_200,
    "block3": 524_544,
    "attention8": 82_241,
    "block4": 2_097_664,
    "attention4": 328_321,
    "last": 8_193,
}
TABLES = {
    "celeba128_port": (CELEBA_G, CELEBA_D),
    "celeba128_port:prose": (CELEBA_G, CELEBA_D),
    "lsun64_port": (LSUN_G, LSUN_D),
}


@pytest.mark.parametrize("name", TABLES)
def test_layers_have_the_parameters_of_the_published_tables(name: str) -> None:
    assert tuple(_counts(variables) for variables in _shapes(name)) == TABLES[name]


@pytest.mark.parametrize(
    ("name", "totals"),
    [
        ("celeba128_port", (3_856_372, 2_801_202)),
        ("celeba128_port:prose", (3_856_372, 2_801_202)),
        ("lsun64_port", (3_832_885, 3_175_299)),
    ],
)
def test_totals_are_the_published_ones(name: str, totals: tuple[int, int]) -> None:
    found = tuple(sum(_counts(variables).values()) for variables in _shapes(name))
    assert found == totals


def _normalized_layers(variables: Any) -> set[str]:
    return set(variables["spectral"])


def test_the_prose_normalises_every_layer_and_the_code_all_but_the_dense_ones() -> None:
    prose, code = _shapes("celeba128_port:prose"), _shapes("celeba128_port")
    assert _normalized_layers(prose[0]) == CELEBA_G.keys()
    assert _normalized_layers(prose[1]) == CELEBA_D.keys()
    assert _normalized_layers(code[0]) == CELEBA_G.keys() - {"first"}
    assert _normalized_layers(code[1]) == CELEBA_D.keys() - {"last"}


def test_lsun_normalises_neither_attention_nor_the_last_layers() -> None:
    generator, discriminator = _shapes("lsun64_port")
    assert _normalized_layers(generator) == {"first", "block1", "block2", "block3"}
    blocks = {"block1", "block2", "block3", "block4"}
    assert _normalized_layers(discriminator) == blocks


def test_u_of_a_transposed_convolution_of_lsun_has_the_input_channels() -> None:
    spectral = _shapes("lsun64_port")[0]["spectral"]
    sides = [spectral["first"], *(spectral[f"block{i}"]["conv"] for i in (1, 2, 3))]
    assert [x["u"].shape for x in sides] == [(128,), (512,), (256,), (128,)]


# Values.


def _networks(port: str, **changes: Any) -> tuple[Any, Any]:
    small, model = port_arrays.PORTS[port], CONFIGS[port]().model
    model.resolution, model.width = small.resolution, 1
    model.latent_dim = port_arrays.LATENT
    model.generator_channel_multiples = small.up
    model.discriminator_channel_multiples = small.down
    model.generator_attention_resolutions = small.up_attention
    model.discriminator_attention_resolutions = small.down_attention
    for name, value in changes.items():
        setattr(model, name, value)
    return build(model)


def _layer(arrays: dict[str, np.ndarray], port: str, *, up: bool) -> Any:
    """Returns our parameters and u of a PyTorch layer."""
    weight = arrays["weight"]
    if weight.ndim == 2:
        kernel = weight.T
    elif weight.shape[2:] == (3, 3) or not up:
        kernel = weight.transpose(2, 3, 1, 0)
    else:
        kernel = weight.transpose(2, 3, 0, 1)
    params = {"kernel": kernel}
    if "bias" in arrays:
        params["bias"] = arrays["bias"]
    return params, {"u": arrays["u"]}


def _variables(arrays: dict[str, Any], port: str, *, up: bool) -> Any:
    """Returns our variables of a network's PyTorch arrays."""
    params: Any = {}
    stats: Any = {}
    spectral: Any = {}
    for name, tree in arrays.items():
        if name.startswith("attention"):
            params[name], spectral[name] = {"gamma": tree["gamma"]}, {}
            for part in ("query", "key", "value"):
                one = {leaf: tree[f"{part}.{leaf}"] for leaf in ("weight", "bias", "u")}
                found = _layer(one, port, up=False)
                params[name][part], spectral[name][part] = found
        elif name.endswith("norm"):
            params[name], stats[name] = _norm(tree)
        elif name.startswith("block"):
            conv, u = _layer(tree["conv"], port, up=up)
            params[name], spectral[name] = {"conv": conv}, {"conv": u}
            if "norm" in tree:
                params[name]["norm"], moments = _norm(tree["norm"])
                stats[name] = {"norm": moments}
        else:
            params[name], spectral[name] = _layer(tree, port, up=up)
            if name == "last" and not up and port == "lsun64_port":
                kernel = params[name]["kernel"]  # [4, 4, in, 1]
                params[name]["kernel"] = kernel.reshape(-1, 1)
    return {"params": params, "batch_stats": stats, "spectral": spectral}


def _norm(arrays: dict[str, np.ndarray]) -> tuple[Any, Any]:
    params = {name: arrays[name] for name in ("scale", "bias") if name in arrays}
    return params, {name: arrays[name] for name in ("mean", "var")}


@functools.cache
def _ours(port: str) -> dict[str, np.ndarray]:
    g, d = port_arrays.weights(port)
    z, images = port_arrays.inputs(port)
    generator, discriminator = _networks(port)
    g_variables = _variables(g, port, up=True)
    d_variables = _variables(d, port, up=False)

    @jax.jit
    def values(g_variables: Any, d_variables: Any) -> dict[str, jax.Array]:
        return {
            "running": generator.apply(g_variables, z),
            "batch": generator.apply(g_variables, z, train=True),
            "sampled": generator.clone(batch_moments=True).apply(g_variables, z),
            "logits": discriminator.apply(d_variables, images),
        }

    with tiny_gan.quick_compiles():
        found: dict[str, np.ndarray] = jax.device_get(values(g_variables, d_variables))
    return found


@pytest.mark.parametrize("value", ["running", "batch", "logits"])
@pytest.mark.parametrize("port", port_arrays.PORTS)
def test_values_are_those_of_pytorch_modules(port: str, value: str) -> None:
    expected = np.load(GOLDEN)[f"{port}/{value}"]
    np.testing.assert_allclose(_ours(port)[value], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("port", port_arrays.PORTS)
def test_values_are_those_of_modules_that_run_now(port: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import pytorch_ports

    for name, expected in pytorch_ports.compute(port).items():
        np.testing.assert_allclose(_ours(port)[name], expected, atol=1e-5, rtol=1e-5)


# Quirks.


@pytest.mark.parametrize("side", ["output", "input"])
def test_a_transposed_kernel_is_normalised_on_either_side(side: str) -> None:
    layer = SNTransposedConv(
        features=6, norm_side=side, use_bias=False, spectral_norm_warmup=100
    )
    point = jnp.eye(3)[:, None, None]  # its outputs are the kernel itself
    variables = layer.init(jax.random.key(0), point)
    kernel = np.asarray(layer.apply(variables, point))  # [in, 4, 4, out]
    last = kernel if side == "output" else np.moveaxis(kernel, 0, -1)
    matrix = last.reshape(-1, last.shape[-1])
    top = np.linalg.svd(matrix, compute_uv=False)[0]
    np.testing.assert_allclose(top, 1.0, rtol=1e-4)


@pytest.mark.parametrize("moves", [False, True])
def test_u_moves_in_evaluation_only_on_demand(moves: bool) -> None:
    layer = SNConv(features=4, kernel_size=1, spectral_norm_in_evaluation=moves)
    x = jnp.ones((1, 2, 2, 3))
    variables = layer.init(jax.random.key(0), x)
    _, after = layer.apply(variables, x, train=False, mutable=["spectral"])
    before = variables["spectral"]["u"]
    assert np.array_equal(after["spectral"]["u"], before) is not moves


def test_sampling_with_the_moments_of_a_batch_gives_images_as_in_training() -> None:
    expected = np.load(GOLDEN)["lsun64_port/batch"]
    found = _ours("lsun64_port")["sampled"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_kernels_and_biases_start_within_the_bounds_of_pytorch() -> None:
    shape = (4, 4, 8, 32)
    kernel = INITIALIZERS["torch"](jax.random.key(0), shape, jnp.float32)
    bias = bias_init("torch", shape)(jax.random.key(0), (4000,), jnp.float32)
    bound = (4 * 4 * 8) ** -0.5
    for values in (kernel, bias):
        assert 0.99 * bound < np.abs(values).max() <= bound
        np.testing.assert_allclose(np.var(values), bound**2 / 3, rtol=0.05)


def test_with_batch_norm_all_blocks_but_the_first_have_one() -> None:
    _, discriminator = _networks("lsun64_port", discriminator_normalization="both")
    images = jnp.zeros((2, 32, 32, 3))
    shapes = jax.eval_shape(discriminator.init, jax.random.key(0), images)
    assert shapes["batch_stats"].keys() == {"block2", "block3"}
    assert shapes["spectral"].keys() == {"block1", "block2", "block3"}


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "bfloat16", "rematerialize": True},
        {"attention_block": "residual", "weight_init": "orthogonal"},
    ],
    ids=["half", "control"],
)
def test_gradients_exist_under_the_options_of_all_networks(
    changes: dict[str, Any],
) -> None:
    generator, discriminator = _networks("lsun64_port", **changes)
    z, key = jnp.zeros((2, port_arrays.LATENT)), jax.random.key(0)

    def loss(params: Any, others: Any, d_variables: Any) -> jax.Array:
        images = generator.apply({"params": params, **others}, z, train=True)
        logits: jax.Array = discriminator.apply(d_variables, images, train=True)
        return logits.mean()

    def gradients() -> tuple[Any, Any]:
        others = dict(generator.init(key, z))
        d_variables = discriminator.init(key, jnp.zeros((2, 32, 32, 3)))
        params = others.pop("params")
        return params, jax.grad(loss)(params, others, d_variables)

    params, found = jax.eval_shape(gradients)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), found) == jax.tree.map(
        lambda x: (x.shape, x.dtype), params
    )


def test_the_defaults_are_a_port() -> None:
    first, stages = DcganGenerator().plan()
    assert (first, [s.attention for s in stages]) == (512, [False, True, True])
    assert [s.attention for s in DcganDiscriminator().plan()] == [0, 0, True, True]


# Refused.


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"family": "cats"}, r"^family='cats' is not known; choose one of celeba128"),
        ({"num_classes": 3}, r"^num_classes=3 .*has no classes; choose 0"),
        ({"resolution": 48}, r"^resolution=48 .*; choose a power of two from 16"),
        ({"resolution": 32}, r"^resolution=32 is not that of lsun64_port.*; pass 3"),
        ({"channel_multiples": (1, 2)}, r"has the wrong length .*; pass 4 multiples"),
        ({"channel_multiples": (1, 1, 1, 0)}, r"^channel_multiples=.*; choose"),
        ({"width": 0}, r"^width=0 "),
        ({"without_spectral_norm": ("middle",)}, r"='middle' is not a layer; choose"),
        ({"attention_resolutions": (64,)}, r"^attention_resolutions=\(64,\)"),
    ],
)
@pytest.mark.parametrize("kind", [DcganGenerator, DcganDiscriminator])
def test_unsupported_fields_are_refused(
    kind: Any, fields: dict[str, Any], sentence: str
) -> None:
    options: dict[str, Any] = {"resolution": 64, "attention_resolutions": (16,)}
    with pytest.raises(UserError, match=sentence):
        kind(**{**options, **fields}).plan()


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        (DcganGenerator, {"transposed_norm_side": "left"}, r"='left' .*choose one of"),
        (DcganDiscriminator, {"leaky_slope": 2.0}, r"^leaky_slope=2\.0"),
        (
            DcganDiscriminator,
            {"without_spectral_norm": ("first",)},
            r"choose from last",
        ),
        (DcganGenerator, {"normalization": "batch"}, r"choose one of none, spectral"),
    ],
)
def test_unsupported_fields_of_one_network_are_refused(
    kind: Any, fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        kind(resolution=64, attention_resolutions=(16,), **fields).plan()
