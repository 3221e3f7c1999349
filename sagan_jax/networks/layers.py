"""Spectrally normalised layers and conditional batch norm, as Flax modules.

State lives in two collections. `spectral` holds one vector `u` per normalised kernel,
under the path of that kernel. `batch_stats` holds the running mean and variance of each
norm. Both are updated only under `train=True`, only if the caller made them mutable,
and never by `init`: a freshly initialised network has taken no step.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

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
    # PyTorch's own, U(-1/sqrt(fan_in), 1/sqrt(fan_in)); see also `bias_init`.
    "torch": nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
}


def bias_init(weight_init: str, kernel: tuple[int, ...]) -> Initializer:
    """Returns the initializer of the bias of a layer with a kernel [..., in, out]."""
    if weight_init != "torch":
        return nn.initializers.zeros
    bound = math.prod(kernel[:-1]) ** -0.5

    def uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return uniform


def param_dtype(dtype: Any) -> Any:
    """Returns float64 for float64 and float32 for every other dtype.

    Parameters, statistics and power iterations never use half precision.
    """
    return jnp.promote_types(dtype, jnp.float32)


def store(module: nn.Module, collection: str, name: str, value: jax.Array) -> None:
    """Stores `value` in `collection` if that is mutable, replacing an earlier value."""
    # By default `sow` would append to a tuple.
    module.sow(
        collection, name, value, reduce_fn=lambda _, new: new, init_fn=lambda: None
    )


def require(module: nn.Module, collection: str, name: str) -> None:
    """Raises ValueError if `collection` lacks `name`, except during `init`.

    In a mutable collection Flax would silently initialise a new value instead.
    """
    if not module.is_initializing() and not module.has_variable(collection, name):
        raise ValueError(
            f"{'/'.join((*module.path, name))} is missing from the collection "
            f"{collection!r}; pass the variables as `init` returned them."
        )


# A plain dataclass, not a module: networks have the same options as their layers, and
# inherit the fields from here, so that a new option is declared once.
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class KernelOptions:
    """Options that every kernel of a network shares.

    Attributes:
      spectral_norm_eps: constant added to the norms in the power iteration.
      spectral_norm_warmup: number of power iterations on `u` at initialisation;
        published: 0.
      stop_gradient_uv: whether u and v are constants of the gradient; published:
        False.
      spectral_norm_in_evaluation: whether a pass with `train=False` stores its `u` as
        well, if the collection `spectral` is mutable; published: False.
      weight_init: a name in INITIALIZERS; published: 'xavier'.
      convolutions: a name in convolutions.CONVOLUTIONS: 'auto', the fastest forms for
        the platform, or 'plain', convolutions as they are written.
      dtype: dtype of activations and products: float32, bfloat16, or float64 under
        x64. Parameters, statistics and power iterations use float32 or float64.
    """

    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0
    spectral_norm_in_evaluation: bool = False
    stop_gradient_uv: bool = True
    weight_init: str = "xavier"
    convolutions: str = "auto"
    dtype: Any = jnp.float32

    def with_options(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the constructor `layer` with these options filled in."""
        fields = dataclasses.fields(KernelOptions)
        options = {field.name: getattr(self, field.name) for field in fields}
        return functools.partial(layer, **options)


class SpectralKernel(nn.Module, KernelOptions):
    """Base class of layers whose kernel is divided by its largest singular value.

    Attributes:
      spectral_norm: whether the kernel is divided. If False, there is no `u`.
    """

    spectral_norm: bool = True

    def kernel(self, name: str, shape: tuple[int, ...], train: bool) -> jax.Array:
        """Returns the parameter `name`, normalised, in `dtype`."""
        raw = self.param(
            name, INITIALIZERS[self.weight_init], shape, param_dtype(self.dtype)
        )
        return self.normalized(raw, train).astype(self.dtype)

    def normalized(self, raw: jax.Array, train: bool) -> jax.Array:
        """Returns `raw` [..., out] divided by its sigma.

        Stores the new `u` under `train=True` if the collection `spectral` is mutable.
        The initial `u` is drawn from a standard normal distribution truncated at 2 and
        is not normalised, as published.
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
        # Every pass makes an iteration, but only training keeps its u: evaluating twice
        # gives the same result.
        if not self.is_initializing():
            kept = train or self.spectral_norm_in_evaluation
            if kept and self.is_mutable_collection("spectral"):
                u.value = new_u
            store(self, "sigma", "sigma", sigma)
        return normalized

    def biased(self, y: jax.Array, kernel: tuple[int, ...]) -> jax.Array:
        """Returns y [..., out] plus the parameter `bias` [out] of a kernel's layer."""
        bias = self.param(
            "bias",
            bias_init(self.weight_init, kernel),
            y.shape[-1:],
            param_dtype(y.dtype),
        )
        return y + bias.astype(y.dtype).reshape((1,) * (y.ndim - 1) + (-1,))

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
    """Stride-1 convolution with zero padding and a spectrally normalised kernel.

    Attributes:
      features: number of output channels.
      kernel_size: side of the square kernel.
      use_bias: whether to add a bias [features], initially zero.
      resample: 'up' for nearest-neighbour upsampling by 2 before the convolution,
        'down' for 2x2 mean pooling after it, '' for neither.
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
        y = product[self.resample](x.astype(self.dtype), kernel, self.convolutions)
        return self.biased(y, kernel.shape) if self.use_bias else y


class SNDense(SpectralKernel):
    """Matrix product with a spectrally normalised kernel [in, features]."""

    features: int = 0
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Returns [N, features] for [N, in]."""
        chex.assert_rank(x, 2)
        kernel = self.kernel("kernel", (x.shape[-1], self.features), train)
        y = x.astype(self.dtype) @ kernel
        return self.biased(y, kernel.shape) if self.use_bias else y


