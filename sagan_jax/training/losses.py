"""Adversarial losses: functions from logits [N] to a scalar.

Each loss is a mean over the batch. `LOSSES` maps a name to the losses of the
discriminator and of the generator.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax


def hinge_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Returns mean max(0, 1 - real) + mean max(0, 1 + fake).

    References: Lim and Ye 2017, https://arxiv.org/abs/1705.02894; Zhang et al. 2019,
      equation 4.
    """
    chex.assert_rank([real, fake], 1)
    return jax.nn.relu(1.0 - real).mean() + jax.nn.relu(1.0 + fake).mean()


def hinge_generator(fake: jax.Array) -> jax.Array:
    """Returns -mean fake. Reference: Zhang et al. 2019, equation 4."""
    chex.assert_rank(fake, 1)
    return -fake.mean()


def non_saturating_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Returns -mean log sigmoid(real) - mean log(1 - sigmoid(fake)).

    This is the cross-entropy with label 1 for real and 0 for fake. softplus avoids the
    overflow: -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x).

    Reference: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """
    chex.assert_rank([real, fake], 1)
    return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()


def non_saturating_generator(fake: jax.Array) -> jax.Array:
    """Returns -mean log sigmoid(fake). Reference: Goodfellow et al. 2014, section 3."""
    chex.assert_rank(fake, 1)
    return jax.nn.softplus(-fake).mean()


class Loss(NamedTuple):
    """The losses of both networks.

    Attributes:
      discriminator: function of real and fake logits, both [N].
      generator: function of fake logits [N].
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


LOSSES: dict[str, Loss] = {
    "hinge": Loss(hinge_discriminator, hinge_generator),
    "non_saturating": Loss(non_saturating_discriminator, non_saturating_generator),
}
