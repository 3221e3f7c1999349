"""The residual blocks of both networks.

References: `brain-research/self-attention-gan:generator.py` `block` and
  `discriminator.py` `block`, `optimized_block`; He et al. 2016 for the idea.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from sagan_jax.networks import convolutions
from sagan_jax.networks.layers import ConditionalBatchNorm, SNConv


class GeneratorBlock(nn.Module):
    """Residual block that doubles the side; the shortcut is always a convolution."""

    features: int = 0
    conv: Callable[..., SNConv] = SNConv
    norm: Callable[..., ConditionalBatchNorm] = ConditionalBatchNorm
    name: str | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, labels: jax.Array | None, *, train: bool
    ) -> jax.Array:
        """Returns [N, 2H, 2W, features] for [N, H, W, C]."""
        shortcut = self.conv(
            features=self.features, kernel_size=1, resample="up", name="shortcut"
        )(x, train=train)
        y = nn.relu(self.norm(name="norm1")(x, labels, train=train))
        y = self.conv(features=self.features, resample="up", name="conv1")(
            y, train=train
        )
        y = nn.relu(self.norm(name="norm2")(y, labels, train=train))
        y = self.conv(features=self.features, name="conv2")(y, train=train)
        return shortcut + y


class DiscriminatorBlock(nn.Module):
    """Residual block; `resample` 'down' halves the side.

    The first block of a network sees the image: it has no activation before its first
    convolution, and pools its shortcut before, not after, the 1x1 convolution. The
    shortcut of the others is the raw input where nothing changes in shape.
    """

    features: int = 0
    resample: str = "down"
    first: bool = False
    conv: Callable[..., SNConv] = SNConv
    name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Returns [N, H/2, W/2, features] for [N, H, W, C], or [N, H, W, features]."""
        shortcut = x
        if self.first:
            shortcut = self.conv(
                features=self.features, kernel_size=1, name="shortcut"
            )(convolutions.mean_pool(x), train=train)
        elif self.resample or x.shape[-1] != self.features:
            shortcut = self.conv(
                features=self.features,
                kernel_size=1,
                resample=self.resample,
                name="shortcut",
            )(x, train=train)
        y = x if self.first else nn.relu(x)
        y = self.conv(features=self.features, name="conv1")(y, train=train)
        y = self.conv(features=self.features, resample=self.resample, name="conv2")(
            nn.relu(y), train=train
        )
        return shortcut + y
