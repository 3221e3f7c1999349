"""DINOv2 against features of the release's code, with random weights."""

import functools

import encoder_recipe
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoder_recipe import BOUND, TINY, arrays, error, golden, images224, stored

from sagan_jax.errors import UserError
from sagan_jax.extractors import dinov2, dinov2_layers, dinov2_positions
from sagan_jax.extractors.dinov2_layers import SIZES

MISTAKE = 10 * BOUND
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@functools.cache
def inputs():
    return np.float32((images224() / 255 - MEAN) / STD)


def parameters(size=TINY, side=16, **options):
    return dinov2_layers.parameters(stored(arrays(size)), size, side, **options)


@functools.cache
def network():
    return jax.jit(dinov2.DINOv2(TINY).apply)


def features(params, given=None):
    given = inputs() if given is None else given
    return np.asarray(network()({"params": params}, given))


@functools.cache
def expected():
    return golden()["tiny/at224"]


def test_the_recipe_gives_the_weights_of_the_goldens():
    given = arrays()
    assert sorted(given) == list(golden()["tiny/keys"])
    sums = [key for key in golden() if "weight_sum" in key]
    assert len(sums) == 4
    for key in sums:
        total = given[key.removeprefix("tiny/weight_sum/")].astype(np.float64).sum()
        assert total == pytest.approx(float(golden()[key]), rel=1e-12)


def test_features_match_the_release_at_224_px():
    assert error(features(parameters()), expected()) <= BOUND


def test_features_match_the_release_at_518_px():
    rng = np.random.Generator(np.random.Philox(key=[11, 1]))
    given = np.float32(rng.standard_normal((1, 518, 518, 3)))
    found = features(parameters(side=37), given)
    assert error(found, golden()["tiny/at518"]) <= BOUND


def test_positions_match_the_release():
    found = parameters()["positions"]
    assert error(found, golden()["tiny/pos224"][0]) <= 1e-5  # the hub's are float32


def test_positions_of_the_trained_grid_and_of_the_class_token_stay():
    table = arrays()["pos_embed"][0]
    np.testing.assert_array_equal(dinov2_positions.interpolated(table, 37), table)
    for variant in dinov2_positions.VARIANTS:
        found = dinov2_positions.interpolated(table, 16, variant)
        np.testing.assert_array_equal(found[0], table[0])


@pytest.mark.parametrize(
    ("variant", "values"),
    [
        # torch 2.14: interpolate(mode='bicubic') with scale_factor=16.1/37
        ("hub", [1.998884915, 14.706437774, 4.886380734, 0.985728361]),
        # and with size=(16, 16)
        ("transformers", [2.029312134, 14.638062942, 6.400878906, 1.04424989]),
    ],
)
def test_both_variants_match_pytorch(variant, values):
    row, column = np.mgrid[:37, :37]
    grid = (row * row + 3 * column) % 17
    table = np.float32([[0], *grid.reshape(-1, 1)])
    found = dinov2_positions.interpolated(table, 16, variant)[1:].reshape(16, 16)
    places = ((0, 0), (3, 7), (15, 15), (8, 2))
    np.testing.assert_allclose([found[i] for i in places], values, rtol=1e-6)


def test_an_unknown_variant_is_refused():
    with pytest.raises(UserError, match=r"^variant='timm' .* hub, transformers\.$"):
        dinov2_positions.interpolated(arrays()["pos_embed"][0], 16, "timm")


# What ports get wrong moves the features far beyond the tolerance.


def test_positions_of_transformers_are_seen():
    found = features(parameters(variant="transformers"))
    assert error(found, expected()) > MISTAKE


def test_missing_layer_scale_is_seen():
    given = arrays()
    for key in given:
        if key.endswith(".gamma"):
            given[key] = np.ones_like(given[key])
    params = dinov2_layers.parameters(stored(given), TINY, 16)
    assert error(features(params), expected()) > MISTAKE


def changed_network():
    return np.asarray(
        jax.jit(dinov2.DINOv2(TINY).apply)({"params": parameters()}, inputs())
    )


def test_an_approximate_gelu_is_seen(monkeypatch):
    exact = nn.gelu
    monkeypatch.setattr(nn, "gelu", lambda x, approximate: exact(x, approximate=True))
    assert error(changed_network(), expected()) > MISTAKE


def test_a_class_token_before_the_last_norm_is_seen(monkeypatch):
    norm = dinov2._norm
    monkeypatch.setattr(
        dinov2, "_norm", lambda name: (lambda x: x) if name == "norm" else norm(name)
    )
    assert error(changed_network(), expected()) > MISTAKE


# The parameters.


@pytest.mark.parametrize(
    ("name", "count"), [("dinov2-b", 86_580_480), ("dinov2-l", 304_368_640)]
)
def test_parameter_counts_are_those_of_the_release(name, count):
    shapes = dinov2_layers.shapes(SIZES[name]) | {"mask": (1, SIZES[name].width)}
    assert sum(np.prod(shape) for shape in shapes.values()) == count


def test_both_layouts_give_the_same_parameters():
    hub = parameters()
    other = encoder_recipe.in_transformers_layout(arrays())
    assert not other.keys() & arrays().keys()
    tensors = dinov2_layers.in_hub_layout(stored(other))
    assert dinov2_layers.problem(tensors, TINY) == ""
    found = dinov2_layers.parameters(tensors, TINY, 16)
    jax.tree.map(np.testing.assert_array_equal, found, hub)


def test_the_network_takes_all_parameters_and_no_others():
    wanted = jax.eval_shape(
        dinov2.DINOv2(TINY).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3))
    )["params"]
    found = jax.tree.map(lambda a: (a.shape, a.dtype), parameters())
    assert found == jax.tree.map(lambda a: (a.shape, a.dtype), wanted)


def without(name):
    given = arrays()
    del given[name]
    return given


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (without("norm.bias"), "norm.bias is missing"),
        (
            arrays() | {"register_tokens": np.zeros((1, 4, 48))},
            "it holds 'register_tokens', which the network does not have",
        ),
        (
            arrays() | {"cls_token": np.zeros((1, 48))},
            "cls_token has shape (1, 48), not (1, 1, 48)",
        ),
        (
            {"encoder.layer.0.attention.attention.query.bias": np.zeros(48)} | arrays(),
            "it holds 'blocks.0.attn.qkv.bias (query)', which the network does not "
            "have",
        ),
    ],
)
def test_tensors_of_another_network_have_a_cause(given, cause):
    tensors = dinov2_layers.in_hub_layout(stored(given))
    assert dinov2_layers.problem(tensors, TINY) == cause


def test_the_mask_token_may_be_missing():
    assert dinov2_layers.problem(stored(without("mask_token")), TINY) == ""


# The large networks: python -m pytest -m slow tests/extractors/test_dinov2.py


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["base", "large"])
def test_large_networks_match_the_release(kind):
    size = SIZES[f"dinov2-{kind[0]}"]
    given = arrays(size)
    assert sorted(given) == list(golden()[f"{kind}/keys"])
    params = dinov2_layers.parameters(stored(given), size, 16)
    wanted = golden()[f"{kind}/at224"]
    apply = jax.jit(dinov2.DINOv2(size).apply)
    found = np.asarray(apply({"params": params}, inputs()[: len(wanted)]))
    print(f"{kind}: {error(found, wanted):.2g} of the largest")
    assert error(found, wanted) <= BOUND
