"""The optimizers: one Adam per network, with separate learning rates (TTUR)."""

from typing import NamedTuple

import optax

from sagan_jax.config import Config, OptimConfig
from sagan_jax.training.adam import adam


class Optimizers(NamedTuple):
    """The optimizers of both networks."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


def make_optimizers(config: Config) -> Optimizers:
    """Returns the optimizers of both networks.

    TensorFlow adds eps before its bias correction and optax after it; the difference
    only matters for gradients near 1e-8.

    Reference: Heusel et al. 2017, https://arxiv.org/abs/1706.08500 (two time scales);
      `brain-research/self-attention-gan:model.py`.
    """
    # A schedule counts the updates of its own network. The discriminator makes d_steps
    # updates per step, so its schedule is longer and both rates decay together.
    optim, steps = config.optim, config.train.steps
    return Optimizers(
        _adam(optim, schedule(optim, optim.generator_lr, steps)),
        _adam(
            optim,
            schedule(optim, optim.discriminator_lr, steps * config.train.d_steps),
        ),
    )


def schedule(optim: OptimConfig, rate: float, updates: int) -> optax.Schedule:
    """Returns the learning rate as a function of the number of updates so far.

    Args:
      optim: the settings of the schedule: 'constant', or 'linear', which keeps `rate`
        until the fraction `decay_start` of the run, then decays linearly to
        `decay_to * rate` at its end.
      rate: the initial learning rate.
      updates: number of updates in the whole run.
    """
    if optim.schedule == "constant":
        return optax.constant_schedule(rate)
    begin = round(updates * optim.decay_start)
    return optax.linear_schedule(
        rate, rate * optim.decay_to, max(1, updates - begin), begin
    )


def _adam(optim: OptimConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    return adam(rate, beta1=optim.beta1, beta2=optim.beta2, eps=optim.eps)
