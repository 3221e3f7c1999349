"""Both networks: their sizes, their outputs at small widths, and unsupported fields.

test_goldens.py compares them with the official release.
"""

import dataclasses
import functools
import inspect
import itertools
import re
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.networks.blocks import DiscriminatorBlock, GeneratorBlock
from sagan_jax.networks.layers import (
    ConditionalBatchNorm,
    KernelOptions,
    SNConv,
    SpectralKernel,
    rows_of,
)
from sagan_jax.training import losses

Network = Generator | Discriminator
networks = pytest.mark.parametrize("kind", [Generator, Discriminator])


def _shapes(network: Network, train: bool = False) -> Any:
    """Returns the shapes of the variables that init returns."""
    if isinstance(network, Generator):
        inputs = jnp.zeros((2, network.latent_dim))
    else:
        side = network.resolution
        inputs = jnp.zeros((2, side, side, network.channels))
    labels = jnp.zeros(2, jnp.int32) if network.num_classes else None
    init = functools.partial(network.init, train=train)
    return jax.eval_shape(init, jax.random.key(0), inputs, labels)


def _by_path(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(entry.key for entry in path): leaf for path, leaf in leaves}


def _floats(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# Sizes, counted in the official release.


@pytest.mark.parametrize(
    ("resolution", "num_classes", "attention", "generator", "discriminator"),
    [
        (128, 1000, (32,), 42_078_852, 39_463_618),
        (128, 1000, (64,), 42_017_412, 39_448_258),
        (128, 1000, (), 41_996_931, 39_443_137),
        (32, 10, (16,), 4_386_308, 1_075_586),
        (32, 10, (), 4_304_387, 1_055_105),
        (64, 1000, (32,), 41_577_732, 20_571_842),
        (64, 1000, (), 41_495_811, 20_566_721),
        (256, 1000, (64,), 49_109_124, 44_445_890),
        (256, 1000, (32,), 49_354_884, 44_507_330),
    ],
)
def test_parameters_are_as_many_as_published(
    resolution: int,
    num_classes: int,
    attention: tuple[int, ...],
    generator: int,
    discriminator: int,
) -> None:
    for kind, total in ((Generator, generator), (Discriminator, discriminator)):
        network = kind(
            resolution=resolution,
            num_classes=num_classes,
            attention_resolutions=attention,
        )
        assert _floats(_shapes(network)["params"]) == total


@pytest.mark.parametrize(
    ("attention", "generator", "discriminator"),
    [
        ((32,), (43, 32_771), (23, 9_225)),
        ((64,), (43, 32_547), (23, 9_113)),
        ((), (39, 32_323), (19, 9_001)),
    ],
)
def test_state_is_as_large_as_published(
    attention: tuple[int, ...],
    generator: tuple[int, int],
    discriminator: tuple[int, int],
) -> None:
    for kind, expected in ((Generator, generator), (Discriminator, discriminator)):
        state = _shapes(kind(attention_resolutions=attention))
        parameters = state.pop("params")
        assert (len(jax.tree.leaves(state)), _floats(state)) == expected
        if attention:
            arrays = len(jax.tree.leaves(parameters))
            assert arrays == {Generator: 61, Discriminator: 42}[kind]


GENERATOR_LAYERS = {
    "dense": 2_113_536,
    "block1/norm1": 2_048_000,
    "block1/norm2": 2_048_000,
    "block1/conv1": 9_438_208,
    "block1/conv2": 9_438_208,
    "block1/shortcut": 1_049_600,
    "block2/norm1": 2_048_000,
    "block2/norm2": 1_024_000,
    "block2/conv1": 4_719_104,
    "block2/conv2": 2_359_808,
    "block2/shortcut": 524_800,
    "block3/norm1": 1_024_000,
    "block3/norm2": 512_000,
    "block3/conv1": 1_179_904,
    "block3/conv2": 590_080,
    "block3/shortcut": 131_328,
    "attention32": 1,
    "attention32/query": 8_192,
    "attention32/key": 8_192,
    "attention32/value": 32_768,
    "attention32/output": 32_768,
    "block4/norm1": 512_000,
    "block4/norm2": 256_000,
    "block4/conv1": 295_040,
    "block4/conv2": 147_584,
    "block4/shortcut": 32_896,
    "block5/norm1": 256_000,
    "block5/norm2": 128_000,
    "block5/conv1": 73_792,
    "block5/conv2": 36_928,
    "block5/shortcut": 8_256,
    "norm": 128,
    "conv": 1_731,
}
DISCRIMINATOR_LAYERS = {
    "block1/conv1": 1_792,
    "block1/conv2": 36_928,
    "block1/shortcut": 256,
    "block2/conv1": 73_856,
    "block2/conv2": 147_584,
    "block2/shortcut": 8_320,
    "attention32": 1,
    "attention32/query": 2_048,
    "attention32/key": 2_048,
    "attention32/value": 8_192,
    "attention32/output": 8_192,
    "block3/conv1": 295_168,
    "block3/conv2": 590_080,
    "block3/shortcut": 33_024,
    "block4/conv1": 1_180_160,
    "block4/conv2": 2_359_808,
    "block4/shortcut": 131_584,
    "block5/conv1": 4_719_616,
    "block5/conv2": 9_438_208,
    "block5/shortcut": 525_312,
    "block6/conv1": 9_438_208,
    "block6/conv2": 9_438_208,
    "dense": 1_025,
    "embed": 1_024_000,
}


@pytest.mark.parametrize(
    ("kind", "table"),
    [(Generator, GENERATOR_LAYERS), (Discriminator, DISCRIMINATOR_LAYERS)],
)
def test_every_layer_at_128_px_has_its_published_size(
    kind: Any, table: dict[str, int]
) -> None:
    counts: dict[str, int] = {}
    for path, leaf in _by_path(_shapes(kind())["params"]).items():
        layer = path.rpartition("/")[0]
        counts[layer] = counts.get(layer, 0) + leaf.size
    assert counts == table


def test_parameters_of_the_quickstart_s_channel_multiples() -> None:
    shared = {
        "resolution": 32,
        "num_classes": 4,
        "width": 8,
        "attention_resolutions": (16,),
    }
    generator = Generator(channel_multiples=(8, 8, 4, 2), latent_dim=32, **shared)
    discriminator = Discriminator(channel_multiples=(2, 4, 8, 8), **shared)
    assert _floats(_shapes(generator)["params"]) == 152_996
    assert _floats(_shapes(discriminator)["params"]) == 149_298


# Plans.

SIDES = {
    32: ((8, 16, 32), (16, 8, 8, 8)),
    64: ((8, 16, 32, 64), (32, 16, 8, 4, 4)),
    128: ((8, 16, 32, 64, 128), (64, 32, 16, 8, 4, 4)),
    256: ((8, 16, 32, 64, 128, 256), (128, 64, 32, 16, 8, 4, 4)),
}


@pytest.mark.parametrize("resolution", SIDES)
def test_blocks_have_their_published_sides(resolution: int) -> None:
    fields = {"resolution": resolution, "attention_resolutions": ()}
    _, up = Generator(**fields).plan()
    down = Discriminator(**fields).plan()
    sides = tuple(tuple(s.resolution for s in stages) for stages in (up, down))
    assert sides == SIDES[resolution]


@pytest.mark.parametrize("resolution", SIDES)
def test_attention_follows_the_first_block_of_each_side_once(resolution: int) -> None:
    for kind, sides in zip((Generator, Discriminator), SIDES[resolution], strict=True):
        for side in set(sides):
            network = kind(
                resolution=resolution, attention_resolutions=(side,), num_classes=10
            )
            plan = network.plan()[1] if kind is Generator else network.plan()
            places = [index for index, stage in enumerate(plan) if stage.attention]
            assert places == [sides.index(side)]


@networks
@pytest.mark.parametrize("sides", [(), (8,), (16,), (8, 16), (16, 8)])
def test_attention_blocks_are_named_after_their_sides(
    kind: Any, sides: tuple[int, ...]
) -> None:
    network = kind(resolution=32, width=4, num_classes=4, attention_resolutions=sides)
    names = {name for name in _shapes(network)["params"] if "attention" in name}
    assert names == {f"attention{side}" for side in sides}


@networks
@pytest.mark.parametrize(
    ("block", "layers"),
    [
        ("attention", {"query", "key", "value", "output", "gamma"}),
        ("residual", {"conv1", "conv2", "gamma"}),
        ("residual_3x3", {"conv1", "conv2", "gamma"}),
        ("residual_full", {"conv1", "conv2", "gamma"}),
    ],
)
def test_a_residual_block_can_replace_attention(
    kind: Any, block: str, layers: set[str]
) -> None:
    network = kind(
        resolution=32,
        width=4,
        num_classes=4,
        attention_resolutions=(16,),
        attention_block=block,
    )
    assert _shapes(network)["params"]["attention16"].keys() == layers


@pytest.mark.parametrize(
    ("features", "resample", "channels"),
    list(itertools.product((8, 16), ("down", ""), (8, 16))),
)
def test_a_discriminator_block_has_a_shortcut_convolution_if_the_shape_changes(
    features: int, resample: str, channels: int
) -> None:
    block = DiscriminatorBlock(features=features, resample=resample)
    x = jnp.zeros((1, 4, 4, channels))
    init = functools.partial(block.init, train=False)
    names = jax.eval_shape(init, jax.random.key(0), x)["params"]
    assert ("shortcut" in names) == (bool(resample) or features != channels)


@pytest.mark.parametrize("features", [8, 16])
def test_a_generator_block_always_has_a_shortcut_convolution(features: int) -> None:
    init = functools.partial(GeneratorBlock(features=features).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 4, 4, 8)), None)
    assert shapes["params"]["shortcut"]["kernel"].shape == (1, 1, 8, features)