class SNEmbed(SpectralKernel):
    """Embedding with a spectrally normalised table [num_classes, features].

    The table is transposed before it is normalised, as published, so `u` is
    [num_classes].
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
        return rows_of(rows.astype(self.dtype), labels)


def rows_of(table: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the rows [N, C] of a class table [classes, C]; NaN for no such class.

    Plain indexing would take class 0 for -classes and the last one for any label that
    is too large, so that labels from 1 would train a wrong model unnoticed.
    """
    # Bounds are checked in the type of the labels, and 1000 is no int8.
    labels = labels.astype(jnp.promote_types(labels.dtype, jnp.int32))
    return (
        jnp.asarray(table)
        .at[labels]
        .get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
    )


class ClassTables(NamedTuple):
    """One form of the class tables of a conditional batch norm.

    Attributes:
      embedded: whether the scale is 1 + an embedding and the bias an embedding, both
        initialised by `weight_init`. If False, both are plain tables, initially 1
        and 0.
      spectral_norm: whether the embeddings are spectrally normalised.
    """

    embedded: bool
    spectral_norm: bool


CLASS_TABLES: dict[str, ClassTables] = {
    "published": ClassTables(embedded=False, spectral_norm=False),
    # BigGAN-PyTorch and StudioGAN; only the latter normalises the tables.
    "one_plus": ClassTables(embedded=True, spectral_norm=False),
    "one_plus_spectral": ClassTables(embedded=True, spectral_norm=True),
}


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a separate scale and bias for each class.

    Moments are computed in float32 or float64 over the whole batch, or over groups of
    `group_size` consecutive examples; they do not depend on the number of devices. Each
    pass updates the running statistics once, with the mean over the groups. Both the
    normalisation and the running statistics use the biased variance.

    Attributes:
      num_classes: number of classes; 0 is plain batch norm, with scale and bias [C],
        and ignores labels.
      decay: weight of the old running value; published: 0.999, and 0.9999 for the
        last norm.
      epsilon: constant added to the variance.
      group_size: number of examples that share moments; 0: the whole batch.
        Published: 64.
      batch_moments: whether a pass with `train=False` uses the moments of its batch as
        well, as one group, instead of the running ones; published: False.
      learned_scale: whether there is a scale; without classes only.
      class_tables: a name in CLASS_TABLES.
      embed: constructor of the class tables if they are embeddings.
      dtype: dtype of the output.

    Reference: Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629;
      `brain-research/self-attention-gan:ops.py` `ConditionalBatchNorm`.
    """

    num_classes: int = 0
    decay: float = 0.999
    epsilon: float = 1e-5
    group_size: int = 0
    batch_moments: bool = False
    learned_scale: bool = True
    class_tables: str = "published"
    embed: Callable[..., SNEmbed] = SNEmbed
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, labels: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """Returns [N, H, W, C], normalised, scaled and shifted.

        Raises:
          ValueError: if `group_size` does not divide the batch, or labels are missing.
        """
        chex.assert_rank(x, 4)
        precise = param_dtype(self.dtype)
        x = x.astype(precise)
        scale, bias = self._scale_and_bias(x.shape[-1], labels, train)
        mean, variance = self._moments(x, train)
        # Folded into one product and one sum per value.
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
        if not train and not self.batch_moments:
            return (
                running_mean.value.reshape(1, 1, 1, -1),
                running_var.value.reshape(1, 1, 1, -1),
            )
        # Samples come in batches of any size.
        group_size = (self.group_size if train else 0) or x.shape[0]
        if x.shape[0] % group_size:
            raise ValueError(
                f"batch_norm_group_size={group_size} does not divide a batch of "
                f"{x.shape[0]} examples; choose a multiple of it as the batch size."
            )
        mean, variance = ops.group_moments(x, group_size)
        kept = train and not self.is_initializing()
        if kept and self.is_mutable_collection("batch_stats"):
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
        tables = CLASS_TABLES[self.class_tables]
        if not self.num_classes:
            if self.learned_scale:
                scale = self.param("scale", ones, (channels,), precise)
            else:
                scale = jnp.ones((channels,), precise)
            bias = self.param("bias", zeros, (channels,), precise)
        elif labels is None:
            raise ValueError(
                f"labels=None, but num_classes={self.num_classes}; pass labels [N]."
            )
        elif not tables.embedded:
            shape = (self.num_classes, channels)
            scale = rows_of(self.param("scale", ones, shape, precise), labels)
            bias = rows_of(self.param("bias", zeros, shape, precise), labels)
        else:
            embed = functools.partial(
                self.embed,
                num_classes=self.num_classes,
                features=channels,
                spectral_norm=tables.spectral_norm,
                dtype=precise,
            )
            scale = 1.0 + embed(name="scale")(labels, train=train)
            bias = embed(name="bias")(labels, train=train)
        return scale.reshape(-1, 1, 1, channels), bias.reshape(-1, 1, 1, channels)
