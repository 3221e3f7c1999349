"""The generator and the discriminator.

At 128 pixels both are the paper's networks, as the official release defines them; 32,
64 and 256 pixels follow the same rules. Images are NHWC in [-1, 1], labels int32 in
[0, num_classes).
"""

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sagan_jax.config import values
from sagan_jax.errors import UserError
from sagan_jax.networks.attention import (
    ATTENTION_BLOCKS,
    ATTENTION_FORMS,
    ResidualBlock,
    SelfAttention,
)
from sagan_jax.networks.blocks import DiscriminatorBlock, GeneratorBlock
from sagan_jax.networks.channels import Stage, discriminator_plan, generator_plan
from sagan_jax.networks.convolutions import CONVOLUTIONS
from sagan_jax.networks.layers import (
    CLASS_TABLES,
    INITIALIZERS,
    ConditionalBatchNorm,
    KernelOptions,
    SNConv,
    SNDense,
    SNEmbed,
    param_dtype,
)
from sagan_jax.networks.ops import ATTENTION_KERNELS

GENERATOR_NORMALIZATIONS = ("none", "spectral")
"""The choices of `normalization` for a generator, which always has batch norm."""

DISCRIMINATOR_NORMALIZATIONS = ("none", "batch", "spectral", "both")
"""The choices of `normalization` for a discriminator; both: batch and spectral."""