# The fields as arguments.


@networks
def test_every_option_of_a_kernel_is_an_argument_of_the_networks(kind: Any) -> None:
    options = {field.name for field in dataclasses.fields(KernelOptions)}
    assert options <= inspect.signature(kind).parameters.keys()
    first, second, third, *_ = inspect.signature(kind).parameters
    assert (first, second, third) == ("resolution", "num_classes", "width")


@networks
def test_networks_are_static_arguments_that_can_be_cloned(kind: Any) -> None:
    network = kind(stop_gradient_uv=False)
    assert network == kind().clone(stop_gradient_uv=False) != kind()
    assert hash(network) == hash(kind(stop_gradient_uv=False))

    @functools.partial(jax.jit, static_argnums=0)
    def is_stopped(static: Any) -> bool:
        return static.stop_gradient_uv

    assert not is_stopped(network)
    assert is_stopped(network.clone(stop_gradient_uv=True))


# How fields are passed to the layers.


def _modules(network: Network) -> list[nn.Module]:
    """Returns every module that init calls."""
    seen = []

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name == "__call__":
            seen.append(context.module)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        _shapes(network)
    return seen


@networks
def test_fields_of_a_kernel_reach_every_kernel(kind: Any) -> None:
    fields = {
        "spectral_norm_eps": 1e-3,
        "spectral_norm_warmup": 7,
        "spectral_norm_in_evaluation": True,
        "stop_gradient_uv": False,
        "weight_init": "orthogonal",
        "convolutions": "plain",
    }
    # Every option but this one, which has tests of its own.
    options = {field.name for field in dataclasses.fields(KernelOptions)}
    assert fields.keys() == options - {"dtype"}
    tables = {"class_tables": "one_plus_spectral"} if kind is Generator else {}
    network = kind(
        resolution=32,
        width=4,
        num_classes=4,
        attention_resolutions=(16,),
        **fields,
        **tables,
    )
    kernels = [m for m in _modules(network) if isinstance(m, SpectralKernel)]
    assert len(kernels) == {Generator: 15 + 12, Discriminator: 16}[kind]
    for kernel in kernels:
        assert {name: getattr(kernel, name) for name in fields} == fields, kernel.path


