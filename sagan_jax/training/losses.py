"""Adversarial losses: logits [N] in, a scalar out.

A pair is (discriminator loss of real and fake logits, generator loss of fake logits);
`LOSSES` holds the pairs by name. Losses are means over the batch.
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
    """Returns the mean cross-entropy of real as 1 and fake as 0, summed over the two.

    -log sigmoid(x) = softplus(-x) and -log(1 - sigmoid(x)) = softplus(x).

    Reference: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661.
    """
    chex.assert_rank([real, fake], 1)
    return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()


def non_saturating_generator(fake: jax.Array) -> jax.Array:
    """Returns -mean log sigmoid(fake). Reference: Goodfellow et al. 2014, section 3."""
    chex.assert_rank(fake, 1)
    return jax.nn.softplus(-fake).mean()


class Loss(NamedTuple):
    """The two sides of one game."""

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[[jax.Array], jax.Array]


LOSSES: dict[str, Loss] = {
    "hinge": Loss(hinge_discriminator, hinge_generator),
    "non_saturating": Loss(non_saturating_discriminator, non_saturating_generator),
}
