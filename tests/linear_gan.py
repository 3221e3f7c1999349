"""Networks so simple that a whole training step can be computed by hand.

D(x, y) is a . x + b + c[y] of the flattened image, G(z, y) the image W z + d. D's first
layer scales the image by a number, which a test may freeze.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from sagan_jax.config import Config
from sagan_jax.training.optim import Optimizers


class Stage(NamedTuple):
    """A part of channels.Stage."""

    resolution: int
    attention: bool


class Generator(nn.Module):
    """G(z, y) = W z + d, with the fields that the training step reads."""

    num_classes: int = 0
    resolution: int = 4
    channels: int = 1
    latent_dim: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, labels: Any, *, train: bool) -> jax.Array:
        shape = (self.resolution, self.resolution, self.channels)
        return nn.Dense(self.resolution**2 * self.channels, name="dense")(z).reshape(
            -1, *shape
        )


class Discriminator(nn.Module):
    """D(x, y) = a . (s x) + b + c[y]; `scale1` is s, `dense` has a and b."""

    num_classes: int = 0
    resolution: int = 4
    stop_gradient_uv: bool = True
    has_batch_norm: bool = False

    def plan(self) -> tuple[Stage, ...]:
        return (Stage(self.resolution, attention=True), Stage(1, attention=False))

    @nn.compact
    def __call__(self, images: jax.Array, labels: Any, *, train: bool) -> jax.Array:
        x = images.reshape(images.shape[0], -1)
        x = x * _Scale(name="block1")()
        logits = nn.Dense(1, name="dense")(x)[:, 0]
        if self.num_classes:
            logits = logits + nn.Embed(self.num_classes, 1, name="embed")(labels)[:, 0]
        return logits


class _Scale(nn.Module):
    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("scale", nn.initializers.ones, ())


def parts(config: Config) -> tuple[Any, Any, Any, Optimizers]:
    """Returns what make_train_step takes; both optimizers subtract the gradient."""
    sgd = Optimizers(optax.sgd(1.0), optax.sgd(1.0))
    classes = config.model.num_classes
    return config, Generator(classes), Discriminator(classes), sgd