def test_only_the_last_norm_is_unconditional_and_slower() -> None:
    network = Generator(
        batch_norm_decay=0.5,
        batch_norm_last_decay=0.75,
        batch_norm_eps=1e-3,
        batch_norm_group_size=2,
    )
    norms = [m for m in _modules(network) if isinstance(m, ConditionalBatchNorm)]
    *conditional, last = norms
    assert last.path == ("norm",)
    assert (last.num_classes, last.decay) == (0, 0.75)
    assert len(conditional) == 10
    assert {(m.num_classes, m.decay) for m in conditional} == {(1000, 0.5)}
    assert {(m.epsilon, m.group_size) for m in norms} == {(1e-3, 2)}


@networks
def test_without_spectral_norm_no_layer_has_a_u(kind: Any) -> None:
    network = kind(
        resolution=32, width=4, attention_resolutions=(16,), normalization="none"
    )
    assert "spectral" not in _shapes(network)


@pytest.mark.parametrize(
    ("normalization", "collections"),
    [
        ("none", {"params"}),
        ("batch", {"params", "batch_stats"}),
        ("spectral", {"params", "spectral"}),
        ("both", {"params", "batch_stats", "spectral"}),
    ],
)
def test_a_discriminator_has_the_state_of_its_normalization(
    normalization: str, collections: set[str]
) -> None:
    network = Discriminator(
        resolution=32,
        width=4,
        attention_resolutions=(16,),
        normalization=normalization,
        batch_norm_decay=0.5,
        batch_norm_eps=1e-3,
        batch_norm_group_size=2,
    )
    assert _shapes(network).keys() == collections
    norms = [m for m in _modules(network) if isinstance(m, ConditionalBatchNorm)]
    # Two for each of the four blocks, without the one that would see the image.
    assert len(norms) == (7 if "batch_stats" in collections else 0)
    assert {(m.num_classes, m.decay, m.epsilon, m.group_size) for m in norms} <= {
        (0, 0.5, 1e-3, 2)
    }


def test_a_normed_block_in_numpy() -> None:
    norm = functools.partial(ConditionalBatchNorm, epsilon=0.0)
    block = DiscriminatorBlock(
        features=2,
        resample="",
        conv=functools.partial(SNConv, spectral_norm=False, kernel_size=1),
        norm=norm,
    )
    x = np.random.default_rng(0).normal(size=(3, 2, 2, 2)).astype(np.float32)
    variables = block.init(jax.random.key(0), x, True)
    kernels = [np.asarray(variables["params"][f"conv{i}"]["kernel"]) for i in (1, 2)]

    def activated(y: np.ndarray) -> np.ndarray:
        normed = (y - y.mean((0, 1, 2))) / y.std((0, 1, 2))
        return np.maximum(normed, 0.0)

    y = activated(activated(x) @ kernels[0][0, 0]) @ kernels[1][0, 0]
    np.testing.assert_allclose(block.apply(variables, x, True), x + y, atol=1e-5)


@networks
def test_attention_alone_can_be_without_spectral_norm(kind: Any) -> None:
    network = kind(
        resolution=32, attention_resolutions=(16,), attention_spectral_norm=False
    )
    assert "attention16" not in _shapes(network)["spectral"]


@pytest.mark.parametrize(
    ("class_tables", "leaf", "normed"),
    [
        ("published", "scale", False),
        ("one_plus", "scale/embedding", False),
        ("one_plus_spectral", "scale/embedding", True),
    ],
)
def test_class_tables_have_the_form_of_the_field(
    class_tables: str, leaf: str, normed: bool
) -> None:
    network = Generator(
        resolution=32,
        num_classes=10,
        attention_resolutions=(),
        class_tables=class_tables,
    )
    variables = _shapes(network)
    params, u = _by_path(variables["params"]), _by_path(variables["spectral"])
    assert params[f"block1/norm1/{leaf}"].shape == (10, 256)
    assert ("block1/norm1/scale/u" in u) == normed
    assert params["norm/scale"].shape == (256,)


