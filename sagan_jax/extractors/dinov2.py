"""The DINOv2 vision transformers (ViT-S/B/L, without registers), as a Flax module.

The feature of an image is the class token after the last norm. Dropout and stochastic
depth, which are off in inference, are left out.

Reference: Oquab et al. 2023, https://arxiv.org/abs/2304.07193;
facebookresearch/dinov2:dinov2/models/vision_transformer.py. Ours computes attention and
MLP of the last block for the class token only.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from sagan_jax.extractors.dinov2_layers import PATCH, Size

_PRECISION = lax.Precision.HIGHEST  # by default, GPUs round to 10 bits and TPUs to 7


class DINOv2(nn.Module):
    """Computes the class token of images.

    Attributes:
      size: width, depth and number of heads.
    """

    size: Size

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns [N, width] for normalised images [N, S, S, 3]; S is a multiple of 14.

        The parameter `positions` [1 + (S / 14)**2, width] belongs to this S; see
        dinov2_positions.
        """
        width = self.size.width
        n, side = images.shape[0], images.shape[1] // PATCH
        # A product of patches: XLA's convolution with this stride is slower on CPUs.
        x = images.reshape(n, side, PATCH, side, PATCH, 3).swapaxes(2, 3)
        x = _dense(width, "patches")(x.reshape(n, side * side, PATCH * PATCH * 3))
        token = self.param("class_token", nn.initializers.zeros, (width,))
        shape = (1 + side * side, width)
        positions = self.param("positions", nn.initializers.zeros, shape)
        first = jnp.broadcast_to(token[None, None], (n, 1, width))
        x = jnp.concatenate([first, x], axis=1) + positions[None]
        for index in range(self.size.depth):
            last = index == self.size.depth - 1
            x = Block(self.size, token_only=last, name=f"block{index}")(x)
        return _norm("norm")(x[:, 0])


class Block(nn.Module):
    """x + scale1 * attention(norm(x)), then x + scale2 * mlp(norm(x)).

    Attributes:
      size: width, depth and number of heads.
      token_only: whether to return the class token only, [N, 1, width].
    """

    size: Size
    token_only: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns [N, T, width] for [N, T, width]."""
        width = self.size.width
        scales = [
            self.param(name, nn.initializers.ones, (width,))[None, None]
            for name in ("scale1", "scale2")
        ]
        queries = 1 if self.token_only else x.shape[1]
        attended = self._attention(_norm("norm1")(x), queries)
        x = x[:, :queries] + scales[0] * attended
        hidden = _dense(4 * width, "fc1")(_norm("norm2")(x))
        hidden = nn.gelu(hidden, approximate=False)
        return x + scales[1] * _dense(width, "fc2")(hidden)

    def _attention(self, x: jax.Array, queries: int) -> jax.Array:
        n, tokens, width = x.shape
        heads = self.size.heads
        each = width // heads
        qkv = _dense(3 * width, "qkv")(x).reshape(n, tokens, 3, heads, each)
        query, key, value = qkv[:, :queries, 0], qkv[:, :, 1], qkv[:, :, 2]
        logits = _product("nqhd,nkhd->nhqk", query * each**-0.5, key)
        mixed = _product("nhqk,nkhd->nqhd", jax.nn.softmax(logits), value)
        return _dense(width, "proj")(mixed.reshape(n, queries, width))


def _product(indices: str, a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.einsum(indices, a, b, precision=_PRECISION)


def _dense(features: int, name: str) -> Callable[[jax.Array], Any]:
    return nn.Dense(features, precision=_PRECISION, name=name)


def _norm(name: str) -> Callable[[jax.Array], Any]:
    # Flax's fast variance, a difference of two large numbers, loses digits.
    return nn.LayerNorm(epsilon=1e-6, use_fast_variance=False, name=name)
