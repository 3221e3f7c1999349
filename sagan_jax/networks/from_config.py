"""Builds both networks from a config."""

from typing import Any

import jax.numpy as jnp

from sagan_jax import config as config_lib
from sagan_jax.errors import UserError
from sagan_jax.networks.dcgan import DcganDiscriminator, DcganGenerator
from sagan_jax.networks.resnet import Discriminator, Generator

RESNET = "resnet"
"""The family of the official networks; the others are the names in ports.PORTS."""


def build(model: config_lib.ModelConfig) -> tuple[Generator, Discriminator]:
    """Returns the generator and the discriminator of a config.

    Their fields are checked, but no array is created.

    Raises:
      UserError: if a field has an unsupported value.
    """
    # Both networks take these fields unchanged, under the same names.
    shared = {
        name: getattr(model, name)
        for name in (
            "resolution",
            "num_classes",
            "channels",
            "attention_block",
            "attention_form",
            "attention_kernel",
            "attention_spectral_norm",
            "attention_bias",
            "spectral_norm_eps",
            "spectral_norm_warmup",
            "spectral_norm_in_evaluation",
            "stop_gradient_uv",
            "batch_norm_group_size",
            "batch_norm_decay",
            "batch_norm_eps",
            "weight_init",
            "convolutions",
            "rematerialize",
        )
    } | {"dtype": jnp.dtype(model.dtype)}

    def own(network: str) -> dict[str, Any]:
        attention = getattr(model, f"{network}_attention_resolutions")
        if attention == config_lib.SAME:
            attention = model.attention_resolutions
        return {
            "width": getattr(model, f"{network}_width") or model.width,
            "channel_multiples": getattr(model, f"{network}_channel_multiples"),
            "attention_resolutions": attention,
            "normalization": getattr(model, f"{network}_normalization"),
        }

    for_generator = shared | own("generator")
    for_generator |= {
        name: getattr(model, name)
        for name in ("latent_dim", "batch_norm_last_decay", "class_tables")
    }
    for_discriminator = shared | own("discriminator")
    if model.family == RESNET:
        _check_ports_only(model)
        generator = Generator(**for_generator)
        discriminator = Discriminator(
            rectified_shortcut=model.discriminator_rectified_shortcut,
            **for_discriminator,
        )
    else:
        generator = DcganGenerator(
            family=model.family,
            without_spectral_norm=model.generator_without_spectral_norm,
            transposed_norm_side=model.transposed_norm_side,
            **for_generator,
        )
        discriminator = DcganDiscriminator(
            family=model.family,
            without_spectral_norm=model.discriminator_without_spectral_norm,
            leaky_slope=model.leaky_slope,
            **for_discriminator,
        )
    generator.plan()
    discriminator.plan()
    return generator, discriminator


def _check_ports_only(model: config_lib.ModelConfig) -> None:
    """Raises UserError for a field that the official networks do not have."""
    defaults = config_lib.ModelConfig()
    for name in (
        "generator_without_spectral_norm",
        "discriminator_without_spectral_norm",
        "transposed_norm_side",
        "leaky_slope",
    ):
        if getattr(model, name) != getattr(defaults, name):
            raise UserError(
                f"{name}={getattr(model, name)!r} is a field of the ports; leave it at "
                "its default, or choose another family than 'resnet'."
            )
