"""The residual blocks of the generator and the discriminator.

References: `brain-research/self-attention-gan:generator.py` `block` and
  `discriminator.py` `block`, `optimized_block`; He et al. 2016.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from sagan_jax.networks import resampling
from sagan_jax.networks.layers import ConditionalBatchNorm, SNConv


class GeneratorBlock(nn.Module):
    """Residual block that doubles the side; its shortcut is always a convolution.

    Attributes:
      features: number of output channels.
      conv: constructor of the convolutions.
      norm: constructor of the norms.
    """

    features: int = 0
    conv: Callable[..., SNConv] = SNConv
    norm: Callable[..., ConditionalBatchNorm] = ConditionalBatchNorm
    name: str | None = None

    @nn.compact
    def __call__(
        self, x: jax.Array, labels: jax.Array | None, train: bool
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
    """Residual block that halves the side or keeps it.

    The first block of a network receives the image: it has no activation before its
    first convolution, and its shortcut is pooled before the 1x1 convolution instead of
    after it. In later blocks the shortcut is the raw input if the shape is unchanged.

    Attributes:
      features: number of output channels.
      resample: 'down' halves the side, '' keeps it.
      first: whether this is the first block of the network.
      rectified_shortcut: whether the shortcut of later blocks receives the rectified
        input, as in ports whose ReLUs work in place. Published: the raw input. With
        batch norms it has no effect: there the ReLUs work on the outputs of norms.
      conv: constructor of the convolutions.
      norm: constructor of batch norms before both activations, as in
        `POSTECH-CVLab/PyTorch-StudioGAN:src/models/resnet.py`, which normalises the
        input of the shortcut as well; None: without norms.
    """

    features: int = 0
    resample: str = "down"
    first: bool = False
    rectified_shortcut: bool = False
    conv: Callable[..., SNConv] = SNConv
    norm: Callable[..., ConditionalBatchNorm] | None = None
    name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns [N, H/2, W/2, features], or [N, H, W, features], for [N, H, W, C]."""
        if self.rectified_shortcut and not self.first and self.norm is None:
            x = nn.relu(x)
        shortcut = x
        if self.first:
            shortcut = self.conv(
                features=self.features, kernel_size=1, name="shortcut"
            )(resampling.mean_pool(x), train=train)
        elif self.resample or x.shape[-1] != self.features:
            shortcut = self.conv(
                features=self.features,
                kernel_size=1,
                resample=self.resample,
                name="shortcut",
            )(x, train=train)
        # A ReLU on the image would discard its dark half.
        y = x if self.first else nn.relu(self._normed("norm1", x, train))
        y = self.conv(features=self.features, name="conv1")(y, train=train)
        y = nn.relu(self._normed("norm2", y, train))
        y = self.conv(features=self.features, resample=self.resample, name="conv2")(
            y, train=train
        )
        return shortcut + y

    def _normed(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        return x if self.norm is None else self.norm(name=name)(x, train=train)
