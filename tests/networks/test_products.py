"""The list of a step's products against the networks themselves."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from sagan_jax.config import Config, ModelConfig, TrainConfig
from sagan_jax.networks import build, convolutions, products

MODELS = {
    "imagenet128": ModelConfig(width=8, attention_resolutions=(32, 64)),
    "32 px": ModelConfig(resolution=32, width=4, attention_resolutions=(16,)),
    "no attention": ModelConfig(resolution=64, width=4, attention_resolutions=()),
    "residual": ModelConfig(
        resolution=32,
        width=8,
        attention_resolutions=(8,),
        generator_channel_multiples=(4, 4, 2, 1),
    ),
}


def _seen(network: Any, *inputs: Any) -> list[tuple[str, int, int, int, int]]:
    """Returns layer, kernel side, side, inputs and outputs of what `network` runs."""
    found = []
    original = convolutions._run

    def recorded(layer: Any, result: str, a: jax.Array, b: jax.Array) -> jax.Array:
        found.append(convolutions._product(layer, result, a, b))
        return original(layer, result, a, b)

    convolutions._run = recorded
    try:
        jax.eval_shape(
            lambda *inputs: network.init(jax.random.key(0), *inputs, train=False),
            *inputs,
        )
    finally:
        convolutions._run = original
    return sorted((p.layer, p.kernel, p.side, p.inputs, p.outputs) for p in found)


def _listed(found: list[products.Convolution]) -> list[tuple[str, int, int, int, int]]:
    # A resampled 1x1 convolution runs alone, on the small map.
    rows = []
    for c in found:
        small = c.kernel == 1 and c.layer != "conv"
        rows.append(
            (
                "conv" if small else c.layer,
                c.kernel,
                c.side // 2 if small else c.side,
                c.inputs,
                c.outputs,
            )
        )
    return sorted(rows)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_convolution_of_the_networks_is_listed(model: ModelConfig) -> None:
    generator, discriminator = build(model)
    labels = jax.ShapeDtypeStruct((2,), jnp.int32)
    z = jax.ShapeDtypeStruct((2, model.latent_dim), jnp.float32)
    side = model.resolution
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    listed = products.generator_convolutions(model)
    assert _seen(generator, z, labels) == _listed(listed)
    listed = products.discriminator_convolutions(model)
    assert _seen(discriminator, images, labels) == _listed(listed)


def _gflop(convolutions: str, platform: str) -> float:
    config = Config(
        model=ModelConfig(convolutions=convolutions),
        train=TrainConfig(batch_size=8, d_steps=1),
    )
    return products.step_operations(config, platform) / 8 / 1e9


def test_the_128_px_step_takes_a_third_of_the_operations_as_written() -> None:
    # By hand, over full windows: 4 passes of G with 18.2 GFLOP and 8 of D with 9.3,
    # less those of the images' gradients; docs/performance.md has the table.
    assert _gflop("plain", "cpu") == pytest.approx(148.7, abs=0.1)
    assert _gflop("auto", "cpu") < 73
    assert _gflop("auto", "cuda") < 93
