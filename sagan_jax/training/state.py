"""Everything that a run remembers, as one tree of arrays.

Randomness is not in it: keys come from the seed and `step` alone, and so does the
position in the data.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from sagan_jax.config import Config
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.networks.layers import param_dtype
from sagan_jax.training.optim import Optimizers

Tree = Any

INIT_STREAM, STEP_STREAM = 0, 1
"""First fold of the seed's key: what is drawn once, what is drawn in a step."""


@flax.struct.dataclass
class NetworkState:
    """One network: its parameters, its mutable collections, its optimiser."""

    params: Tree
    batch_stats: Tree
    spectral: Tree
    opt_state: Tree

    @property
    def variables(self) -> dict[str, Tree]:
        """The collections as `apply` takes them."""
        return {
            "params": self.params,
            "batch_stats": self.batch_stats,
            "spectral": self.spectral,
        }


@flax.struct.dataclass
class GanState:
    """A run: arrays only.

    Attributes:
      step: [] int32, generator updates asked for so far.
      skipped: [] int32, steps among them that were not finite and changed nothing else.
      generator: the generator.
      discriminator: the discriminator.
      ema: moving average of the generator's params; {} where ema_decay is 0.
    """

    step: jax.Array
    skipped: jax.Array
    generator: NetworkState
    discriminator: NetworkState
    ema: Tree


def create(
    config: Config,
    generator: Generator,
    discriminator: Discriminator,
    optimizers: Optimizers,
) -> GanState:
    """Returns the state before the first step; pure, so that shapes can be had alone.

    `jax.eval_shape(create, ...)` gives the shapes of a checkpoint. No two arrays share
    a buffer when this is jitted, so that the state can be donated.
    """
    key = jax.random.fold_in(jax.random.key(config.train.seed), INIT_STREAM)
    generator_key, discriminator_key = jax.random.split(key)
    dtype = param_dtype(generator.dtype)
    labels = jnp.zeros((2,), jnp.int32) if generator.num_classes else None
    z = jnp.zeros((2, generator.latent_dim), dtype)
    side = generator.resolution
    images = jnp.zeros((2, side, side, generator.channels), dtype)
    g_variables = generator.init(generator_key, z, labels, train=False)
    d_variables = discriminator.init(discriminator_key, images, labels, train=False)
    params = g_variables["params"]
    return GanState(
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        generator=_network(g_variables, optimizers.generator),
        discriminator=_network(d_variables, optimizers.discriminator),
        ema=jax.tree.map(jnp.copy, params) if config.train.ema_decay else {},
    )


def _network(variables: Any, optimizer: Any) -> NetworkState:
    return NetworkState(
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        spectral=variables.get("spectral", {}),
        opt_state=optimizer.init(variables["params"]),
    )


def generator_variables(
    generator: Generator,
    live: dict[str, Tree],
    ema: Tree,
    *,
    iterations: int = 20,
) -> dict[str, Tree]:
    """Returns the variables of the evaluated generator.

    With a moving average these are its params, the live running statistics, and the
    live `u` brought onto the averaged kernels by power iterations: `u` itself is never
    averaged (a mean of unit vectors is shorter than one, and sigma with it).

    Args:
      generator: the module.
      live: the live collections, 'params' among them.
      ema: averaged params, or {} for the live generator.
      iterations: power iterations on the averaged kernels.
    """
    if not ema:
        return dict(live)
    averaged = {**live, "params": ema}
    if not live["spectral"]:
        return averaged
    return {**averaged, "spectral": _iterated(generator, averaged, iterations)}


@functools.partial(jax.jit, static_argnames=("generator", "iterations"))
def _iterated(
    generator: Generator, variables: dict[str, Tree], iterations: int
) -> Tree:
    """Returns the collection `spectral` after power iterations on these params."""
    # Only the shape of a pass matters: its images are not returned, so the compiler
    # drops everything but the power iterations.
    n = max(2, generator.batch_norm_group_size)
    z = jnp.zeros((n, generator.latent_dim), param_dtype(generator.dtype))
    labels = jnp.zeros((n,), jnp.int32) if generator.num_classes else None

    def once(_: Any, spectral: Tree) -> Tree:
        _, updates = generator.apply(
            {**variables, "spectral": spectral},
            z,
            labels,
            train=True,
            mutable=["spectral"],
        )
        return updates["spectral"]

    return jax.lax.fori_loop(0, iterations, once, variables["spectral"])
