"""The state of a run, as one tree of arrays.

It contains no keys and no position in the data: both are computed from the seed and
`step`.
"""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.networks.layers import param_dtype
from sagan_jax.runtime import keys
from sagan_jax.training import frozen as frozen_lib
from sagan_jax.training import regularizers
from sagan_jax.training.optim import Optimizers

Tree = Any

INIT_STREAM, STEP_STREAM = 0, 1
"""Values folded into the seed's key: for initialisation, and for the steps."""


LATER = ("averages", "logits")
"""Fields of a state that the first checkpoints lack; {} means the same as missing."""


@flax.struct.dataclass
class NetworkState:
    """The parameters, mutable collections and optimizer state of one network.

    Attributes:
      params: the parameters.
      batch_stats: running statistics; {} if the network has none.
      spectral: the vectors `u`; {} without spectral norm.
      opt_state: the optimizer's state, of the layers that are trained.
      logits: LeCam's averages of the discriminator's logits; {} without LeCam.
    """

    params: Tree
    batch_stats: Tree
    spectral: Tree
    opt_state: Tree
    logits: Tree = flax.struct.field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Tree]:
        """The collections, in the form that `apply` takes."""
        return {
            "params": self.params,
            "batch_stats": self.batch_stats,
            "spectral": self.spectral,
        }


@flax.struct.dataclass
class GanState:
    """The state of a run; arrays only.

    Attributes:
      step: [] int32, number of steps so far, including skipped ones.
      skipped: [] int32, number of steps that were skipped because a value was not
        finite.
      generator: the generator's state.
      discriminator: the discriminator's state.
      ema: moving average of the generator's params; {} if ema_decay is 0.
      averages: a further average for each of `train.ema_decays`, under its
        `average_name`; {} if there are none.
    """

    step: jax.Array
    skipped: jax.Array
    generator: NetworkState
    discriminator: NetworkState
    ema: Tree
    averages: Tree = flax.struct.field(default_factory=dict)


def average_name(decay: float) -> str:
    """Returns the key of a further average in `GanState.averages`."""
    return f"{decay!r}"


def average(config: Config, ema: Tree, averages: Tree) -> Tree:
    """Returns the average that `config.evaluation` asks for; {} for live parameters.

    Args:
      config: the run's config.
      ema: `GanState.ema`.
      averages: `GanState.averages`, or the part of it that is asked for.
    """
    decay = config_lib.evaluated_decay(config)
    if not decay:
        return {}
    return ema if decay == config.train.ema_decay else averages[average_name(decay)]


@keys.pinned()
def create(
    config: Config,
    generator: Generator,
    discriminator: Discriminator,
    optimizers: Optimizers,
    seed: jax.Array | None = None,
) -> GanState:
    """Returns the state before the first step.

    The function is pure, so `jax.eval_shape` gives the shapes of a checkpoint. Under
    `jax.jit`, no two arrays of the state share a buffer, so it can be donated.

    Args:
      config: the run's config.
      generator: the generator, from networks.build.
      discriminator: the discriminator, from networks.build.
      optimizers: the optimizers, from optim.make_optimizers.
      seed: [] uint32; None: `config.train.seed`, which is then part of the program.
    """
    base = keys.key(config.train.seed if seed is None else seed)
    key = jax.random.fold_in(base, INIT_STREAM)
    generator_key, discriminator_key = jax.random.split(key)
    dtype = param_dtype(generator.dtype)
    # Initial values do not depend on these inputs, only on their shapes.
    labels = jnp.zeros((2,), jnp.int32) if generator.num_classes else None
    z = jnp.zeros((2, generator.latent_dim), dtype)
    side = generator.resolution
    images = jnp.zeros((2, side, side, generator.channels), dtype)
    g_variables = generator.init(generator_key, z, labels, train=False)
    d_variables = discriminator.init(discriminator_key, images, labels, train=False)
    params, train = g_variables["params"], config.train
    frozen = frozen_lib.layers(discriminator, train.freeze_discriminator)
    logits = regularizers.no_averages(dtype) if config.regularizers.lecam else {}
    return GanState(
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        generator=_network(g_variables, optimizers.generator),
        discriminator=_network(d_variables, optimizers.discriminator, frozen, logits),
        # Copies, so that averages and parameters do not share buffers.
        ema=jax.tree.map(jnp.copy, params) if train.ema_decay else {},
        averages={
            average_name(decay): jax.tree.map(jnp.copy, params)
            for decay in train.ema_decays
        },
    )


def _network(
    variables: Any, optimizer: Any, frozen: tuple[str, ...] = (), logits: Any = None
) -> NetworkState:
    return NetworkState(
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        spectral=variables.get("spectral", {}),
        opt_state=optimizer.init(frozen_lib.trainable(variables["params"], frozen)),
        logits=logits or {},
    )


def generator_variables(
    generator: Generator,
    live: dict[str, Tree],
    ema: Tree,
    *,
    iterations: int = 20,
) -> dict[str, Tree]:
    """Returns the variables to sample the generator with.

    With a moving average these are the averaged params, the live running statistics,
    and the live `u` after power iterations on the averaged kernels. `u` itself is never
    averaged: a mean of unit vectors is shorter than one, and would lower sigma.

    Args:
      generator: the generator.
      live: the live collections, including 'params'.
      ema: averaged params, or {} to return the live variables.
      iterations: number of power iterations on the averaged kernels.
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
    """Returns the collection `spectral` after power iterations on `variables`."""
    # The inputs may be zeros: no image is returned, so the compiler removes everything
    # but the power iterations.
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