class Generator(nn.Module, KernelOptions):
    """Generates images from latents and labels; see `__call__`.

    The fields of layers.KernelOptions are keyword arguments as well: `dtype` and the
    others apply to every kernel. Only for the class tables of batch norm,
    `class_tables` decides about spectral norm.

    Attributes:
      resolution: side of an image: 32, 64, 128 or 256.
      num_classes: number of classes; 0 is unconditional (no labels, plain batch norm).
      width: the unit of the channel table.
      latent_dim: length of z.
      normalization: a name in GENERATOR_NORMALIZATIONS: whether kernels are spectrally
        normalised. The conditional batch norms are part of the network and stay.
      channels: channels of an image, 1 to 4.
      channel_multiples: channels of the 4x4 map and of each block, in units of width;
        (): those in channels.GENERATOR_MULTIPLES.
      attention_resolutions: sides of the feature maps that attention follows.
      attention_block: a name in attention.ATTENTION_BLOCKS: 'attention', or a residual
        block in its place.
      attention_form, attention_kernel, attention_bias: see attention.SelfAttention.
      attention_spectral_norm: whether the attention block is spectrally normalised;
        with `normalization='none'` it never is.
      batch_norm_group_size: number of examples that share moments; 0: the whole batch.
        Published: 64.
      batch_norm_decay, batch_norm_last_decay, batch_norm_eps, class_tables: see
        layers.ConditionalBatchNorm.
      batch_moments: whether images are normalised with the moments of their batch also
        with `train=False`, so that they depend on each other; published: False.
      rematerialize: whether a backward pass keeps only the inputs of the blocks and
        computes the rest again: less memory, one more forward pass.

    Reference: `brain-research/self-attention-gan:generator.py` `generator_test`.
    """

    resolution: int = 128
    num_classes: int = 1000
    width: int = 64
    latent_dim: int = 128
    channels: int = 3
    normalization: str = "spectral"
    channel_multiples: tuple[int, ...] = ()
    attention_resolutions: tuple[int, ...] = (32,)
    attention_block: str = "attention"
    attention_form: str = "official"
    attention_kernel: str = "plain"
    attention_spectral_norm: bool = True
    attention_bias: bool = False
    batch_norm_group_size: int = 0
    batch_norm_decay: float = 0.999
    batch_norm_last_decay: float = 0.9999
    batch_norm_eps: float = 1e-5
    batch_moments: bool = False
    class_tables: str = "published"
    rematerialize: bool = False

    def __post_init__(self) -> None:
        make_tuples(self)
        super().__post_init__()

    def with_options(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the constructor `layer` with this network's options filled in."""
        return functools.partial(
            super().with_options(layer), spectral_norm=self.normalization == "spectral"
        )

    def plan(self) -> tuple[int, tuple[Stage, ...]]:
        """Returns channels.generator_plan of these fields, after checking every field.

        Raises:
          UserError: if a field has an unsupported value.
        """
        check_fields(self)
        return generator_plan(
            self.resolution,
            self.width,
            self.channel_multiples,
            self.attention_resolutions,
        )

    @nn.compact
    def __call__(
        self, z: jax.Array, labels: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """Returns images [N, resolution, resolution, channels] in [-1, 1].

        With `train=True`, batch norm uses the moments of this batch, and the running
        statistics and `u` are updated in the collections that are mutable. With
        `train=False`, batch norm uses the running statistics and nothing is updated, so
        an image depends only on its own z and label.

        Args:
          z: [N, latent_dim], from a standard normal distribution.
          labels: [N] int32, or None if num_classes is 0. Under `jax.jit`, the image of
            a label that is no class is NaN.
          train: whether this is a training pass.

        Raises:
          UserError: if a field has an unsupported value, or labels are missing, of
            another type, or out of range.
        """
        first, stages = self.plan()
        chex.assert_shape(z, (None, self.latent_dim))
        labels = checked_labels(self, labels, z.shape[0])
        conv = self.with_options(SNConv)
        norm = functools.partial(
            ConditionalBatchNorm,
            epsilon=self.batch_norm_eps,
            group_size=self.batch_norm_group_size,
            batch_moments=self.batch_moments,
            class_tables=self.class_tables,
            embed=self.with_options(SNEmbed),
            dtype=self.dtype,
        )
        # The last norm is unconditional and slower than the others, as published.
        class_norm = functools.partial(
            norm, num_classes=self.num_classes, decay=self.batch_norm_decay
        )
        dense = self.with_options(SNDense)(features=16 * first, name="dense")
        x = dense(z, train=train).reshape(-1, 4, 4, first)
        for number, stage in enumerate(stages, start=1):
            block = rematerialized(self, GeneratorBlock)(
                features=stage.features,
                conv=conv,
                norm=class_norm,
                name=f"block{number}",
            )
            x = block(x, labels, train)
            if stage.attention:
                x = attention_after(self, stage.resolution, conv)(x, train)
        x = norm(decay=self.batch_norm_last_decay, name="norm")(x, train=train)
        x = conv(features=self.channels, name="conv")(nn.relu(x), train=train)
        # Images are in float32 or float64 even if the activations are in bfloat16.
        return jnp.tanh(x.astype(param_dtype(self.dtype)))


class Discriminator(nn.Module, KernelOptions):
    """Computes logits from images and labels; see `__call__`.

    The attributes are those of Generator, without latents and class tables, and with
    one decay for all batch norms.

    Attributes:
      normalization: a name in DISCRIMINATOR_NORMALIZATIONS. With batch norm, logits
        depend on the other images of a batch: real and fake images should be judged in
        separate calls, since their moments would mix.
      rectified_shortcut: see blocks.DiscriminatorBlock.

    References: `brain-research/self-attention-gan:discriminator.py`
      `discriminator_test`; Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637,
      for the projection of labels.
    """

    resolution: int = 128
    num_classes: int = 1000
    width: int = 64
    channels: int = 3
    normalization: str = "spectral"
    channel_multiples: tuple[int, ...] = ()
    attention_resolutions: tuple[int, ...] = (32,)
    attention_block: str = "attention"
    attention_form: str = "official"
    attention_kernel: str = "plain"
    attention_spectral_norm: bool = True
    attention_bias: bool = False
    rectified_shortcut: bool = False
    batch_norm_group_size: int = 0
    batch_norm_decay: float = 0.999
    batch_norm_eps: float = 1e-5
    rematerialize: bool = False

    def __post_init__(self) -> None:
        make_tuples(self)
        super().__post_init__()

    @property
    def has_batch_norm(self) -> bool:
        """Whether there are batch norms, and with them the collection `batch_stats`."""
        return self.normalization in ("batch", "both")

    def with_options(self, layer: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the constructor `layer` with this network's options filled in."""
        return functools.partial(
            super().with_options(layer),
            spectral_norm=self.normalization in ("spectral", "both"),
        )

    def norm(self) -> Callable[..., ConditionalBatchNorm] | None:
        """Returns the constructor of batch norms, None for a network without them."""
        if not self.has_batch_norm:
            return None
        return functools.partial(
            ConditionalBatchNorm,
            decay=self.batch_norm_decay,
            epsilon=self.batch_norm_eps,
            group_size=self.batch_norm_group_size,
            dtype=self.dtype,
        )

    def plan(self) -> tuple[Stage, ...]:
        """Returns channels.discriminator_plan of these fields, after checking them all.

        Raises:
          UserError: if a field has an unsupported value.
        """
        check_fields(self)
        return discriminator_plan(
            self.resolution,
            self.width,
            self.channel_multiples,
            self.attention_resolutions,
        )

    @nn.compact
    def __call__(
        self, images: jax.Array, labels: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """Returns logits [N], float32 or float64; a positive logit means real.

        Without batch norm, the logits do not depend on `train`: both modes make one
        power iteration from the stored `u`. With `train=True`, the new `u` is stored in
        the collection `spectral` if that is mutable. With batch norm, `train=True` uses
        the moments of this batch and updates the running ones in `batch_stats`, and
        `train=False` uses the running ones.

        Args:
          images: [N, resolution, resolution, channels] in [-1, 1].
          labels: [N] int32, or None if num_classes is 0. Under `jax.jit`, the logit of
            a label that is no class is NaN.
          train: whether this is a training pass.

        Raises:
          UserError: if a field has an unsupported value, or labels are missing, of
            another type, or out of range.
        """
        stages = self.plan()
        chex.assert_shape(
            images, (None, self.resolution, self.resolution, self.channels)
        )
        labels = checked_labels(self, labels, images.shape[0])
        conv, norm = self.with_options(SNConv), self.norm()
        x = images
        for number, stage in enumerate(stages, start=1):
            block = rematerialized(self, DiscriminatorBlock)(
                features=stage.features,
                resample=stage.resample,
                first=number == 1,
                rectified_shortcut=self.rectified_shortcut,
                conv=conv,
                norm=norm,
                name=f"block{number}",
            )
            x = block(x, train)
            if stage.attention:
                x = attention_after(self, stage.resolution, conv)(x, train)
        # The sum over positions and the head are never in half precision.
        precise = param_dtype(self.dtype)
        pooled = nn.relu(x).astype(precise).sum((1, 2))
        dense = self.with_options(SNDense)(features=1, dtype=precise, name="dense")
        logits = dense(pooled, train=train)[:, 0]
        if labels is not None and self.num_classes:
            embed = self.with_options(SNEmbed)(
                num_classes=self.num_classes,
                features=pooled.shape[-1],
                dtype=precise,
                name="embed",
            )
            logits = logits + (pooled * embed(labels, train=train)).sum(-1)
        return logits


def make_tuples(network: Generator | Discriminator) -> None:
    """Turns lists and arrays into tuples: a module must be hashable for `jax.jit`."""
    for field in ("channel_multiples", "attention_resolutions"):
        value = getattr(network, field)
        try:
            numbers = tuple(operator.index(item) for item in value)
        except TypeError:
            raise UserError(
                f"{field}={value!r} is not supported; pass a tuple of whole numbers, "
                "such as (16, 32)."
            ) from None
        object.__setattr__(network, field, numbers)  # a module is frozen otherwise


_LEAST = {
    "num_classes": 0,
    "width": 1,
    "latent_dim": 1,
    "batch_norm_group_size": 0,
    "spectral_norm_warmup": 0,
}
_MOST = {
    "spectral_norm_eps": 1.0,
    "batch_norm_decay": 1.0,
    "batch_norm_last_decay": 1.0,
    "batch_norm_eps": 1.0,
}


def check_fields(network: Generator | Discriminator) -> None:
    """Raises UserError for a field that no network of its kind may have."""
    for field, least in _LEAST.items():
        values.whole(field, getattr(network, field, least), least)
    for field, most in _MOST.items():
        values.finite(field, getattr(network, field, most), 0, most)
    if network.channels not in (1, 2, 3, 4):
        raise UserError(
            f"channels={network.channels} is not supported; choose 1, 2, 3 or 4."
        )
    normalizations = (
        GENERATOR_NORMALIZATIONS
        if isinstance(network, Generator)
        else DISCRIMINATOR_NORMALIZATIONS
    )
    for field, known in (
        ("normalization", normalizations),
        ("attention_form", ATTENTION_FORMS),
        ("attention_kernel", ATTENTION_KERNELS),
        ("weight_init", INITIALIZERS),
        ("convolutions", CONVOLUTIONS),
        ("attention_block", ATTENTION_BLOCKS),
        ("class_tables", CLASS_TABLES),
    ):
        value = getattr(network, field, None)  # a discriminator has no class tables
        if value is not None and value not in known:
            raise UserError(
                f"{field}={value!r} is not known; choose one of {', '.join(known)}."
            )
    dtype = jnp.dtype(network.dtype)
    takes = {"xla": ("float32", "bfloat16"), "cudnn": ("bfloat16",)}
    kernel = network.attention_kernel
    if kernel in takes and dtype.name not in takes[kernel]:
        raise UserError(
            f"attention_kernel={kernel!r} does not support dtype={dtype.name}; choose "
            f"dtype={' or '.join(takes[kernel])}, or attention_kernel=plain."
        )
    if dtype == jnp.float64 and jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise UserError(
            "dtype=float64 needs x64; set jax_enable_x64 or JAX_ENABLE_X64=1."
        )


def checked_labels(
    network: Generator | Discriminator, labels: Any, batch: int
) -> jax.Array | None:
    """Returns labels [batch] of an integer type, or None.

    Raises:
      UserError: an empty batch, or labels that are missing, of another type, or out of
        range.
    """
    if not batch:
        raise UserError("the batch has 0 examples; pass at least 1.")
    if network.num_classes and labels is None:
        raise UserError(
            f"labels=None, but num_classes={network.num_classes}; pass labels [N], or "
            "build the network with num_classes=0."
        )
    if labels is None:
        return None
    if not isinstance(labels, jax.Array):
        labels = np.asarray(labels)
    chex.assert_shape(labels, (batch,))  # a single label would broadcast silently
    if not network.num_classes:
        return None  # ignored
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise UserError(
            f"labels of type {labels.dtype} are not supported; pass whole numbers, "
            "such as int32."
        )
    # Values are known outside of jit, except for other processes' part of an array.
    known = not isinstance(labels, jax.Array) or (
        not isinstance(labels, jax.core.Tracer) and labels.is_fully_addressable
    )
    if known:
        name = type(network).__name__.lower()
        check_range(np.asarray(labels), network.num_classes, name)
    return jnp.asarray(labels)


def check_range(
    labels: np.ndarray, num_classes: int, network: str = "generator"
) -> None:
    """Raises UserError for a label that is not a class."""
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if wrong.size:
        raise UserError(
            f"labels={wrong[0]} is out of range; this {network} has {num_classes} "
            f"classes, 0 to {num_classes - 1}."
        )


def rematerialized(network: Generator | Discriminator, block: Any) -> Any:
    """Returns the class of a block, which rematerialises if the network asks for it.

    Its `__call__` takes `train` last and by position, since that must be static.
    """
    if not network.rematerialize:
        return block
    arguments = inspect.signature(block.__call__).parameters
    return nn.remat(block, static_argnums=list(arguments).index("train"))


def attention_after(
    network: Generator | Discriminator, resolution: int, conv: Callable[..., SNConv]
) -> Any:
    """Returns the attention block that follows a feature map of side `resolution`."""
    if not network.attention_spectral_norm:
        conv = functools.partial(conv, spectral_norm=False)
    name = f"attention{resolution}"
    if network.attention_block == "attention":
        return rematerialized(network, SelfAttention)(
            attention_form=network.attention_form,
            attention_kernel=network.attention_kernel,
            attention_bias=network.attention_bias,
            conv=conv,
            name=name,
        )
    return rematerialized(network, ResidualBlock)(
        kind=network.attention_block, conv=conv, name=name
    )
