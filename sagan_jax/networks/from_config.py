"""Builds both networks from a config."""

from typing import Any

import jax.numpy as jnp

from sagan_jax import config as config_lib
from sagan_jax.networks.resnet import Discriminator, Generator


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
            "stop_gradient_uv",
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
            "spectral_norm": getattr(model, f"{network}_spectral_norm"),
        }

    generator = Generator(
        latent_dim=model.latent_dim,
        batch_norm_group_size=model.batch_norm_group_size,
        batch_norm_decay=model.batch_norm_decay,
        batch_norm_last_decay=model.batch_norm_last_decay,
        batch_norm_eps=model.batch_norm_eps,
        class_tables=model.class_tables,
        **shared,
        **own("generator"),
    )
    discriminator = Discriminator(
        rectified_shortcut=model.discriminator_rectified_shortcut,
        **shared,
        **own("discriminator"),
    )
    generator.plan()
    discriminator.plan()
    return generator, discriminator
