"""The attention of whole networks: planted where it is known, and free of its route."""

import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import planted
import pytest
import tiny_gan

from sagan_jax.evaluation import attention, sampling
from sagan_jax.metrics import attention_distance

Z = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
LABELS = np.array([3, 0, 1], np.int32)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    state = tiny_gan.random_state(tiny_gan.build())
    return jax.tree.map(jnp.asarray, state.generator.variables)


@pytest.mark.parametrize("form", ["official", "paper"])
def test_a_generator_s_map_points_where_attention_was_planted(form: str) -> None:
    generator, variables = planted.generator((1, 2), attention_form=form)
    z = np.zeros((2, 4), np.float32)
    images, (layer,) = attention.of_generator(generator, variables, z, None)
    side = 4 if form == "official" else 8
    assert layer[:3] == ("attention8", (8, 8), (side, side))
    assert layer.gamma == pytest.approx(planted.GAMMA)
    assert layer.weights.dtype == np.float32
    expected = np.zeros((4, 4))
    expected[1, 2] = 1
    if form == "paper":  # the cell covers 2x2 keys, equally
        expected = expected.repeat(2, 0).repeat(2, 1) / 4
    for row in layer.weights.reshape(-1, side, side):
        np.testing.assert_allclose(row, expected, atol=1e-6)
    assert images.shape == (2, 32, 32, 3)
    assert images.dtype == np.uint8
    if form == "official":
        found = attention_distance.reach(layer.weights, layer.queries, layer.keys)
        to_it = [math.hypot(i - 2.5, j - 4.5) for i in range(8) for j in range(8)]
        assert found.distance == pytest.approx(np.mean(to_it) / math.hypot(8, 8))
        assert found.entropy == pytest.approx(0, abs=1e-6)


def test_a_discriminator_s_map_points_to_the_brightest_place_of_an_image() -> None:
    discriminator, variables = planted.discriminator()
    images = np.full((2, 32, 32, 3), -1, np.float32)
    images[0, 4:8, 20:24] = 1
    images[1, 28:32, 0:4] = 1
    (layer,) = attention.of_discriminator(discriminator, variables, images, None)
    assert layer[:3] == ("attention16", (16, 16), (8, 8))
    np.testing.assert_array_equal(
        layer.weights.argmax(-1), np.repeat([[1 * 8 + 5], [7 * 8]], 256, axis=1)
    )
    assert layer.weights.max(-1).min() > 0.999


def test_images_are_those_of_sampling_with_the_attention_of_that_pass(
    variables: dict[str, Any],
) -> None:
    generator = tiny_gan.build().generator
    images, (layer,) = attention.of_generator(generator, variables, Z, LABELS)
    expected = sampling.generate(generator, variables, Z, LABELS)
    # The two programs may round a float to neighbouring levels.
    np.testing.assert_allclose(images.astype(int), expected, atol=1)
    assert layer.weights.shape == (3, 256, 64)
    np.testing.assert_allclose(layer.weights.sum(-1), 1, rtol=1e-5)


def test_small_passes_give_the_maps_of_one_large_pass(
    variables: dict[str, Any],
) -> None:
    generator = tiny_gan.build().generator
    images, (layer,) = attention.of_generator(generator, variables, Z, LABELS)
    with mock.patch.object(attention, "PASS_BYTES", 2 * 256 * 64 * 4):
        others, (other,) = attention.of_generator(generator, variables, Z, LABELS)
    np.testing.assert_allclose(other.weights, layer.weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(others.astype(int), images, atol=1)


@pytest.mark.parametrize(
    "field", [{"attention_kernel": "xla"}, {"rematerialize": True}], ids=str
)
def test_a_network_may_have_another_kernel_or_rematerialise(
    field: dict[str, Any], variables: dict[str, Any]
) -> None:
    generator = tiny_gan.build().generator
    _, (layer,) = attention.of_generator(generator, variables, Z, LABELS)
    _, (other,) = attention.of_generator(generator.clone(**field), variables, Z, LABELS)
    np.testing.assert_array_equal(other.weights, layer.weights)


@pytest.mark.parametrize(
    "changes",
    [{"model__attention_resolutions": ()}, {"model__attention_block": "residual"}],
    ids=["none", "residual"],
)
def test_networks_without_attention_have_no_maps(changes: dict[str, Any]) -> None:
    run = tiny_gan.build(**changes)
    assert attention.layer_grids(run.generator) == {}
    assert attention.observed(run.config, run.generator, {}, LABELS) == {}
    images = np.zeros((1, 32, 32, 3), np.float32)
    assert attention.of_discriminator(run.discriminator, {}, images, None) == []


def test_layers_are_in_the_order_of_the_pass() -> None:
    run = tiny_gan.build(model__attention_resolutions=(16, 8))
    assert list(attention.layer_grids(run.generator)) == ["attention8", "attention16"]
    assert list(attention.layer_grids(run.discriminator)) == [
        "attention16",
        "attention8",
    ]
