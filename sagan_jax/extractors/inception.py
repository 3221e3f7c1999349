"""The Inception network of 2015-12-05, which defines FID, as a Flax module.

It differs from the Inception-v3 of torchvision and Keras: average pools exclude the
padding, the last block uses a max pool, and there are 1008 outputs. Batch norms are
folded into kernels and biases; see `inception_layers.parameters`.

Reference: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567; the frozen graph as
described by toshas/torch-fidelity:torch_fidelity/feature_extractor_inceptionv3.py.
"""

from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sagan_jax.extractors.inception_layers import TAPS

_PRECISION = lax.Precision.HIGHEST  # by default, GPUs round to 10 bits and TPUs to 7


class Inception(nn.Module):
    """Computes features of images at the given taps.

    Attributes:
      taps: taps to return, from '64', '192', '768', '1280', '2048', 'logits_unbiased'
        and 'logits'. Layers beyond the last one are not run and need no weights.
    """

    taps: tuple[str, ...] = TAPS

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """Returns {tap: [N, d]} for images [N, 299, 299, 3] in [-1, 1]."""
        features: dict[str, jax.Array] = {}
        for tap, value in self._walk(images):
            features[tap] = value
            if features.keys() >= set(self.taps):
                break
        return {tap: features[tap] for tap in self.taps}

    def _walk(self, x: jax.Array) -> Iterator[tuple[str, jax.Array]]:
        """Yields (tap, features) from the first layer to the last, lazily."""
        x = Conv(32, (3, 3), stride=2, name="Conv2d_1a_3x3")(x)
        x = Conv(32, (3, 3), name="Conv2d_2a_3x3")(x)
        x = Conv(64, (3, 3), same=True, name="Conv2d_2b_3x3")(x)
        x = _max_pool(x, stride=2)
        yield "64", _spatial_mean(x)
        x = Conv(80, (1, 1), name="Conv2d_3b_1x1")(x)
        x = Conv(192, (3, 3), name="Conv2d_4a_3x3")(x)
        x = _max_pool(x, stride=2)
        yield "192", _spatial_mean(x)
        for name, width in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = BlockA(width, name=name)(x)
        x = BlockB(name="Mixed_6a")(x)
        for name, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(width, name=f"Mixed_6{name}")(x)
        yield "768", _spatial_mean(x)
        x = BlockD(name="Mixed_7a")(x)
        yield "1280", _spatial_mean(x)
        x = BlockE(max_pool=False, name="Mixed_7b")(x)
        x = BlockE(max_pool=True, name="Mixed_7c")(x)
        x = _spatial_mean(x)
        yield "2048", x
        kernel = self.param("fc_weight", nn.initializers.zeros, (2048, 1008))
        x = jnp.matmul(x, kernel, precision=_PRECISION)
        yield "logits_unbiased", x
        bias = self.param("fc_bias", nn.initializers.zeros, (1008,))
        yield "logits", x + bias[None]