# Outputs of small networks. Attention needs at least eight channels.

CLASSES, LATENT = 4, 8
SMALL: dict[str, Any] = {
    "resolution": 32,
    "num_classes": CLASSES,
    "attention_resolutions": (16,),
}
WIDTHS = {Generator: 2, Discriminator: 4}
_rng = np.random.default_rng(0)
Z = jnp.asarray(_rng.normal(size=(4, LATENT)), jnp.float32)
Y = jnp.array([0, 3, 3, 1])
IMAGES = jnp.asarray(_rng.uniform(-1, 1, (4, 32, 32, 3)), jnp.float32)
INPUTS = {Generator: Z, Discriminator: IMAGES}
STATE = ["batch_stats", "spectral"]


def _small(kind: Any, **fields: Any) -> Any:
    latent = {"latent_dim": LATENT} if kind is Generator else {}
    return kind(width=WIDTHS[kind], **(SMALL | latent | fields))


@functools.cache
def _initialised(kind: Any) -> dict[str, Any]:
    """Returns three initialisations from one key, from one compiled program."""
    network, x = _small(kind), INPUTS[kind]

    @jax.jit
    def init(key: jax.Array) -> dict[str, Any]:
        bare = _small(kind, attention_resolutions=())
        return {
            "plain": network.init(key, x, Y),
            "train": network.init(key, x, Y, train=True),
            "without_attention": bare.init(key, x, Y),
        }

    return init(jax.random.key(0))


@functools.cache
def _opened(kind: Any) -> Any:
    """Returns variables like those of a trained network: none is 0 or 1."""
    rng = np.random.default_rng(1)

    def leaf(path: Any, value: jax.Array) -> jax.Array:
        names = [entry.key for entry in path]
        if names[-1] in ("kernel", "embedding", "u"):
            return value
        if names[-1] == "gamma":
            return jnp.float32(0.5)
        drawn = jnp.asarray(rng.uniform(0.1, 0.3, value.shape), value.dtype)
        return value + drawn

    return jax.tree_util.tree_map_with_path(leaf, _initialised(kind)["plain"])


@functools.cache
def _apply(kind: Any, *, train: bool, mutable: Any = False, **fields: Any) -> Any:
    """Returns the compiled (variables, inputs, labels) -> output[, updates]."""
    network = _small(kind, **fields)
    mutable = list(mutable) if isinstance(mutable, tuple) else mutable
    return jax.jit(functools.partial(network.apply, train=train, mutable=mutable))


def _evaluate(kind: Any, variables: Any, labels: Any = Y, **fields: Any) -> Any:
    return _apply(kind, train=False, **fields)(variables, INPUTS[kind], labels)


@networks
def test_init_gives_the_same_in_training_and_evaluation(kind: Any) -> None:
    variables = _initialised(kind)
    jax.tree.map(np.testing.assert_array_equal, variables["train"], variables["plain"])


@networks
def test_init_returns_parameters_and_state_alone(kind: Any) -> None:
    state = {Generator: set(STATE), Discriminator: {"spectral"}}[kind]
    assert _initialised(kind)["plain"].keys() == {"params"} | state


@networks
def test_another_attention_block_changes_no_other_initial_value(kind: Any) -> None:
    variables = _initialised(kind)
    more, fewer = (_by_path(variables[k]) for k in ("plain", "without_attention"))
    assert fewer.keys() == {path for path in more if "attention" not in path}
    for path, value in fewer.items():
        np.testing.assert_array_equal(value, more[path], err_msg=path)


@networks
def test_attention_changes_nothing_at_initialisation(kind: Any) -> None:
    variables = _initialised(kind)
    on = _evaluate(kind, variables["plain"])
    off = _evaluate(kind, variables["without_attention"], attention_resolutions=())
    np.testing.assert_allclose(on, off, rtol=1e-4, atol=1e-5)


@networks
def test_attention_changes_the_output_once_gamma_is_open(kind: Any) -> None:
    variables = _opened(kind)
    params = variables["params"]
    closed = {**params["attention16"], "gamma": jnp.float32(0)}
    off = {**variables, "params": {**params, "attention16": closed}}
    change = np.abs(_evaluate(kind, variables) - _evaluate(kind, off))
    assert change.max() > 1e-3


@networks
def test_doubling_any_kernel_leaves_the_output_unchanged(kind: Any) -> None:
    variables = _opened(kind)
    expected = _evaluate(kind, variables)
    kernels = [
        path
        for path in _by_path(variables["params"])
        if path.endswith(("kernel", "embedding"))
    ]
    assert len(kernels) == {Generator: 15, Discriminator: 16}[kind]
    for kernel in kernels:
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf, kernel=kernel: (
                2 * leaf if "/".join(e.key for e in path) == kernel else leaf
            ),
            variables["params"],
        )
        out = _evaluate(kind, {**variables, "params": params})
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5, err_msg=kernel)


