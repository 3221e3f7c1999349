"""The attention of every layer of a network, of one pass over given inputs."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from sagan_jax import pixels
from sagan_jax.config import Config
from sagan_jax.evaluation import sampling
from sagan_jax.metrics import agreement, attention_distance, cross_mass
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.networks.attention import ATTENTION_FORMS

Variables = dict[str, Any]

MOST_OBSERVED = 16
"""Most images whose attention is logged with a sample sheet."""

PASS_BYTES = 2**26
"""Most bytes of attention weights that one pass keeps on the device, if it can."""


class LayerMaps(NamedTuple):
    """The attention of one layer over a batch of images.

    Attributes:
      name: the layer's name in the parameter tree, such as 'attention32'.
      queries: (H, W) of the query grid, row-major.
      keys: (H', W') of the keys: (H/2, W/2) where they are pooled.
      gamma: the gate, by which the layer's output is multiplied.
      weights: float32 [N, H*W, H'*W'], whose rows sum to 1.
    """

    name: str
    queries: tuple[int, int]
    keys: tuple[int, int]
    gamma: float
    weights: np.ndarray


def layer_grids(network: Generator | Discriminator) -> dict[str, tuple[int, int]]:
    """Returns the sides of the query and the key grid of each layer, in order.

    {} for a network without attention, or with residual blocks in its place.

    Raises:
      UserError: if a field of the network has an unsupported value.
    """
    stages = network.plan()[1] if isinstance(network, Generator) else network.plan()
    if network.attention_block != "attention":
        return {}
    divisor = 2 if ATTENTION_FORMS[network.attention_form].pooled else 1
    return {
        f"attention{stage.resolution}": (stage.resolution, stage.resolution // divisor)
        for stage in stages
        if stage.attention
    }


def of_generator(
    generator: Generator,
    variables: Variables,
    z: jax.Array | np.ndarray,
    labels: jax.Array | np.ndarray | None,
) -> tuple[np.ndarray, list[LayerMaps]]:
    """Returns uint8 images [N, H, W, C], and the attention that they were made with.

    The layers are in the order of the pass; [] for a network without attention.

    Args:
      generator: the module; any `attention_kernel`.
      variables: the variables to sample with; see `evaluation.generator`.
      z: [N, latent_dim]; N is at least 1.
      labels: [N] int32, or None without classes.

    Raises:
      UserError: labels that are missing or out of range.
    """
    chex.assert_shape(z, (None, generator.latent_dim))
    images, layers = _in_passes(generator, variables, z, labels)
    return np.asarray(pixels.encode(images)), layers


def of_discriminator(
    discriminator: Discriminator,
    variables: Variables,
    images: jax.Array | np.ndarray,
    labels: jax.Array | np.ndarray | None,
) -> list[LayerMaps]:
    """Returns the attention of every layer of a discriminator, in order.

    Args:
      discriminator: the module; any `attention_kernel`.
      variables: its variables.
      images: [N, H, W, C] floats in [-1, 1]; N is at least 1.
      labels: [N] int32, or None without classes.

    Raises:
      UserError: labels that are missing or out of range.
    """
    chex.assert_rank(images, 4)
    if not layer_grids(discriminator):
        return []
    return _in_passes(discriminator, variables, images, labels)[1]


def observed(
    config: Config, generator: Generator, variables: Variables, labels: np.ndarray
) -> dict[str, float]:
    """Returns numbers of each layer's attention on a sheet's own latents, by name.

    These are the reach and the gate of a layer, and on far pairs the cross-mass. At
    most MOST_OBSERVED images are drawn, spread over the sheet. {} for a network without
    attention.

    Args:
      config: the run's config.
      generator: the module.
      variables: the generator's variables.
      labels: [N], the classes of the sheet.
    """
    grids = layer_grids(generator)
    if not grids:
        return {}
    count = min(len(labels), MOST_OBSERVED, _images_per_pass(grids))
    indices = np.linspace(0, len(labels) - 1, count).round().astype(int)
    settings = config.evaluation
    z = sampling.latents(settings.seed, indices, generator, settings.truncation)
    numbers = {}
    images, layers = of_generator(generator, variables, z, labels[indices])
    for layer, crossing in zip(layers, crossings(config, images, layers), strict=True):
        found = attention_distance.reach(layer.weights, layer.queries, layer.keys)
        numbers[f"distance_ratio/{layer.name}"] = found.distance_ratio
        numbers[f"entropy/{layer.name}"] = found.entropy
        numbers[f"gamma/{layer.name}"] = layer.gamma
        if crossing is not None:
            numbers[f"cross_mass/{layer.name}"] = crossing
    return numbers


def crossings(
    config: Config, images: np.ndarray, layers: Sequence[LayerMaps]
) -> list[float | None]:
    """Returns the cross-mass of each layer; None where there is none.

    Only the synthetic source has far pairs, and a pair needs both of its glyphs.

    Args:
      config: the run's config.
      images: uint8 [N, H, W, C].
      layers: their attention.
    """
    if config.data.source != "synthetic":
        return [None] * len(layers)
    masks = agreement.glyph_masks(
        images.astype(np.float32) / 255,
        config.data.distance,
        difficulty=config.data.difficulty,
    )
    return [
        cross_mass.cross_mass(layer.weights, layer.queries, layer.keys, masks)
        for layer in layers
    ]


def _in_passes(
    network: Generator | Discriminator,
    variables: Variables,
    inputs: Any,
    labels: Any,
) -> tuple[np.ndarray, list[LayerMaps]]:
    """Returns outputs [N, ...] and attention, computed a few inputs at a time."""
    # Both change no value: the weights are those of 'plain' with any kernel.
    network = network.clone(attention_kernel="plain", rematerialize=False)
    if network.num_classes == 0:
        labels = None
    elif labels is not None:
        labels = sampling.checked_labels(labels, network.num_classes).astype(np.int32)
        chex.assert_shape(labels, (len(inputs),))
    grids = layer_grids(network)
    size = min(len(inputs), _images_per_pass(grids))
    outputs, weights = [], []
    for begin in range(0, len(inputs), size):
        # The last pass is padded, so that all share one compiled program.
        rows = np.minimum(begin + np.arange(size), len(inputs) - 1)
        given = None if labels is None else labels[rows]
        found = _apply(network, variables, jnp.asarray(inputs)[rows], given)
        count = min(size, len(inputs) - begin)
        output, kept = jax.device_get(found)
        outputs.append(output[:count])
        weights.append({name: w[:count] for name, w in kept.items()})
    layers = [
        LayerMaps(
            name=name,
            queries=(side, side),
            keys=(key_side, key_side),
            gamma=float(variables["params"][name]["gamma"]),
            weights=np.concatenate([w[name] for w in weights]).astype(np.float32),
        )
        for name, (side, key_side) in grids.items()
    ]
    for layer, (side, key_side) in zip(layers, grids.values(), strict=True):
        chex.assert_shape(layer.weights, (len(inputs), side**2, key_side**2))
    return np.concatenate(outputs), layers


@functools.partial(jax.jit, static_argnames="network")
def _apply(
    network: Generator | Discriminator,
    variables: Variables,
    inputs: jax.Array,
    labels: jax.Array | None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    output, updates = network.apply(
        variables, inputs, labels, train=False, mutable=["attention"]
    )
    kept = updates.get("attention", {})
    return output, {name: layer["weights"] for name, layer in kept.items()}


def _images_per_pass(grids: dict[str, tuple[int, int]]) -> int:
    each = 4 * sum(side**2 * key_side**2 for side, key_side in grids.values())
    return max(1, min(sampling.CPU_BATCH, PASS_BYTES // max(1, each)))
