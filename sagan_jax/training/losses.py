"""Adversarial losses: functions from logits [N] to a scalar.

Each loss is a mean over the batch. `LOSSES` maps a name to the losses of the
discriminator and of the generator.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


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


def wasserstein_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Returns mean fake - mean real, which has no lower bound by itself.

    Spectral norm or a gradient penalty bounds the slope of the discriminator.

    Reference: Arjovsky et al. 2017, https://arxiv.org/abs/1701.07875, section 3.
    """
    chex.assert_rank([real, fake], 1)
    return fake.mean() - real.mean()


def wasserstein_generator(fake: jax.Array) -> jax.Array:
    """Returns -mean fake. Reference: Arjovsky et al. 2017, section 3."""
    chex.assert_rank(fake, 1)
    return -fake.mean()


def least_squares_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Returns 1/2 mean (real - 1)^2 + 1/2 mean fake^2.

    The 1/2 is the paper's; implementations without it have twice the gradient.

    Reference: Mao et al. 2017, https://arxiv.org/abs/1611.04076, with targets 0 and 1.
    """
    chex.assert_rank([real, fake], 1)
    return 0.5 * (jnp.square(real - 1.0).mean() + jnp.square(fake).mean())


def least_squares_generator(fake: jax.Array) -> jax.Array:
    """Returns 1/2 mean (fake - 1)^2. Reference: Mao et al. 2017."""
    chex.assert_rank(fake, 1)
    return 0.5 * jnp.square(fake - 1.0).mean()


def relativistic_discriminator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Returns mean softplus(fake - real): each fake image is judged against a real one.

    A constant that is added to all logits changes nothing. The paper trains it together
    with R1 and R2.

    References: Jolicoeur-Martineau 2019, https://arxiv.org/abs/1807.00734; Huang et al.
      2024, https://arxiv.org/abs/2501.05441, section 2, with f(t) = -log(1 + exp(-t)).
    """
    chex.assert_rank([real, fake], 1)
    return jax.nn.softplus(fake - real).mean()


def relativistic_generator(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Returns mean softplus(real - fake). Reference: Huang et al. 2024, section 2."""
    chex.assert_rank([real, fake], 1)
    return jax.nn.softplus(real - fake).mean()


class Loss(NamedTuple):
    """The losses of both networks.

    Attributes:
      discriminator: function of real and fake logits, both [N].
      generator: function of fake logits [N]; of real and fake logits if `paired`.
      paired: whether row i of the real and row i of the fake logits belong together.
        Their images then have the same label.
    """

    discriminator: Callable[[jax.Array, jax.Array], jax.Array]
    generator: Callable[..., jax.Array]
    paired: bool = False

    def of_generator(self, real: jax.Array | None, fake: jax.Array) -> jax.Array:
        """Returns the generator's loss; `real` is needed if the loss is paired."""
        return self.generator(real, fake) if self.paired else self.generator(fake)


LOSSES: dict[str, Loss] = {
    "hinge": Loss(hinge_discriminator, hinge_generator),
    "non_saturating": Loss(non_saturating_discriminator, non_saturating_generator),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator),
    "relativistic": Loss(
        relativistic_discriminator, relativistic_generator, paired=True
    ),
}