def _first_gradients() -> tuple[Any, Any]:
    g, d = _small(Generator), _small(Discriminator)
    g_vars, d_vars = (_initialised(k)["plain"] for k in (Generator, Discriminator))

    def generate(params: Any) -> jax.Array:
        return g.apply({**g_vars, "params": params}, Z, Y, train=True)

    def judge(params: Any, images: jax.Array) -> jax.Array:
        return d.apply({**d_vars, "params": params}, images, Y, train=True)

    def g_loss(params: Any) -> jax.Array:
        return losses.hinge_generator(judge(d_vars["params"], generate(params)))

    def d_loss(params: Any) -> jax.Array:
        fake = generate(g_vars["params"])
        real_logits, fake_logits = judge(params, IMAGES), judge(params, fake)
        return losses.hinge_discriminator(real_logits, fake_logits)

    def both(g_params: Any, d_params: Any) -> tuple[Any, Any]:
        return jax.grad(g_loss)(g_params), jax.grad(d_loss)(d_params)

    return jax.jit(both)(g_vars["params"], d_vars["params"])


def test_the_first_step_moves_all_but_the_four_attention_kernels() -> None:
    expected = {f"attention16/{k}/kernel" for k in ("query", "key", "value", "output")}
    for gradients in _first_gradients():
        still = {path for path, g in _by_path(gradients).items() if not np.any(g)}
        assert still == expected


# Training and evaluation.


@networks
def test_a_training_pass_moves_all_state_once(kind: Any) -> None:
    variables = _opened(kind)
    apply = _apply(kind, train=True, mutable=tuple(STATE))
    _, updates = apply(variables, INPUTS[kind], Y)
    state = {k: v for k, v in variables.items() if k != "params"}
    before, after = _by_path(state), _by_path(updates)
    assert before.keys() == after.keys()
    for path, value in before.items():
        if path != "spectral/dense/u" or kind is Generator:  # one column: u is +-1
            assert np.any(after[path] != value), path


@networks
def test_training_without_mutable_state_is_the_same(kind: Any) -> None:
    variables = _opened(kind)
    moved, _ = _apply(kind, train=True, mutable=tuple(STATE))(
        variables, INPUTS[kind], Y
    )
    out = _apply(kind, train=True)(variables, INPUTS[kind], Y)
    # In two programs, only the order of sums differs.
    np.testing.assert_allclose(out, moved, rtol=1e-4, atol=1e-5)


@networks
def test_evaluation_updates_nothing(kind: Any) -> None:
    variables = _opened(kind)
    apply = _apply(kind, train=False, mutable=tuple(STATE))
    _, updates = apply(variables, INPUTS[kind], Y)
    state = {k: v for k, v in variables.items() if k != "params"}
    jax.tree.map(np.testing.assert_array_equal, dict(updates), state)


@networks
def test_evaluation_treats_each_example_independently(kind: Any) -> None:
    variables, x = _opened(kind), INPUTS[kind]
    alone = _apply(kind, train=False)(variables, x[-1:], Y[-1:])
    # With another batch size, only the order of sums differs.
    np.testing.assert_allclose(
        alone, _evaluate(kind, variables)[-1:], rtol=1e-4, atol=1e-5
    )


def test_logits_are_the_same_in_training_and_evaluation() -> None:
    variables = _opened(Discriminator)
    logits = _apply(Discriminator, train=True)(variables, IMAGES, Y)
    np.testing.assert_array_equal(logits, _evaluate(Discriminator, variables))


def test_images_depend_on_the_whole_batch_in_training() -> None:
    variables = _opened(Generator)
    apply = _apply(Generator, train=True)
    before, after = (apply(variables, z, Y)[0] for z in (Z, Z.at[3].set(-Z[3])))
    assert np.abs(before - after).max() > 1e-3


def test_permuting_a_group_permutes_its_images() -> None:
    variables = _opened(Generator)
    apply = _apply(Generator, train=True, batch_norm_group_size=2)
    order = jnp.array([1, 0, 2, 3])
    out, permuted = apply(variables, Z, Y), apply(variables, Z[order], Y[order])
    np.testing.assert_allclose(permuted, out[order], rtol=1e-4, atol=1e-5)


def test_images_do_not_depend_on_other_groups() -> None:
    variables = _opened(Generator)
    apply = _apply(Generator, train=True, batch_norm_group_size=2)
    out = apply(variables, Z, Y)
    other = apply(variables, Z.at[2:].set(-Z[2:]), Y.at[2:].set(0))
    np.testing.assert_array_equal(other[:2], out[:2])
    assert np.abs(other[2:] - out[2:]).max() > 1e-3


def test_images_lie_within_the_range_of_tanh() -> None:
    images = _evaluate(Generator, _opened(Generator))
    assert images.shape == (4, 32, 32, 3)
    assert images.dtype == jnp.float32
    assert np.abs(images).max() <= 1


# The discriminator.


def _spectrally_normed(matrix: Any, u: Any) -> np.ndarray:
    matrix = np.asarray(matrix, np.float64)
    v = matrix @ np.asarray(u, np.float64)
    v /= np.linalg.norm(v)
    return matrix / np.linalg.norm(v @ matrix)


