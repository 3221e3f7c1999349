"""TTUR: one Adam for each network, at rates of their own, under one schedule."""

from typing import NamedTuple

import optax

from sagan_jax.config import Config, OptimConfig


class Optimizers(NamedTuple):
    """The Adams of the two networks."""

    generator: optax.GradientTransformation
    discriminator: optax.GradientTransformation


def make_optimizers(config: Config) -> Optimizers:
    """Returns both Adams.

    A schedule counts the updates of its own network, of which the discriminator makes
    `d_steps` in a step, so that both rates fall together.

    Reference: Heusel et al. 2017, https://arxiv.org/abs/1706.08500 (two time scales);
      `brain-research/self-attention-gan:model.py`. TensorFlow adds eps before its bias
      correction, optax after; that differs only where gradients are near 1e-8.
    """
    optim, steps = config.optim, config.train.steps
    return Optimizers(
        _adam(optim, schedule(optim, optim.generator_lr, steps)),
        _adam(
            optim,
            schedule(optim, optim.discriminator_lr, steps * config.train.d_steps),
        ),
    )


def schedule(optim: OptimConfig, rate: float, updates: int) -> optax.Schedule:
    """Returns the learning rate as a function of the updates made, of `updates` in all.

    'linear' holds `rate` until `decay_start` of the run, then falls to its `decay_to`.
    """
    if optim.schedule == "constant":
        return optax.constant_schedule(rate)
    begin = round(updates * optim.decay_start)
    return optax.linear_schedule(
        rate, rate * optim.decay_to, max(1, updates - begin), begin
    )


def _adam(optim: OptimConfig, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(rate, b1=optim.beta1, b2=optim.beta2, eps=optim.eps)
