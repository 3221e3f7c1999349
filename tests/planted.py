"""Networks whose attention goes where a test planted it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan_jax.networks import Discriminator, Generator

FIELDS: dict[str, Any] = {
    "resolution": 32,
    "num_classes": 0,
    "width": 8,
    "channel_multiples": (1, 1, 1, 1),
    "normalization": "none",
    "attention_bias": True,
}
GAMMA = 0.7


def generator(cell: tuple[int, int], **fields: Any) -> tuple[Generator, Any]:
    """Returns a generator that attends to one cell of its 4x4 map, and variables.

    The cell has a 1 in channel 0; shortcuts carry it to the attention at 8x8, where
    every key's logit is 50 times channel 0. Pooled keys are the cells of the 4x4 map.
    """
    options = {**FIELDS, "latent_dim": 4, "attention_resolutions": (8,), **fields}
    module = Generator(**options)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 4)))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    params = variables["params"]
    params["dense"]["bias"].reshape(4, 4, 8)[(*cell, 0)] = 1
    params["block1"]["shortcut"]["kernel"][0, 0] = np.eye(8)
    _plant(params["attention8"])
    params["conv"]["kernel"][1, 1] = np.random.default_rng(0).normal(size=(8, 3))
    for norm in (params["norm"], *(params[f"block{i}"]["norm1"] for i in (1, 2, 3))):
        norm["scale"][:] = 1
    for stats in jax.tree.leaves(variables["batch_stats"]):
        stats[:] = 1
    return module, variables


def discriminator(**fields: Any) -> tuple[Discriminator, Any]:
    """Returns a discriminator that attends to the brightest place, and variables.

    At 16x16 every key's logit is 50 times the mean of an image's channels.
    """
    options = {**FIELDS, "attention_resolutions": (16,), **fields}
    module = Discriminator(**options)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    params = variables["params"]
    params["block1"]["shortcut"]["kernel"][0, 0, :, 0] = 1 / 3
    _plant(params["attention16"])
    return module, variables


def _plant(layer: Any) -> None:
    layer["gamma"][...] = GAMMA
    layer["query"]["bias"][:] = 50
    layer["key"]["kernel"][0, 0, 0, 0] = 1