def _features() -> np.ndarray:
    """Returns h [N, C]: the rectified last feature map, summed over its pixels."""
    network = _small(Discriminator)
    _, updates = jax.jit(
        functools.partial(
            network.apply,
            capture_intermediates=lambda module, _: module.name == "block4",
            mutable=["intermediates"],
        )
    )(_opened(Discriminator), IMAGES, Y)
    last = updates["intermediates"]["block4"]["__call__"][0]
    return np.maximum(np.asarray(last, np.float64), 0).sum((1, 2))


def test_logits_are_a_linear_head_and_a_projection_of_the_label() -> None:
    variables, h = _opened(Discriminator), _features()
    params, spectral = variables["params"], variables["spectral"]
    head = _spectrally_normed(params["dense"]["kernel"], spectral["dense"]["u"])
    linear = h @ head[:, 0] + np.asarray(params["dense"]["bias"])
    table = _spectrally_normed(params["embed"]["embedding"].T, spectral["embed"]["u"]).T
    projection = (h * table[np.asarray(Y)]).sum(1)
    logits = _evaluate(Discriminator, variables)
    assert logits.shape == (4,)
    np.testing.assert_allclose(logits, linear + projection, rtol=1e-4, atol=1e-4)
    without = _evaluate(Discriminator, variables, labels=None, num_classes=0)
    np.testing.assert_allclose(without, linear, rtol=1e-4, atol=1e-4)


def test_two_labels_differ_by_the_product_with_their_rows() -> None:
    variables, h, other = _opened(Discriminator), _features(), (Y + 1) % CLASSES
    table = variables["params"]["embed"]["embedding"]
    rows = _spectrally_normed(table.T, variables["spectral"]["embed"]["u"]).T
    expected = (h * (rows[np.asarray(Y)] - rows[np.asarray(other)])).sum(1)
    logits = _evaluate(Discriminator, variables)
    difference = logits - _evaluate(Discriminator, variables, labels=other)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("first", [True, False])
def test_the_first_block_alone_sees_negative_pixels(first: bool) -> None:
    # With a zero shortcut and negative kernels, a ReLU before conv1 gives zeros.
    block = DiscriminatorBlock(
        features=2, first=first, conv=functools.partial(SNConv, spectral_norm=False)
    )
    params = {
        "shortcut": {"kernel": jnp.zeros((1, 1, 3, 2)), "bias": jnp.zeros(2)},
        "conv1": {"kernel": -jnp.ones((3, 3, 3, 2)), "bias": jnp.zeros(2)},
        "conv2": {"kernel": jnp.ones((3, 3, 2, 2)), "bias": jnp.zeros(2)},
    }
    out = block.apply({"params": params}, -jnp.ones((1, 4, 4, 3)), train=False)
    assert np.all(out > 0) if first else not np.any(out)


def test_a_later_block_s_shortcut_sees_its_raw_input() -> None:
    block = DiscriminatorBlock(
        features=2, resample="", conv=functools.partial(SNConv, spectral_norm=False)
    )
    zeros = {"kernel": jnp.zeros((3, 3, 2, 2)), "bias": jnp.zeros(2)}
    x = -jnp.ones((1, 4, 4, 2))
    out = block.apply({"params": {"conv1": zeros, "conv2": zeros}}, x, train=False)
    np.testing.assert_array_equal(out, x)


def test_a_rectified_shortcut_sees_no_negative_input() -> None:
    block = DiscriminatorBlock(
        features=2,
        resample="",
        rectified_shortcut=True,
        conv=functools.partial(SNConv, spectral_norm=False),
    )
    zeros = {"kernel": jnp.zeros((3, 3, 2, 2)), "bias": jnp.zeros(2)}
    x = np.stack([-np.ones((1, 4, 4)), np.full((1, 4, 4), 2.0)], axis=-1)
    out = block.apply({"params": {"conv1": zeros, "conv2": zeros}}, x, train=False)
    np.testing.assert_array_equal(out, np.maximum(x, 0))


def test_the_first_block_s_shortcut_sees_the_image_in_any_case() -> None:
    options = {"spectral_norm": False}
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 3)))
    raw, rectified = (
        DiscriminatorBlock(
            features=2,
            first=True,
            rectified_shortcut=rectified,
            conv=functools.partial(SNConv, **options),
        )
        for rectified in (False, True)
    )
    variables = raw.init(jax.random.key(0), image, train=False)
    np.testing.assert_array_equal(
        raw.apply(variables, image, train=False),
        rectified.apply(variables, image, train=False),
    )


# Unconditional networks, and other channels.


def test_an_unconditional_generator_has_plain_norms() -> None:
    network = _small(Generator, num_classes=0)
    classes = _by_path(_shapes(_small(Generator))["params"])
    plain = _by_path(_shapes(network)["params"])
    assert plain.keys() == classes.keys()
    assert plain["block1/norm1/scale"].shape == (8,)
    images = jax.eval_shape(network.apply, _shapes(network), Z)
    assert images.shape == (4, 32, 32, 3)


