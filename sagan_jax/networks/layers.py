"""Spectrally normed layers and conditional batch norm, as Flax modules.

State lives in two collections. `spectral` holds one vector `u` per normalised kernel,
under the path of that kernel; `batch_stats` holds the running mean and variance of each
norm. Both move only under `train=True` and only where the caller made them mutable, and
never during `init`: an initialised network has made no step.
"""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from sagan_jax.networks import convolutions, ops

Initializer = Callable[..., jax.Array]

XAVIER = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
INITIALIZERS: dict[str, Initializer] = {
    "xavier": XAVIER,
    "orthogonal": nn.initializers.orthogonal(),
}


def param_dtype(dtype: Any) -> Any:
    """Returns float64 for float64 and float32 for everything else.

    Parameters, statistics and power iterations are never kept in half precision.
    """
    return jnp.promote_types(dtype, jnp.float32)


def leave(module: nn.Module, collection: str, name: str, value: jax.Array) -> None:
    """Leaves `value` in `collection` where that is mutable, over an older one."""
    module.sow(
        collection, name, value, reduce_fn=lambda _, new: new, init_fn=lambda: None
    )


def require(module: nn.Module, collection: str, name: str) -> None:
    """Raises ValueError outside of `init` where `collection` lacks `name`.

    Flax would draw a new value in a mutable collection, unnoticed.
    """
    if not module.is_initializing() and not module.has_variable(collection, name):
        raise ValueError(
            f"{'/'.join((*module.path, name))} is missing from the collection "
            f"{collection!r}; pass the variables as `init` returned them."
        )


class SpectralKernel(nn.Module):
    """Base of the layers whose kernel is divided by its largest singular value.

    Attributes:
      spectral_norm: off leaves the kernel as it is and makes no state.
      spectral_norm_eps: added to the norms inside of the power iteration.
      spectral_norm_warmup: power iterations on `u` at initialisation; published: 0.
      stop_gradient_uv: hold u and v constant in the gradient; published: False.
      weight_init: 'xavier' (published) or 'orthogonal'.
      dtype: of the product with the input; the norm is in float32 or better.
    """

    spectral_norm: bool = True
    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0
    stop_gradient_uv: bool = True
    weight_init: str = "xavier"
    dtype: Any = jnp.float32

    def kernel(self, name: str, shape: tuple[int, ...], train: bool) -> jax.Array:
        """Returns the parameter `name` in its normalised form, in `dtype`."""
        raw = self.param(
            name, INITIALIZERS[self.weight_init], shape, param_dtype(self.dtype)
        )
        return self.normalized(raw, train).astype(self.dtype)

    def normalized(self, raw: jax.Array, train: bool) -> jax.Array:
        """Returns `raw` [..., out] over its sigma; moves `u` where that is asked for.

        `u` starts from a truncated normal of standard deviation 1, not from a unit
        vector, as published.
        """
        if not self.spectral_norm:
            return raw
        require(self, "spectral", "u")
        u = self.variable("spectral", "u", self._initial_u, raw)
        normalized, new_u, sigma = ops.spectral_normalize(
            raw,
            u.value,
            eps=self.spectral_norm_eps,
            stop_gradient_uv=self.stop_gradient_uv,
        )
        if not self.is_initializing():
            if train and self.is_mutable_collection("spectral"):
                u.value = new_u
            leave(self, "sigma", "sigma", sigma)
        return normalized

    def _initial_u(self, raw: jax.Array) -> jax.Array:
        u = jax.random.truncated_normal(
            self.make_rng("params"), -2.0, 2.0, raw.shape[-1:], raw.dtype
        )
        if self.spectral_norm_warmup:
            _, u, _ = ops.spectral_normalize(
                raw, u, num_iters=self.spectral_norm_warmup, eps=self.spectral_norm_eps
            )
        return u


class SNConv(SpectralKernel):
    """Stride-1 convolution with zero padding and a spectrally normed kernel.

    Attributes:
      features: channels of the output.
      kernel_size: side of the square kernel.
      use_bias: whether a bias [features], zero at first, is added.
      resample: 'up' doubles the sides before the convolution (nearest), 'down' takes
        2x2 means after it, '' does neither.
    """

    features: int = 0
    kernel_size: int = 3
    use_bias: bool = True
    resample: str = ""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, H', W', features] for [N, H, W, in]."""
        chex.assert_rank(x, 4)
        side = self.kernel_size
        kernel = self.kernel("kernel", (side, side, x.shape[-1], self.features), train)
        product = {
            "": convolutions.conv,
            "up": convolutions.upsample_conv,
            "down": convolutions.conv_pool,
        }
        y = product[self.resample](x.astype(self.dtype), kernel)
        return _add_bias(self, y, self.features) if self.use_bias else y


class SNDense(SpectralKernel):
    """Matrix product with a spectrally normed kernel [in, features]."""

    features: int = 0
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, features] for [N, in]."""
        chex.assert_rank(x, 2)
        kernel = self.kernel("kernel", (x.shape[-1], self.features), train)
        y = x.astype(self.dtype) @ kernel
        return _add_bias(self, y, self.features) if self.use_bias else y


