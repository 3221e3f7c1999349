"""The generator and the discriminator.

Both are the official networks of the paper at 128 pixels and their family at 32, 64 and
256. Images are NHWC in [-1, 1], labels int32 in [0, num_classes).
"""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from sagan_jax import config as config_lib
from sagan_jax.errors import UserError
from sagan_jax.networks.attention import ATTENTION_FORMS, ResidualBlock, SelfAttention
from sagan_jax.networks.blocks import DiscriminatorBlock, GeneratorBlock
from sagan_jax.networks.channels import Stage, discriminator_plan, generator_plan
from sagan_jax.networks.layers import (
    INITIALIZERS,
    ConditionalBatchNorm,
    SNConv,
    SNDense,
    SNEmbed,
    param_dtype,
)


class Generator(nn.Module):
    """Images from latents and labels; see `__call__`.

    Attributes:
      resolution: side of an image: 32, 64, 128 or 256.
      num_classes: 0 is unconditional (labels None, plain batch norm).
      width: the unit of the channel table.
      latent_dim: length of z.
      channels: of an image, 1 to 4.
      channel_multiples: own channels in units of width: the 4x4 map, then each block;
        () is the table.
      attention_resolutions: sides of the maps that attention follows, each once.
      attention_block: 'attention', or a control in its place: 'residual',
        'residual_3x3', 'residual_full' (see attention.ResidualBlock).
      attention_form, attention_spectral_norm, attention_bias: see
        attention.SelfAttention. Without `spectral_norm` the block has none either.
      spectral_norm: on every convolution and dense layer.
      spectral_norm_eps, spectral_norm_warmup, stop_gradient_uv, weight_init: see
        layers.SpectralKernel. Library default of stop_gradient_uv: True; official:
        False.
      batch_norm_group_size: examples that share moments; 0: the whole batch. Official:
        64.
      batch_norm_decay, batch_norm_last_decay, batch_norm_eps, class_tables: see
        layers.ConditionalBatchNorm.
      dtype: of activations and products: float32, bfloat16, or float64 under x64.
        Parameters, statistics, power iterations, softmax and images stay in float32 (or
        float64).

    Reference: `brain-research/self-attention-gan:generator.py` `generator_test`.
    """

    resolution: int = 128
    num_classes: int = 1000
    width: int = 64
    latent_dim: int = 128
    channels: int = 3
    channel_multiples: tuple[int, ...] = ()
    attention_resolutions: tuple[int, ...] = (32,)
    attention_block: str = "attention"
    attention_form: str = "official"
    attention_spectral_norm: bool = True
    attention_bias: bool = False
    spectral_norm: bool = True
    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0
    stop_gradient_uv: bool = True
    batch_norm_group_size: int = 0
    batch_norm_decay: float = 0.999
    batch_norm_last_decay: float = 0.9999
    batch_norm_eps: float = 1e-5
    class_tables: str = "published"
    weight_init: str = "xavier"
    dtype: Any = jnp.float32

    def plan(self) -> tuple[int, tuple[Stage, ...]]:
        """Returns channels.generator_plan of these fields, after checks of all.

        Raises:
          UserError: fields that make no network.
        """
        _check_fields(self)
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

        `train=True` normalises by the moments of this batch and leaves new running
        statistics and new `u` in the collections that are mutable. `train=False` uses
        the running statistics and writes nothing, so that an image depends on its own z
        and label alone.

        Args:
          z: [N, latent_dim], standard normal.
          labels: [N] int32, or None where num_classes is 0.
          train: see above.

        Raises:
          UserError: fields that make no network, or missing labels.
        """
        first, stages = self.plan()
        chex.assert_shape(z, (None, self.latent_dim))
        _check_labels(self, labels, z.shape[0])
        norm = functools.partial(
            ConditionalBatchNorm,
            epsilon=self.batch_norm_eps,
            group_size=self.batch_norm_group_size,
            class_tables=self.class_tables,
            spectral=tuple((k, v) for k, v in _kernel_fields(self).items()),
            dtype=self.dtype,
        )
        class_norm = functools.partial(
            norm, num_classes=self.num_classes, decay=self.batch_norm_decay
        )
        conv = functools.partial(
            SNConv, spectral_norm=self.spectral_norm, **_kernel_fields(self)
        )
        dense = SNDense(
            features=16 * first,
            spectral_norm=self.spectral_norm,
            name="dense",
            **_kernel_fields(self),
        )
        x = dense(z, train=train).reshape(-1, 4, 4, first)
        for number, stage in enumerate(stages, start=1):
            block = GeneratorBlock(
                features=stage.features,
                conv=conv,
                norm=class_norm,
                name=f"block{number}",
            )
            x = block(x, labels, train=train)
            if stage.attention:
                x = _attention_block(self, stage.resolution)(x, train=train)
        x = norm(decay=self.batch_norm_last_decay, name="norm")(x, train=train)
        x = conv(features=self.channels, name="conv")(nn.relu(x), train=train)
        return jnp.tanh(x.astype(param_dtype(self.dtype)))


class Discriminator(nn.Module):
    """Logits from images and labels; see `__call__`.

    The attributes are those of Generator that concern it. There is no batch norm.

    Reference: `brain-research/self-attention-gan:discriminator.py`
      `discriminator_test`; the projection of labels is Miyato and Koyama 2018,
      https://arxiv.org/abs/1802.05637.
    """

    resolution: int = 128
    num_classes: int = 1000
    width: int = 64
    channels: int = 3
    channel_multiples: tuple[int, ...] = ()
    attention_resolutions: tuple[int, ...] = (32,)
    attention_block: str = "attention"
    attention_form: str = "official"
    attention_spectral_norm: bool = True
    attention_bias: bool = False
    spectral_norm: bool = True
    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0
    stop_gradient_uv: bool = True
    weight_init: str = "xavier"
    dtype: Any = jnp.float32

    def plan(self) -> tuple[Stage, ...]:
        """Returns channels.discriminator_plan of these fields, after checks of all.

        Raises:
          UserError: fields that make no network.
        """
        _check_fields(self)
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
        """Returns logits [N] in float32 (float64 under dtype float64); above 0: real.

        The value is the same for train=True and False: one power iteration from the
        stored `u` in both. `train=True` leaves the new `u` in the collection `spectral`
        where that is mutable.

        Args:
          images: [N, resolution, resolution, channels] in [-1, 1].
          labels: [N] int32, or None where num_classes is 0.
          train: see above.

        Raises:
          UserError: fields that make no network, or missing labels.
        """
        stages = self.plan()
        chex.assert_shape(
            images, (None, self.resolution, self.resolution, self.channels)
        )
        _check_labels(self, labels, images.shape[0])
        kernel_fields = _kernel_fields(self) | {"spectral_norm": self.spectral_norm}
        head_fields = kernel_fields | {"dtype": param_dtype(self.dtype)}
        conv = functools.partial(SNConv, **kernel_fields)
        x = images
        for number, stage in enumerate(stages, start=1):
            block = DiscriminatorBlock(
                features=stage.features,
                resample=stage.resample,
                first=number == 1,
                conv=conv,
                name=f"block{number}",
            )
            x = block(x, train=train)
            if stage.attention:
                x = _attention_block(self, stage.resolution)(x, train=train)
        pooled = nn.relu(x).astype(param_dtype(self.dtype)).sum((1, 2))
        dense = SNDense(features=1, name="dense", **head_fields)
        logits = dense(pooled, train=train)[:, 0]
        if labels is not None and self.num_classes:
            embed = SNEmbed(
                num_classes=self.num_classes,
                features=pooled.shape[-1],
                name="embed",
                **head_fields,
            )
            logits = logits + (pooled * embed(labels, train=train)).sum(-1)
        return logits


def _check_fields(network: Generator | Discriminator) -> None:
    if not 1 <= network.channels <= 4:
        raise UserError(f"channels={network.channels} cannot be; choose 1 to 4.")
    for field, known in (
        ("attention_form", ATTENTION_FORMS),
        ("weight_init", INITIALIZERS),
        ("attention_block", config_lib.CHOICES["model.attention_block"]),
        ("class_tables", config_lib.CHOICES["model.class_tables"]),
    ):
        value = getattr(network, field, None)  # a discriminator has no class tables
        if value is not None and value not in known:
            raise UserError(
                f"{field}={value!r} is not known; choose among {', '.join(known)}."
            )
    dtype = jnp.dtype(network.dtype)
    if dtype == jnp.float64 and jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise UserError(
            "dtype=float64 needs x64; set jax_enable_x64 or JAX_ENABLE_X64=1."
        )


def _check_labels(
    network: Generator | Discriminator, labels: jax.Array | None, batch: int
) -> None:
    if network.num_classes and labels is None:
        raise UserError(
            f"labels=None, but num_classes={network.num_classes}; pass labels [N], or "
            "build the network with num_classes=0."
        )
    if labels is not None:
        chex.assert_shape(labels, (batch,))  # one label would broadcast unnoticed


def _kernel_fields(network: Generator | Discriminator) -> dict[str, Any]:
    """Returns what all kernels of a network share, but for `spectral_norm` itself."""
    return {
        "spectral_norm_eps": network.spectral_norm_eps,
        "spectral_norm_warmup": network.spectral_norm_warmup,
        "stop_gradient_uv": network.stop_gradient_uv,
        "weight_init": network.weight_init,
        "dtype": network.dtype,
    }


def _attention_block(
    network: Generator | Discriminator, resolution: int
) -> SelfAttention | ResidualBlock:
    """Returns the block after a map of side `resolution`, named for it."""
    fields = _kernel_fields(network) | {
        "attention_spectral_norm": (
            network.attention_spectral_norm and network.spectral_norm
        ),
        "name": f"attention{resolution}",
    }
    if network.attention_block == "attention":
        return SelfAttention(
            attention_form=network.attention_form,
            attention_bias=network.attention_bias,
            **fields,
        )
    return ResidualBlock(kind=network.attention_block, **fields)
