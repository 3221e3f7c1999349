"""The generator and the discriminator of the two small ports: DCGANs with attention.

They are called like those of resnet.py, and take the same fields and a few more, so
that everything that trains, samples or draws those works for these. They have no
classes. docs/ports.md describes both ports and what is rebuilt here.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from sagan_jax.config import values
from sagan_jax.errors import UserError
from sagan_jax.networks import ports
from sagan_jax.networks.channels import Stage
from sagan_jax.networks.dcgan_layers import (
    NORM_SIDES,
    DownBlock,
    SNStridedConv,
    SNTransposedConv,
    UpBlock,
)
from sagan_jax.networks.layers import (
    ConditionalBatchNorm,
    SNConv,
    SNDense,
    param_dtype,
)
from sagan_jax.networks.resnet import (
    Discriminator,
    Generator,
    attention_after,
    check_fields,
    checked_labels,
    rematerialized,
)

LAYERS = ("first", "last")
"""Layers of a generator that `without_spectral_norm` may name."""


class DcganGenerator(Generator):
    """Generates images from latents, by transposed convolutions.

    The fields of Generator have the same meaning, apart from `num_classes`, which must
    be 0, and `class_tables`, which is ignored. `convolutions` concerns the layers that
    keep the side.

    Attributes:
      family: a name in ports.PORTS.
      without_spectral_norm: layers in LAYERS that are never spectrally normalised.
      transposed_norm_side: see dcgan_layers.SNTransposedConv.
    """

    resolution: int = 64
    num_classes: int = 0
    attention_resolutions: tuple[int, ...] = (16, 32)
    family: str = "lsun64_port"
    without_spectral_norm: tuple[str, ...] = ()
    transposed_norm_side: str = "output"

    def plan(self) -> tuple[int, tuple[Stage, ...]]:
        """Returns ports.generator_plan of these fields, after checking every field.

        Raises:
          UserError: if a field has an unsupported value.
        """
        check_fields(self)
        _check_port(self, LAYERS)
        if self.transposed_norm_side not in NORM_SIDES:
            raise UserError(
                f"transposed_norm_side={self.transposed_norm_side!r} is not known; "
                f"choose one of {', '.join(NORM_SIDES)}."
            )
        return ports.generator_plan(
            self.family,
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

        See `Generator.__call__`; labels are ignored.
        """
        first, stages = self.plan()
        port = ports.PORTS[self.family]
        chex.assert_shape(z, (None, self.latent_dim))
        checked_labels(self, labels, z.shape[0])
        transposed = self._transposed()
        norm = functools.partial(
            ConditionalBatchNorm,
            decay=self.batch_norm_decay,
            epsilon=self.batch_norm_eps,
            group_size=self.batch_norm_group_size,
            batch_moments=self.batch_moments,
            learned_scale=port.learned_scale,
            dtype=self.dtype,
        )
        if port.first == "dense":
            dense = self._layer(self.with_options(SNDense), "first")
            x = dense(features=16 * first, name="first")(z, train=train)
            x = x.reshape(-1, 4, 4, first)
        else:
            point = self._layer(transposed, "first")
            x = point(features=first, name="first")(z[:, None, None], train=train)
            x = norm(name="first_norm")(x, train=train)
        x = nn.relu(x)
        for number, stage in enumerate(stages, start=1):
            decay = (
                self.batch_norm_last_decay
                if number == len(stages)
                else self.batch_norm_decay
            )
            block = rematerialized(self, UpBlock)(
                features=stage.features,
                conv=functools.partial(transposed, use_bias=port.up_bias),
                norm=functools.partial(norm, decay=decay),
                name=f"block{number}",
            )
            x = block(x, train)
            if stage.attention:
                conv = self.with_options(SNConv)
                x = attention_after(self, stage.resolution, conv)(x, train)
        last = self.with_options(SNConv) if port.last == "conv" else transposed
        last = self._layer(last, "last")
        x = last(features=self.channels, name="last")(x, train=train)
        return jnp.tanh(x.astype(param_dtype(self.dtype)))

    @nn.nowrap
    def _transposed(self) -> Callable[..., SNTransposedConv]:
        return functools.partial(
            self.with_options(SNTransposedConv), norm_side=self.transposed_norm_side
        )

    @nn.nowrap
    def _layer(self, layer: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Returns `layer`, without spectral norm if that is what its name asks for."""
        if name not in self.without_spectral_norm:
            return layer
        return functools.partial(layer, spectral_norm=False)


class DcganDiscriminator(Discriminator):
    """Computes logits from images, by strided convolutions.

    The fields of Discriminator have the same meaning, apart from `num_classes`, which
    must be 0; `convolutions` concerns attention alone. With batch norm, all blocks but
    the first have one, as in Radford et al. 2016, https://arxiv.org/abs/1511.06434.

    Attributes:
      family: a name in ports.PORTS.
      leaky_slope: slope of the leaky ReLUs below 0.
      without_spectral_norm: ('last',) if the last layer is never spectrally normalised.
    """

    resolution: int = 64
    num_classes: int = 0
    attention_resolutions: tuple[int, ...] = (8, 4)
    family: str = "lsun64_port"
    leaky_slope: float = 0.1
    without_spectral_norm: tuple[str, ...] = ()

    def plan(self) -> tuple[Stage, ...]:
        """Returns ports.discriminator_plan of these fields, after checking them all.

        Raises:
          UserError: if a field has an unsupported value.
        """
        check_fields(self)
        _check_port(self, LAYERS[1:])
        values.finite("leaky_slope", self.leaky_slope, 0, 1)
        return ports.discriminator_plan(
            self.family,
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

        See `Discriminator.__call__`; labels are ignored.
        """
        stages = self.plan()
        chex.assert_shape(
            images, (None, self.resolution, self.resolution, self.channels)
        )
        checked_labels(self, labels, images.shape[0])
        x = images
        for number, stage in enumerate(stages, start=1):
            block = rematerialized(self, DownBlock)(
                features=stage.features,
                slope=self.leaky_slope,
                conv=self.with_options(SNStridedConv),
                norm=self.norm() if number > 1 else None,
                name=f"block{number}",
            )
            x = block(x, train)
            if stage.attention:
                conv = self.with_options(SNConv)
                x = attention_after(self, stage.resolution, conv)(x, train)
        # A 4x4 convolution of the 4x4 map is a product with all of its values.
        precise = param_dtype(self.dtype)
        last = functools.partial(self.with_options(SNDense), dtype=precise)
        if "last" in self.without_spectral_norm:
            last = functools.partial(last, spectral_norm=False)
        flat = x.astype(precise).reshape(x.shape[0], -1)
        return last(features=1, name="last")(flat, train=train)[:, 0]


def _check_port(
    network: DcganGenerator | DcganDiscriminator, layers: tuple[str, ...]
) -> None:
    if network.family not in ports.PORTS:
        raise UserError(
            f"family={network.family!r} is not known; choose one of "
            f"{', '.join(ports.PORTS)}."
        )
    if network.num_classes:
        raise UserError(
            f"num_classes={network.num_classes} is not supported by "
            f"{network.family}, which has no classes; choose 0."
        )
    for name in network.without_spectral_norm:
        if name not in layers:
            raise UserError(
                f"without_spectral_norm={name!r} is not a layer; choose from "
                f"{', '.join(layers)}."
            )