class SNEmbed(SpectralKernel):
    """Rows of a spectrally normed table [num_classes, features].

    The table is transposed for the norm, as published, so `u` is [num_classes].
    """

    num_classes: int = 0
    features: int = 0

    @nn.compact
    def __call__(self, labels: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, features] for labels [N] in [0, num_classes)."""
        chex.assert_rank(labels, 1)
        table = self.param(
            "embedding",
            INITIALIZERS[self.weight_init],  # fans: num_classes, features
            (self.num_classes, self.features),
            param_dtype(self.dtype),
        )
        rows = self.normalized(table.T, train).T
        return rows.astype(self.dtype)[labels]


def _add_bias(module: nn.Module, y: jax.Array, features: int) -> jax.Array:
    bias = module.param(
        "bias", nn.initializers.zeros, (features,), param_dtype(y.dtype)
    )
    return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a scale and a bias of its own for every class.

    Moments are taken in float32 or better over the whole batch, or over groups of
    `group_size` successive examples; never over what happens to lie on one device. The
    running statistics move once per pass, by the mean over the groups; the variance is
    the biased one, in the normalisation and in store.

    Attributes:
      num_classes: 0 is plain batch norm: scale and bias are [C], labels are ignored.
      decay: of the old running value (published: 0.999, 0.9999 for the last norm).
      epsilon: added to the variance.
      group_size: examples that share moments; 0: all of the batch. Published: 64.
      class_tables: 'published' (scale 1, bias 0, tables not normed), 'one_plus' (scale
        is 1 + an embedding, both tables drawn by `weight_init`) or 'one_plus_spectral'
        (the same, both tables spectrally normed).
      spectral: fields of `SpectralKernel` for the class tables; only 'one_plus...'.
      dtype: of the output.

    Reference: Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629;
      `brain-research/self-attention-gan:ops.py` `ConditionalBatchNorm`.
    """

    num_classes: int = 0
    decay: float = 0.999
    epsilon: float = 1e-5
    group_size: int = 0
    class_tables: str = "published"
    spectral: Any = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, labels: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """Returns [N, H, W, C], normalised, scaled and shifted.

        Raises:
          ValueError: a batch that `group_size` does not divide.
        """
        chex.assert_rank(x, 4)
        precise = param_dtype(self.dtype)
        x = x.astype(precise)
        scale, bias = self._scale_and_bias(x.shape[-1], labels, train)
        mean, variance = self._moments(x, train)
        factor = scale * jax.lax.rsqrt(variance + self.epsilon)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)

    def _moments(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Returns mean and variance, both [N or 1, 1, 1, C]."""
        channels = x.shape[-1]
        require(self, "batch_stats", "mean")
        require(self, "batch_stats", "var")
        running_mean = self.variable(
            "batch_stats", "mean", jnp.zeros, (channels,), x.dtype
        )
        running_var = self.variable(
            "batch_stats", "var", jnp.ones, (channels,), x.dtype
        )
        if not train:
            return (
                running_mean.value.reshape(1, 1, 1, -1),
                running_var.value.reshape(1, 1, 1, -1),
            )
        group_size = self.group_size or x.shape[0]
        if x.shape[0] % group_size:
            raise ValueError(
                f"batch_norm_group_size={group_size} does not divide a batch of "
                f"{x.shape[0]}; choose a batch that is a multiple of it."
            )
        mean, variance = ops.group_moments(x, group_size)
        if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
            for running, batch in ((running_mean, mean), (running_var, variance)):
                batch_value = batch.mean((0, 1, 2, 3))
                running.value = (
                    self.decay * running.value + (1.0 - self.decay) * batch_value
                )
        return (
            jnp.repeat(mean.reshape(-1, 1, 1, channels), group_size, axis=0),
            jnp.repeat(variance.reshape(-1, 1, 1, channels), group_size, axis=0),
        )

    def _scale_and_bias(
        self, channels: int, labels: jax.Array | None, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Returns scale and bias, both [N or 1, 1, 1, C]."""
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        precise = param_dtype(self.dtype)
        if not self.num_classes:
            scale = self.param("scale", ones, (channels,), precise)
            bias = self.param("bias", zeros, (channels,), precise)
        elif labels is None:
            raise ValueError(f"labels=None, but num_classes={self.num_classes}.")
        elif self.class_tables == "published":
            shape = (self.num_classes, channels)
            scale = self.param("scale", ones, shape, precise)[labels]
            bias = self.param("bias", zeros, shape, precise)[labels]
        else:
            fields = dict(self.spectral) | {
                "spectral_norm": self.class_tables == "one_plus_spectral",
                "dtype": precise,
            }
            table = SNEmbed(
                num_classes=self.num_classes,
                features=channels,
                name="scale",
                **fields,
            )
            scale = 1.0 + table(labels, train=train)
            table = SNEmbed(
                num_classes=self.num_classes, features=channels, name="bias", **fields
            )
            bias = table(labels, train=train)
        return scale.reshape(-1, 1, 1, channels), bias.reshape(-1, 1, 1, channels)
