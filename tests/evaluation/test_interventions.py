"""Attention that is replaced, against NumPy and against planted parameters."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan

from sagan_jax.evaluation import interventions, sampling
from sagan_jax.networks.attention import SelfAttention
from sagan_jax.networks.dcgan import DcganGenerator
from sagan_jax.networks.layers import SNConv

C, H, W = 16, 4, 6
X = np.random.default_rng(0).normal(size=(2, H, W, C)).astype(np.float32)
GAMMA = 0.7
Z = np.random.default_rng(1).normal(size=(4, 16)).astype(np.float32)
LABELS = np.array([3, 0, 1, 2], np.int32)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@functools.cache
def _layer(form: str) -> tuple[SelfAttention, Any]:
    conv = functools.partial(SNConv, spectral_norm=False)
    block = SelfAttention(
        attention_form=form, attention_bias=True, conv=conv, name="attention16"
    )
    shapes = jax.eval_shape(block.init, jax.random.key(0), X)
    random = np.random.default_rng(2)
    variables = jax.tree.map(
        lambda s: random.normal(size=s.shape).astype(s.dtype) / 2, shapes
    )
    variables["params"]["gamma"] = np.float32(GAMMA)
    return block, variables


def _dense(x: np.ndarray, layer: Any) -> np.ndarray:
    return x @ layer["kernel"][0, 0].astype(np.float64) + layer["bias"]


def _in_numpy(params: Any, form: str, change: str) -> np.ndarray:
    """Returns x + gamma * output(weights value), where `change` alters the weights."""
    x = X.astype(np.float64)
    query, key, value = (_dense(x, params[k]) for k in ("query", "key", "value"))
    if form == "official":
        key, value = (
            a.reshape(2, H // 2, 2, W // 2, 2, -1).max((2, 4)) for a in (key, value)
        )
    query, key, value = (a.reshape(2, -1, a.shape[-1]) for a in (query, key, value))
    scores = np.exp(query @ key.transpose(0, 2, 1))
    weights = scores / scores.sum(-1, keepdims=True)
    if change == "uniform":
        weights = np.full_like(weights, 1 / weights.shape[-1])
    if change == "permuted":
        moved = np.empty_like(weights)
        for k, other in enumerate(interventions.permutation(weights.shape[-1])):
            moved[..., other] = weights[..., k]
        weights = moved
    out = (weights @ value).reshape(*x.shape[:3], -1)
    if form == "official":
        out = _dense(out, params["output"])
    return x + (0 if change == "gamma 0" else GAMMA) * out


@pytest.mark.parametrize("form", ["official", "port"])
@pytest.mark.parametrize("change", interventions.CHANGES)
def test_a_changed_layer_equals_its_formula_in_numpy(form: str, change: str) -> None:
    block, variables = _layer(form)
    changed = interventions.intervened(
        tiny_gan.build().generator, change, ("attention16",)
    )
    with nn.intercept_methods(changed._intercept):
        found = block.apply(variables, X)
    expected = _in_numpy(variables["params"], form, change)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(found - block.apply(variables, X)).max() > 1e-2


@pytest.mark.parametrize("keys", [2, 64, 100])
def test_the_permutation_moves_the_weight_of_every_key(keys: int) -> None:
    order = interventions.permutation(keys)
    assert sorted(order) == list(range(keys))
    assert np.all(order != np.arange(keys))


@pytest.fixture(scope="module")
def two_layers() -> tuple[tiny_gan.Run, Any]:
    run = tiny_gan.build(
        model__attention_resolutions=(8, 16), evaluation__num_samples=16
    )
    state = tiny_gan.random_state(run)
    return run, jax.tree.map(jnp.asarray, state.generator.variables)


@pytest.mark.parametrize(
    "layers", [("attention8",), ("attention8", "attention16")], ids=len
)
def test_gamma_0_of_some_layers_equals_closing_their_gates(
    layers: tuple[str, ...], two_layers: tuple[tiny_gan.Run, Any]
) -> None:
    run, variables = two_layers
    changed = interventions.intervened(run.generator, "gamma 0", layers)
    params = dict(variables["params"])
    for name in layers:
        params[name] = {**params[name], "gamma": jnp.float32(0)}
    np.testing.assert_array_equal(
        sampling.generate(changed, variables, Z, LABELS),
        sampling.generate(run.generator, {**variables, "params": params}, Z, LABELS),
    )


def test_no_layers_means_all_of_them(two_layers: tuple[tiny_gan.Run, Any]) -> None:
    generator = two_layers[0].generator
    changed = interventions.intervened(generator, "uniform")
    assert changed.layers == ("attention8", "attention16")


def test_a_check_changes_each_layer_alone_and_all_together(
    two_layers: tuple[tiny_gan.Run, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def images(config: Any, generator: Any, variables: Any, labels: Any) -> Any:
        # Grey levels by what is changed, which need no network.
        layers = getattr(generator, "layers", ())
        change = getattr(generator, "change", "")
        level = 100 * bool(layers) + len("".join(layers)) + len(change)
        return np.full((len(labels), 32, 32, 3), level, np.uint8)

    monkeypatch.setattr(interventions, "_images", images)
    run, _ = two_layers
    found = interventions.check(run.config, run.generator, {}, np.array([0, 1]))
    assert found.images == 2
    groups = [("attention8",), ("attention16",), ("attention8", "attention16")]
    assert [(e.change, e.layers, e.image_change) for e in found.effects] == [
        ("none", (), 0),
        *(
            (change, group, 100 + len("".join(group)) + len(change))
            for group in groups
            for change in interventions.CHANGES
        ),
    ]


def test_the_generator_of_a_port_takes_the_same_changes() -> None:
    generator = DcganGenerator(
        resolution=16,
        width=8,
        latent_dim=16,
        channel_multiples=(1, 1),
        attention_resolutions=(8,),
        attention_form="port",
    )
    variables = jax.jit(generator.init)(jax.random.key(0), Z)
    closed, apply = variables["params"], jax.jit(generator.apply)
    layer = {**closed["attention8"], "gamma": np.float32(1)}
    opened = {**variables, "params": {**closed, "attention8": layer}}
    changed = interventions.intervened(generator, "gamma 0", ("attention8",))
    found, expected = jax.jit(changed.apply)(opened, Z), apply(variables, Z)
    # Two programs, which may round differently.
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(apply(opened, Z) - expected).max() > 1e-3


def test_a_check_measures_the_change_of_images_and_of_scores() -> None:
    run = tiny_gan.build(evaluation__batch_size=6)
    variables = tiny_gan.random_state(run).generator.variables
    labels = np.array([0, 1, 2, 3, 0, 1], np.int32)
    found = interventions.check(run.config, run.generator, variables, labels)
    z = sampling.latents(run.config.evaluation.seed, range(6), run.generator)
    original = sampling.generate(run.generator, variables, z, labels).astype(int)
    for effect in found.effects:
        images = original
        if effect.layers:
            changed = interventions.intervened(
                run.generator, effect.change, effect.layers
            )
            images = sampling.generate(changed, variables, z, labels).astype(int)
            assert effect.image_change > 0.1
        # Other programs may round a float to neighbouring levels.
        expected = np.abs(images - original).mean()
        assert effect.image_change == pytest.approx(expected, abs=0.02)
        assert {"score", "class_correctness", "missing"} <= effect.scores.keys()
    pairs = [np.abs(original[i] - original[i + 4]).mean() for i in (0, 1)]
    assert found.between_samples == pytest.approx(np.mean(pairs), abs=0.02)


def test_with_closed_gates_no_change_does_anything() -> None:
    run = tiny_gan.build()
    state = tiny_gan.random_state(run)
    state.generator.params["attention16"]["gamma"][...] = 0
    labels = np.array([0, 1], np.int32)
    found = interventions.check(
        run.config, run.generator, state.generator.variables, labels
    )
    assert [effect.image_change for effect in found.effects] == [0, 0, 0, 0]
    assert all(e.scores == found.effects[0].scores for e in found.effects)
    assert found.between_samples is None
