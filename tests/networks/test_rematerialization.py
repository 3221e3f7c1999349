"""Rematerialised blocks: the same function and gradients, in less memory."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan

from sagan_jax import networks
from sagan_jax.config import ModelConfig

N = 8
NETWORKS = ("generator", "discriminator")
each_network = pytest.mark.parametrize("name", NETWORKS)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _network(name: str, *, rematerialize: bool) -> Any:
    model = ModelConfig(
        resolution=32,
        num_classes=4,
        width=8,
        latent_dim=8,
        attention_resolutions=(16,),
        generator_channel_multiples=(1, 1, 1, 1),
        discriminator_channel_multiples=(1, 1),
        rematerialize=rematerialize,
    )
    return networks.build(model)[NETWORKS.index(name)]


def _inputs(name: str) -> tuple[jax.Array, jax.Array]:
    shape = {"generator": (N, 8), "discriminator": (N, 32, 32, 3)}[name]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return jnp.asarray(x), jnp.arange(N, dtype=jnp.int32) % 4


@functools.cache
def _variables(name: str) -> Any:
    network = _network(name, rematerialize=False)
    variables = jax.jit(network.init)(jax.random.key(0), *_inputs(name))
    variables["params"]["attention16"]["gamma"] = jnp.float32(0.5)
    return variables


@functools.cache
def _pass(name: str, rematerialize: bool) -> tuple[Any, Any]:
    """Returns what a training pass gives, and the compiled program."""
    network = _network(name, rematerialize=rematerialize)
    x, labels = _inputs(name)
    weights = None

    def loss_of(params: Any, variables: Any) -> Any:
        nonlocal weights
        out, updates = network.apply(
            {**variables, "params": params},
            x,
            labels,
            train=True,
            mutable=["batch_stats", "spectral", "sigma", "attention"],
        )
        weights = np.random.default_rng(1).normal(size=out.shape).astype(np.float32)
        return (out * weights).sum(), (out, updates)

    @jax.jit
    def run(variables: Any) -> Any:
        return jax.value_and_grad(loss_of, has_aux=True)(variables["params"], variables)

    compiled = run.lower(_variables(name)).compile()
    return jax.device_get(compiled(_variables(name))), compiled


@each_network
def test_variables_are_initialised_with_the_same_bits(name: str) -> None:
    network = _network(name, rematerialize=True)
    found = jax.jit(network.init)(jax.random.key(0), *_inputs(name))
    found["params"]["attention16"]["gamma"] = jnp.float32(0.5)
    tiny_gan.assert_same_bits(found, _variables(name))


@each_network
def test_a_pass_gives_the_same_outputs_states_and_gradients(name: str) -> None:
    ((_, states), gradients), _ = _pass(name, True)
    ((_, expected), expected_gradients), _ = _pass(name, False)
    # float32 sums of another program; the largest gradient is 40.
    tiny_gan.assert_close(states, expected, 1e-5)
    tiny_gan.assert_close(gradients, expected_gradients, 1e-4)


@each_network
def test_the_blocks_are_computed_again_instead_of_kept(name: str) -> None:
    # What the forward pass hands to the backward pass. The memory of the compiled
    # program is no measure here: on a CPU it does not fall.
    def kept(rematerialize: bool) -> int:
        network = _network(name, rematerialize=rematerialize)
        x, labels = _inputs(name)
        variables = _variables(name)

        def forward(params: Any) -> Any:
            everything = {**variables, "params": params}
            return network.apply(everything, x, labels, train=True, mutable=True)[0]

        backward = jax.eval_shape(
            lambda params: jax.vjp(forward, params)[1], variables["params"]
        )
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    assert kept(True) < 0.75 * kept(False)
