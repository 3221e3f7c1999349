"""Self-attention in its published forms, and residual blocks to compare it with."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.linen as nn
import jax

from sagan_jax.networks import ops, resampling
from sagan_jax.networks.layers import SNConv, param_dtype, store


class AttentionForm(NamedTuple):
    """One published form of self-attention; queries and keys always have C/8 channels.

    Attributes:
      value_divisor: C divided by the number of value channels.
      pooled: whether keys and values are 2x2 max-pooled.
      output: whether a 1x1 convolution maps the result back to C channels.
    """

    value_divisor: int
    pooled: bool
    output: bool


ATTENTION_FORMS: dict[str, AttentionForm] = {
    # brain-research/self-attention-gan:non_local.py, sn_non_local_block_sim
    "official": AttentionForm(value_divisor=2, pooled=True, output=True),
    # Zhang et al. 2019, section 3, equations 1 to 3
    "paper": AttentionForm(value_divisor=8, pooled=False, output=True),
    # heykeetae/Self-Attention-GAN:sagan_models.py, and the paper's first version
    "port": AttentionForm(value_divisor=1, pooled=False, output=False),
}


class SelfAttention(nn.Module):
    """Returns x + gamma * attention(x), where gamma is a scalar, initially 0.

    The attention weights [N, H*W, keys] (row-major; keys = H*W/4 if pooled) are stored
    in the collection `attention` if that is mutable, and never by `init`.

    Attributes:
      attention_form: a name in ATTENTION_FORMS.
      attention_kernel: a name in ops.ATTENTION_KERNELS. Where the weights are stored,
        'plain' is used.
      attention_bias: whether the convolutions have biases; published: False.
      conv: constructor of the convolutions, with the options of their kernels.

    Reference: Zhang et al. 2019, section 3, https://arxiv.org/abs/1805.08318. Query,
      key and value are the paper's g, f and h, and the release's theta, phi and g.
    """

    attention_form: str = "official"
    attention_kernel: str = "plain"
    attention_bias: bool = False
    conv: Callable[..., SNConv] = SNConv
    name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns [N, H, W, C] for [N, H, W, C].

        C must be a multiple of 8; H and W must be even if the form is pooled.
        """
        chex.assert_rank(x, 4)
        n, h, w, c = x.shape
        form = ATTENTION_FORMS[self.attention_form]

        def project(name: str, features: int, maps: jax.Array) -> jax.Array:
            layer = self.conv(
                features=features,
                kernel_size=1,
                use_bias=self.attention_bias,
                name=name,
            )
            return layer(maps, train=train)

        query = project("query", c // 8, x)
        key = project("key", c // 8, x)
        value = project("value", c // form.value_divisor, x)
        if form.pooled:
            key, value = resampling.max_pool(key), resampling.max_pool(value)
        out = self.attended(_flat(query), _flat(key), _flat(value))
        out = out.reshape(n, h, w, -1)
        if form.output:
            out = project("output", c, out)
        return _gated(self, x, out)

    def attended(self, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        """Returns the output [N, Q, V], and stores the weights where that is asked.

        A method of its own, so that evaluation.interventions can change its inputs.
        """
        # The other kernels do not return weights.
        plain = self.attention_kernel == "plain"
        if not plain and not self.is_mutable_collection("attention"):
            return ops.attend_by(self.attention_kernel, query, key, value)
        out, weights = ops.attend(query, key, value)
        if not self.is_initializing():
            store(self, "attention", "weights", weights)
        return out


class ResidualForm(NamedTuple):
    """One residual block: the kernel's side, and hidden channels for C channels."""

    kernel_size: int
    hidden: Callable[[int], int]


RESIDUAL_FORMS: dict[str, ResidualForm] = {
    # As many parameters as official attention, 1.25 C^2 + 1; each pixel sees itself.
    "residual": ResidualForm(1, lambda c: 5 * c // 8),
    # About as many parameters; each pixel sees its neighbours.
    "residual_3x3": ResidualForm(3, lambda c: max(1, round(1.25 * c / 18))),
    # The usual block, with far more parameters.
    "residual_full": ResidualForm(3, lambda c: c),
}
ATTENTION_BLOCKS = ("attention", *RESIDUAL_FORMS)
"""The choices of `attention_block`: SelfAttention, or a ResidualBlock as a control."""


class ResidualBlock(nn.Module):
    """Returns x + gamma * conv(relu(conv(x))): a control to compare attention with.

    Attributes:
      kind: a name in RESIDUAL_FORMS.
      conv: constructor of the convolutions, with the options of their kernels.
    """

    kind: str = "residual"
    conv: Callable[..., SNConv] = SNConv
    name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns [N, H, W, C] for [N, H, W, C]."""
        chex.assert_rank(x, 4)
        c = x.shape[-1]
        side, hidden = RESIDUAL_FORMS[self.kind]
        conv = functools.partial(self.conv, kernel_size=side, use_bias=False)
        y = conv(features=hidden(c), name="conv1")(x, train=train)
        y = conv(features=c, name="conv2")(nn.relu(y), train=train)
        return _gated(self, x, y)


def _gated(module: nn.Module, x: jax.Array, y: jax.Array) -> jax.Array:
    # gamma = 0 makes a new block the identity; its first gradients move gamma alone.
    gamma = module.param("gamma", nn.initializers.zeros, (), param_dtype(x.dtype))
    return x + gamma.astype(y.dtype) * y


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1, x.shape[-1])
