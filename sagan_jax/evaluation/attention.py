"""Attention maps of a generator, as numpy arrays."""

from typing import Any, NamedTuple

import jax
import numpy as np

from sagan_jax import pixels
from sagan_jax.networks import Generator


class LayerMaps(NamedTuple):
    """The attention of one layer over a batch of images.

    Attributes:
      name: the module's name in the parameter tree.
      queries: (H, W) of the query grid, row-major.
      keys: (H', W') of the keys: H/2, W/2 where they are pooled.
      gamma: the gate of the layer.
      weights: float32 [N, H*W, H'*W'], rows sum to 1.
    """

    name: str
    queries: tuple[int, int]
    keys: tuple[int, int]
    gamma: float
    weights: np.ndarray


def of_generator(
    generator: Generator, variables: dict[str, Any], z: Any, labels: Any
) -> tuple[np.ndarray, list[LayerMaps]]:
    """Returns uint8 images [N, H, W, C] and the maps of that very pass, in order."""

    @jax.jit
    def forward(variables: Any, z: Any, labels: Any) -> Any:
        images, stored = generator.apply(
            variables, z, labels, train=False, mutable=["attention"]
        )
        return pixels.encode(images), stored.get("attention", {})

    images, stored = jax.device_get(forward(variables, z, labels))
    layers = []
    for name in sorted(stored, key=lambda name: int(name.removeprefix("attention"))):
        weights = np.asarray(stored[name]["weights"], np.float32)
        side = round(weights.shape[1] ** 0.5)
        key_side = round(weights.shape[2] ** 0.5)
        gamma = float(variables["params"][name]["gamma"])
        layers.append(
            LayerMaps(name, (side, side), (key_side, key_side), gamma, weights)
        )
    return np.asarray(images), layers
