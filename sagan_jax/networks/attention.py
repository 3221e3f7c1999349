"""Self-attention on feature maps, its published forms, and controls in its place."""

from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from sagan_jax.networks import convolutions, ops
from sagan_jax.networks.layers import SNConv, leave, param_dtype


class AttentionForm(NamedTuple):
    """One reading of the paper.

    Attributes:
      value_divisor: values have C / value_divisor channels; queries, keys C / 8.
      pooled: whether keys and values are 2x2 max-pooled.
      output: whether a 1x1 convolution maps the values back to C channels.
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
    """Returns x + gamma * attention(x); gamma is a scalar that starts at 0.

    The weights [N, H*W, keys] (keys = H*W/4 when pooled, row-major) are left in the
    collection `attention` where that is mutable, never by `init`.

    Attributes:
      attention_form: a name in ATTENTION_FORMS.
      attention_spectral_norm: spectral norm on its convolutions.
      attention_bias: biases on its convolutions; published: none.
      spectral_norm_eps, spectral_norm_warmup, stop_gradient_uv, weight_init, dtype: as
        in layers.SpectralKernel.

    Reference: Zhang et al. 2019, section 3, https://arxiv.org/abs/1805.08318. Query,
      key and value are the paper's g, f and h, and the release's theta, phi and g.
    """

    attention_form: str = "official"
    attention_spectral_norm: bool = True
    attention_bias: bool = False
    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0
    stop_gradient_uv: bool = True
    weight_init: str = "xavier"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, H, W, C] for [N, H, W, C]; C a multiple of 8, H and W even."""
        chex.assert_rank(x, 4)
        n, h, w, c = x.shape
        form = ATTENTION_FORMS[self.attention_form]

        def project(name: str, features: int, maps: jax.Array) -> jax.Array:
            return _conv(self, name, features, use_bias=self.attention_bias)(
                maps, train=train
            )

        query = project("query", c // 8, x)
        key = project("key", c // 8, x)
        value = project("value", c // form.value_divisor, x)
        if form.pooled:
            key, value = convolutions.max_pool(key), convolutions.max_pool(value)
        out, weights = ops.attend(_flat(query), _flat(key), _flat(value))
        if not self.is_initializing():
            leave(self, "attention", "weights", weights)
        out = out.reshape(n, h, w, -1)
        if form.output:
            out = project("output", c, out)
        return _gated(self, x, out)


class ResidualBlock(nn.Module):
    """Returns x + gamma * conv(relu(conv(x))): the control in attention's place.

    `residual` (1x1, 5C/8 hidden channels) has exactly the parameters of the official
    attention block, 1.25 C^2 + 1, and no view beyond a pixel; `residual_3x3` has about
    as many (hidden 1.25 C / 18) and sees neighbours; `residual_full` is the ordinary
    block, 3x3 and C hidden channels. Attributes are those of SelfAttention.
    """

    kind: str = "residual"
    attention_spectral_norm: bool = True
    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0
    stop_gradient_uv: bool = True
    weight_init: str = "xavier"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, H, W, C] for [N, H, W, C]."""
        chex.assert_rank(x, 4)
        c = x.shape[-1]
        side, hidden = {
            "residual": (1, 5 * c // 8),
            "residual_3x3": (3, max(1, round(1.25 * c / 18))),
            "residual_full": (3, c),
        }[self.kind]
        y = _conv(self, "conv1", hidden, kernel_size=side)(x, train=train)
        y = _conv(self, "conv2", c, kernel_size=side)(nn.relu(y), train=train)
        return _gated(self, x, y)


def _conv(
    module: Any, name: str, features: int, kernel_size: int = 1, use_bias: bool = False
) -> SNConv:
    return SNConv(
        features=features,
        kernel_size=kernel_size,
        use_bias=use_bias,
        spectral_norm=module.attention_spectral_norm,
        spectral_norm_eps=module.spectral_norm_eps,
        spectral_norm_warmup=module.spectral_norm_warmup,
        stop_gradient_uv=module.stop_gradient_uv,
        weight_init=module.weight_init,
        dtype=module.dtype,
        name=name,
    )


def _gated(module: nn.Module, x: jax.Array, y: jax.Array) -> jax.Array:
    gamma = module.param("gamma", nn.initializers.zeros, (), param_dtype(x.dtype))
    return x + gamma.astype(y.dtype) * y


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1, x.shape[-1])
