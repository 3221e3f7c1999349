"""The layers and blocks of the DCGANs: 4x4 convolutions that change the side."""

from collections.abc import Callable

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from sagan_jax.networks import strided
from sagan_jax.networks.layers import ConditionalBatchNorm, SpectralKernel

NORM_SIDES = ("output", "input")
"""The choices of `norm_side`: which channels are the columns of a kernel's matrix."""


class SNStridedConv(SpectralKernel):
    """4x4 convolution that halves the side, with a spectrally normalised kernel.

    Attributes:
      features: number of output channels.
    """

    features: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, H/2, W/2, features] for [N, H, W, in]."""
        chex.assert_rank(x, 4)
        kernel = self.kernel("kernel", (4, 4, x.shape[-1], self.features), train)
        return self.biased(
            strided.strided_conv(x.astype(self.dtype), kernel), kernel.shape
        )


class SNTransposedConv(SpectralKernel):
    """4x4 transposed convolution with a spectrally normalised kernel.

    It doubles the side, or makes a 4x4 map of a 1x1 one.

    Attributes:
      features: number of output channels.
      use_bias: whether to add a bias [features].
      norm_side: 'output': the kernel is normalised as a matrix [16 in, out], and `u`
        is [out], as for a convolution. 'input': as a matrix [16 out, in] with `u` [in],
        as in ports that flatten PyTorch's kernel [in, out, 4, 4] without a transpose.
    """

    features: int = 0
    use_bias: bool = True
    norm_side: str = "output"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, 2H, 2W, features], or [N, 4, 4, features] for [N, 1, 1, in]."""
        chex.assert_rank(x, 4)
        kernel = self.kernel("kernel", (4, 4, x.shape[-1], self.features), train)
        x = x.astype(self.dtype)
        if x.shape[1:3] == (1, 1):
            y = jnp.einsum("ni,hwio->nhwo", x[:, 0, 0], kernel)
        else:
            y = strided.transposed_conv(x, kernel)
        return self.biased(y, kernel.shape) if self.use_bias else y

    def normalized(self, raw: jax.Array, train: bool) -> jax.Array:
        """Returns `raw` [4, 4, in, out], divided by the sigma of `norm_side`."""
        if self.norm_side == "output":
            return super().normalized(raw, train)
        return super().normalized(raw.swapaxes(2, 3), train).swapaxes(2, 3)


class UpBlock(nn.Module):
    """Transposed convolution that doubles the side, batch norm, ReLU.

    Attributes:
      features: number of output channels.
      conv: constructor of the convolution.
      norm: constructor of the norm.
    """

    features: int = 0
    conv: Callable[..., SNTransposedConv] = SNTransposedConv
    norm: Callable[..., ConditionalBatchNorm] = ConditionalBatchNorm
    name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns [N, 2H, 2W, features] for [N, H, W, C]."""
        x = self.conv(features=self.features, name="conv")(x, train=train)
        return nn.relu(self.norm(name="norm")(x, train=train))


class DownBlock(nn.Module):
    """Convolution that halves the side, leaky ReLU, and a batch norm between on demand.

    Attributes:
      features: number of output channels.
      slope: slope of the leaky ReLU below 0.
      conv: constructor of the convolution.
      norm: constructor of the norm; None: without.
    """

    features: int = 0
    slope: float = 0.1
    conv: Callable[..., SNStridedConv] = SNStridedConv
    norm: Callable[..., ConditionalBatchNorm] | None = None
    name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns [N, H/2, W/2, features] for [N, H, W, C]."""
        x = self.conv(features=self.features, name="conv")(x, train=train)
        if self.norm is not None:
            x = self.norm(name="norm")(x, train=train)
        return nn.leaky_relu(x, self.slope)
