"""Gradients of both networks from one pass of each: for simultaneous updates.

Both losses are computed from the same fakes and the parameters before the step. The
alternating algorithm takes four forward costs of G and eight of D per step; this one
takes three and six.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sagan_jax.training.losses import Loss

LEAST = 2.0**-60
"""Least cotangent of a fake logit, as a fraction of that of a mean over the batch.

It is far below the rounding of float64 and far above the least float32, and a power of
two, so that scaling by it rounds nothing.
"""


class Gradients(NamedTuple):
    """What one pass of each network gives.

    Attributes:
      generator: gradient of G's loss by G's parameters.
      discriminator: gradient of D's loss by D's parameters.
      losses: both losses, G's first.
      logits: logits of real and fake images, both [N].
      generator_updates: mutable state of G's pass.
      discriminator_updates: mutable state of D's pass.
    """

    generator: Any
    discriminator: Any
    losses: tuple[jax.Array, jax.Array]
    logits: tuple[jax.Array, jax.Array]
    generator_updates: Any
    discriminator_updates: Any


def gradients(
    loss: Loss,
    generate: Callable[[Any], tuple[jax.Array, Any]],
    judge: Callable[[Any, jax.Array], tuple[tuple[jax.Array, jax.Array], Any]],
    generator_params: Any,
    discriminator_params: Any,
) -> Gradients:
    """Returns the gradients of both losses, from one backward pass of each network.

    The logit of an image must not depend on the other images, as in a discriminator
    without batch norm. D's pullback then maps a cotangent s_i of fake logit i to s_i
    times the gradient of that logit by its image, and the image's gradient of G's loss
    is the same one times t_i / s_i, where s_i and t_i are the derivatives of D's and of
    G's loss by the logit. Where the hinge is satisfied s_i is 0: LEAST takes its place,
    which no sum over a batch notices.

    Args:
      loss: the losses.
      generate: maps G's parameters to fakes [N, ...] and mutable state.
      judge: maps D's parameters and fakes to the logits of real and fake images, both
        [N], and mutable state.
      generator_params: G's parameters.
      discriminator_params: D's parameters.
    """
    fakes, pull_g, g_updates = jax.vjp(generate, generator_params, has_aux=True)
    (real, fake), pull_d, d_updates = jax.vjp(
        judge, discriminator_params, fakes, has_aux=True
    )
    d_loss, (by_real, by_fake) = jax.value_and_grad(loss.discriminator, (0, 1))(
        real, fake
    )
    g_loss, wanted = jax.value_and_grad(loss.of_generator, 1)(real, fake)
    least = jnp.asarray(LEAST / fake.size, fake.dtype)
    taken = jnp.where(jnp.abs(by_fake) < least, least, by_fake)
    d_gradient, by_image = pull_d((by_real, taken))
    factor = (wanted / taken).reshape(-1, *[1] * (fakes.ndim - 1))
    (g_gradient,) = pull_g(by_image * factor.astype(by_image.dtype))
    return Gradients(
        g_gradient, d_gradient, (g_loss, d_loss), (real, fake), g_updates, d_updates
    )