def test_an_unconditional_discriminator_has_no_embedding() -> None:
    classes = _by_path(_shapes(_small(Discriminator))["params"])
    plain = _by_path(_shapes(_small(Discriminator, num_classes=0))["params"])
    assert classes.keys() - plain.keys() == {"embed/embedding"}


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_have_the_given_number_of_channels(channels: int) -> None:
    g, d = (_small(kind, channels=channels) for kind in (Generator, Discriminator))
    images = jax.eval_shape(g.apply, _shapes(g), Z, Y)
    assert images.shape == (4, 32, 32, channels)
    logits = jax.eval_shape(d.apply, _shapes(d), images, Y)
    assert logits.shape == (4,)


# Dtypes.


@networks
def test_bfloat16_keeps_parameters_state_and_output_in_float32(kind: Any) -> None:
    network = _small(kind, dtype=jnp.bfloat16)
    variables = _shapes(network)
    apply = functools.partial(network.apply, train=True, mutable=STATE)
    everything = (variables, jax.eval_shape(apply, variables, INPUTS[kind], Y))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(everything)}
    assert dtypes == {jnp.dtype(jnp.float32)}


@networks
def test_bfloat16_is_close_to_float32(kind: Any) -> None:
    exact = np.asarray(_evaluate(kind, _opened(kind)))
    half = np.asarray(_evaluate(kind, _opened(kind), dtype=jnp.bfloat16))
    # One rounding has a relative error of 2^-9. Some twenty independent ones in a row
    # add up to 1 % of the largest value; the error of a few entries is larger.
    error = np.abs(half - exact) / np.abs(exact).max()
    assert 0 < error.mean() < 0.01
    assert error.max() < 0.05


@networks
def test_float64_is_float64_throughout(kind: Any) -> None:
    with jax.enable_x64(True):
        network = _small(kind, dtype=jnp.float64)
        variables = _shapes(network)
        apply = functools.partial(network.apply, train=True, mutable=True)
        out = jax.eval_shape(apply, variables, INPUTS[kind].astype(float), Y)
        dtypes = {leaf.dtype for leaf in jax.tree.leaves((variables, out))}
        assert dtypes == {jnp.dtype(jnp.float64)}


@networks
def test_float32_stays_float32_under_x64(kind: Any) -> None:
    with jax.enable_x64(True):
        network = _small(kind)
        variables = _shapes(network)
        apply = functools.partial(network.apply, train=True, mutable=True)
        out = jax.eval_shape(apply, variables, INPUTS[kind], Y)
        dtypes = {leaf.dtype for leaf in jax.tree.leaves((variables, out))}
        assert dtypes == {jnp.dtype(jnp.float32)}