class Conv(nn.Module):
    """relu(convolution + bias), zero-padded to the same size if `same`."""

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    same: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, H', W', features] for [N, H, W, C]."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.zeros, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.kernel_size == (1, 1):
            x = _pointwise(x, kernel)
        else:
            x = self._convolve(x, kernel)
        return nn.relu(x + bias[None, None, None])

    def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        rows, columns = ((k // 2 * self.same,) * 2 for k in self.kernel_size)
        width = (x.shape[2] + sum(columns) - self.kernel_size[1]) // self.stride + 1
        if not self.same:
            # On CPUs, XLA is up to seven times slower without any padding. This column
            # of zeros only affects outputs that are cut off below.
            columns = (0, 1)
        return lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            (rows, columns),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision=_PRECISION,
        )[:, :, :width]


class Pointwise(nn.Module):
    """All 1x1 convolutions of one input as a single matrix product.

    `pool_last` adds an average pool to the last one. The pool commutes with a 1x1
    convolution, so it is applied to the few outputs instead of the many inputs.
    """

    features: Sequence[int]
    pool_last: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Returns [N, H, W, f] for each f in `features`, for x [N, H, W, C]."""
        shape = (1, 1, x.shape[-1], sum(self.features))
        kernel = self.param("kernel", nn.initializers.zeros, shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        x = _pointwise(x, kernel) + bias[None, None, None]
        parts = jnp.split(x, np.cumsum(self.features)[:-1], axis=-1)
        if self.pool_last:
            parts[-1] = _average_pool(parts[-1])
        return [nn.relu(part) for part in parts]


class BlockA(nn.Module):
    """Mixed_5b, 5c and 5d."""

    pool: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, 35, 35, 224 + pool] for [N, 35, 35, C]."""
        one, five, three, pool = Pointwise(
            (64, 48, 64, self.pool), pool_last=True, name="pointwise"
        )(x)
        five = Conv(64, (5, 5), same=True, name="branch5x5_2")(five)
        three = Conv(96, (3, 3), same=True, name="branch3x3dbl_2")(three)
        three = Conv(96, (3, 3), same=True, name="branch3x3dbl_3")(three)
        return _concatenate(one, five, three, pool)


class BlockB(nn.Module):
    """Mixed_6a."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, 17, 17, 768] for [N, 35, 35, 288]."""
        three = Conv(384, (3, 3), stride=2, name="branch3x3")(x)
        double = Conv(64, (1, 1), name="branch3x3dbl_1")(x)
        double = Conv(96, (3, 3), same=True, name="branch3x3dbl_2")(double)
        double = Conv(96, (3, 3), stride=2, name="branch3x3dbl_3")(double)
        return _concatenate(three, double, _max_pool(x, stride=2))


class BlockC(nn.Module):
    """Mixed_6b to 6e."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, 17, 17, 768] for [N, 17, 17, 768]."""
        wide, high, width = (1, 7), (7, 1), self.width
        one, seven, double, pool = Pointwise(
            (192, width, width, 192), pool_last=True, name="pointwise"
        )(x)
        seven = Conv(width, wide, same=True, name="branch7x7_2")(seven)
        seven = Conv(192, high, same=True, name="branch7x7_3")(seven)
        double = Conv(width, high, same=True, name="branch7x7dbl_2")(double)
        double = Conv(width, wide, same=True, name="branch7x7dbl_3")(double)
        double = Conv(width, high, same=True, name="branch7x7dbl_4")(double)
        double = Conv(192, wide, same=True, name="branch7x7dbl_5")(double)
        return _concatenate(one, seven, double, pool)


class BlockD(nn.Module):
    """Mixed_7a."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, 8, 8, 1280] for [N, 17, 17, 768]."""
        three, seven = Pointwise((192, 192), name="pointwise")(x)
        three = Conv(320, (3, 3), stride=2, name="branch3x3_2")(three)
        seven = Conv(192, (1, 7), same=True, name="branch7x7x3_2")(seven)
        seven = Conv(192, (7, 1), same=True, name="branch7x7x3_3")(seven)
        seven = Conv(192, (3, 3), stride=2, name="branch7x7x3_4")(seven)
        return _concatenate(three, seven, _max_pool(x, stride=2))


class BlockE(nn.Module):
    """Mixed_7b, and Mixed_7c with a max pool."""

    max_pool: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, 8, 8, 2048] for [N, 8, 8, C]."""
        if self.max_pool:
            one, three, double = Pointwise((320, 384, 448), name="pointwise")(x)
            pool = Conv(192, (1, 1), name="branch_pool")(_max_pool(x, padding=1))
        else:
            one, three, double, pool = Pointwise(
                (320, 384, 448, 192), pool_last=True, name="pointwise"
            )(x)
        double = Conv(384, (3, 3), same=True, name="branch3x3dbl_2")(double)
        return _concatenate(
            one,
            Conv(384, (1, 3), same=True, name="branch3x3_2a")(three),
            Conv(384, (3, 1), same=True, name="branch3x3_2b")(three),
            Conv(384, (1, 3), same=True, name="branch3x3dbl_3a")(double),
            Conv(384, (3, 1), same=True, name="branch3x3dbl_3b")(double),
            pool,
        )


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    # On CPUs, a matrix product is twice as fast as the equal convolution.
    return jnp.matmul(
        x.reshape(-1, x.shape[-1]), kernel[0, 0], precision=_PRECISION
    ).reshape(*x.shape[:-1], -1)


def _max_pool(x: jax.Array, *, stride: int = 1, padding: int = 0) -> jax.Array:
    # On CPUs, two one-dimensional windows are ten times as fast as a square one.
    pad = (padding, padding)
    x = nn.max_pool(x, (1, 3), (1, stride), ((0, 0), pad))
    return nn.max_pool(x, (3, 1), (stride, 1), (pad, (0, 0)))


def _average_pool(x: jax.Array) -> jax.Array:
    """Returns means of 3x3 cells, without the padding at borders."""
    x = nn.avg_pool(x, (1, 3), padding="SAME", count_include_pad=False)
    return nn.avg_pool(x, (3, 1), padding="SAME", count_include_pad=False)


def _spatial_mean(x: jax.Array) -> jax.Array:
    return x.mean(axis=(1, 2))


def _concatenate(*branches: jax.Array) -> jax.Array:
    return jnp.concatenate(branches, axis=-1)
