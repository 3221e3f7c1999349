"""Random keys that depend on the seed alone, whatever jax and flax are set to.

`jax.random.key(seed)` and what is drawn from it follow global settings: the default
implementation, an offset of all seeds, the layout of threefry's bits, and through
default dtypes even x64. A seed stands for the same numbers only if none of them counts.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax.configurations import config as flax_config


def key(seed: Any) -> jax.Array:
    """Returns the threefry key of a seed in [0, 2**32).

    It equals `jax.random.key(seed, impl='threefry2x32')` as long as
    JAX_RANDOM_SEED_OFFSET is not set.
    """
    word = jnp.asarray(seed, jnp.uint32)
    words = jnp.stack([jnp.zeros_like(word), word])
    return jax.random.wrap_key_data(words, impl="threefry2x32")


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Pins the settings that change what is drawn from a key; also a decorator.

    Draws must name their dtype in addition.
    """
    with (
        jax.threefry_partitionable(True),
        # Flax derives the key of each parameter from its path.
        flax_config.temp_flip_flag("fix_rng_separator", False),
    ):
        yield