# Unsupported fields.


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (
            Generator,
            {"attention_resolutions": (24,)},
            (
                "attention_resolutions=(24,)",
                "128 px generator",
                "8, 16, 32, 64, 128; choose",
            ),
        ),
        (
            Generator,
            {"attention_resolutions": (32, 4)},
            (
                "attention_resolutions=(32, 4)",
                "128 px generator",
                "8, 16, 32, 64, 128; choose",
            ),
        ),
        (
            Discriminator,
            {"attention_resolutions": (128,)},
            (
                "attention_resolutions=(128,)",
                "128 px discriminator",
                "4, 8, 16, 32, 64; choose",
            ),
        ),
        (
            Discriminator,
            {"resolution": 32},
            ("attention_resolutions=(32,)", "32 px discriminator", "8, 16; choose"),
        ),
        (
            Generator,
            {"width": 1},
            ("width=1 ", "the generator 4 channels at 32x32", "multiple of 8; choose"),
        ),
        (
            Discriminator,
            {"width": 6},
            (
                "width=6 ",
                "the discriminator 12 channels at 32x32",
                "multiple of 8; choose",
            ),
        ),
        (Generator, {"width": 0}, ("width=0 ", "choose 1")),
        (Discriminator, {"width": -8}, ("width=-8 ", "choose 1")),
        (
            Generator,
            {"resolution": 48},
            ("resolution=48 ", "choose 32, 64, 128 or 256"),
        ),
        (
            Discriminator,
            {"resolution": 512},
            ("resolution=512 ", "choose 32, 64, 128 or 256"),
        ),
        (Generator, {"channels": 0}, ("channels=0 ", "choose 1")),
        (Discriminator, {"channels": 5}, ("channels=5 ", "choose 1")),
        (
            Generator,
            {"channel_multiples": (4, 4)},
            ("channel_multiples=(4, 4)", "5 blocks", "6 multiples"),
        ),
        (
            Discriminator,
            {"channel_multiples": (1, 2, 4)},
            ("channel_multiples=(1, 2, 4)", "5 times", "5 multiples"),
        ),
        (
            Generator,
            {"channel_multiples": (16, 16, 8, 4, 2, 0)},
            ("channel_multiples=(16, 16, 8, 4, 2, 0)", "1 or more"),
        ),
        (
            Generator,
            {"attention_form": "dense"},
            ("attention_form='dense'", "official, paper, port"),
        ),
        (
            Discriminator,
            {"attention_block": "none"},
            ("attention_block='none'", "attention, residual, residual_3x3"),
        ),
        (Discriminator, {"weight_init": "normal"}, ("='normal'", "xavier, orth")),
        (
            Discriminator,
            {"attention_kernel": "flash"},
            ("attention_kernel='flash'", "plain, xla, cudnn"),
        ),
        (
            Generator,
            {"attention_kernel": "cudnn"},
            ("attention_kernel='cudnn'", "dtype=float32", "dtype=bfloat16"),
        ),
        (
            Generator,
            {"class_tables": "one+"},
            ("class_tables='one+'", "published, one_plus, one_plus_spectral"),
        ),
    ],
)
def test_unsupported_fields_are_refused(
    kind: Any, fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    network = kind(**fields)
    inputs = {Generator: Z, Discriminator: IMAGES}[kind]
    with pytest.raises(UserError) as caught:
        jax.eval_shape(network.init, jax.random.key(0), inputs, Y)
    for word in words:
        assert word in str(caught.value)


@networks
def test_float64_without_x64_is_refused(kind: Any) -> None:
    network = kind(dtype=jnp.float64)
    with pytest.raises(UserError, match=r"dtype=float64 .*; set jax_enable_x64"):
        jax.eval_shape(network.init, jax.random.key(0), INPUTS[kind], Y)


@networks
def test_missing_labels_are_refused(kind: Any) -> None:
    with pytest.raises(UserError, match=r"labels=None, .*num_classes=4; pass labels"):
        jax.eval_shape(_small(kind).init, jax.random.key(0), INPUTS[kind])


@networks
@pytest.mark.parametrize("labels", [Y[:1], Y[:, None]], ids=["one", "column"])
def test_labels_of_another_shape_are_refused(kind: Any, labels: jax.Array) -> None:
    with pytest.raises(AssertionError, match="shape"):
        jax.eval_shape(_small(kind).init, jax.random.key(0), INPUTS[kind], labels)


@networks
def test_inputs_of_another_shape_are_refused(kind: Any) -> None:
    x = INPUTS[kind][:, 1:]
    with pytest.raises(AssertionError, match="shape"):
        jax.eval_shape(_small(kind).init, jax.random.key(0), x, Y)


@networks
@pytest.mark.parametrize("label", [-4, -1, 4, 2**31 - 1])
def test_under_jit_a_label_that_is_no_class_gives_nan(kind: Any, label: int) -> None:
    # Elsewhere it would be the last class, or class 0, and labels from 1 would train a
    # wrong model unnoticed.
    network = _small(kind)
    variables = network.init(jax.random.key(0), INPUTS[kind], Y, train=False)
    apply = jax.jit(functools.partial(network.apply, train=False))
    usual = np.asarray(apply(variables, INPUTS[kind], Y))
    wrong = np.asarray(apply(variables, INPUTS[kind], Y.at[1].set(label)))
    assert np.isnan(wrong[1]).all()
    np.testing.assert_array_equal(np.delete(wrong, 1, 0), np.delete(usual, 1, 0))


@networks
@pytest.mark.parametrize("label", [-1, 4])
@pytest.mark.parametrize("form", [jnp.asarray, np.asarray, list])
def test_elsewhere_a_label_that_is_no_class_is_refused(
    kind: Any, label: int, form: Any
) -> None:
    labels = form(Y.at[1].set(label).tolist())
    with pytest.raises(UserError, match=rf"labels={label} is out of range; .*0 to 3"):
        _small(kind).init(jax.random.key(0), INPUTS[kind], labels)


@networks
@pytest.mark.parametrize("dtype", [np.float32, bool, str])
def test_labels_that_are_no_integers_are_refused(kind: Any, dtype: Any) -> None:
    labels = np.zeros(len(Y), dtype)
    with pytest.raises(UserError, match=r"labels of type .*whole numbers"):
        _small(kind).init(jax.random.key(0), INPUTS[kind], labels)


def test_a_class_beyond_the_labels_type_is_not_taken_for_another() -> None:
    table = jnp.arange(300.0)[:, None]
    labels = jnp.array([0, 255], jnp.uint8)
    np.testing.assert_array_equal(rows_of(table, labels)[:, 0], [0, 255])
    rows = rows_of(table, jnp.array([-1, -128], jnp.int8))
    assert np.isnan(np.asarray(rows)).all()


@networks
def test_a_batch_of_0_is_refused(kind: Any) -> None:
    with pytest.raises(UserError, match=r"0 examples; pass at least 1"):
        jax.eval_shape(_small(kind).init, jax.random.key(0), INPUTS[kind][:0], Y[:0])


@networks
@pytest.mark.parametrize("form", [list, np.array])
def test_sequences_become_tuples(kind: Any, form: Any) -> None:
    network = kind(attention_resolutions=form([32]), channel_multiples=form([]))
    assert (network.attention_resolutions, network.channel_multiples) == ((32,), ())
    assert network == kind(attention_resolutions=(32,))
    assert hash(network) == hash(kind().clone(attention_resolutions=form([32])))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attention_resolutions", 32),
        ("attention_resolutions", [32.5]),
        ("num_classes", -1),
        ("num_classes", 2.0),
        ("latent_dim", 0),
        ("batch_norm_group_size", -4),
        ("batch_norm_decay", float("nan")),
        ("batch_norm_eps", -1.0),
        ("spectral_norm_eps", float("nan")),
        ("spectral_norm_warmup", -1),
    ],
)
def test_values_that_no_config_has_checked_are_refused(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^{field}={re.escape(repr(value))} is not"):
        Generator(**{field: value}).plan()
