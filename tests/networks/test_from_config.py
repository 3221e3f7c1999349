"""Building both networks from a config."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.config import ModelConfig
from sagan_jax.errors import UserError
from sagan_jax.networks import build
from sagan_jax.networks.dcgan import DcganDiscriminator, DcganGenerator


def test_build_gives_each_network_its_own_fields() -> None:
    model = ModelConfig(
        resolution=32,
        width=8,
        discriminator_width=16,
        generator_channel_multiples=(8, 8, 4, 2),
        discriminator_channel_multiples=(2, 4, 8, 8),
        attention_resolutions=(16,),
        discriminator_attention_resolutions=(),
        generator_normalization="none",
        dtype="bfloat16",
    )
    generator, discriminator = build(model)
    assert (generator.width, discriminator.width) == (8, 16)
    assert generator.channel_multiples == (8, 8, 4, 2)
    assert discriminator.channel_multiples == (2, 4, 8, 8)
    assert generator.attention_resolutions == (16,)
    assert discriminator.attention_resolutions == ()
    assert generator.normalization == "none"
    assert discriminator.normalization == "spectral"
    assert generator.dtype == discriminator.dtype == np.dtype(jnp.bfloat16)


OTHER_VALUES: dict[str, Any] = {
    "resolution": 64,
    "num_classes": 10,
    "channels": 1,
    "latent_dim": 20,
    "width": 8,
    "attention_resolutions": (16,),
    "attention_block": "residual",
    "attention_form": "paper",
    "attention_spectral_norm": False,
    "attention_bias": True,
    "spectral_norm_eps": 1e-6,
    "spectral_norm_warmup": 15,
    "spectral_norm_in_evaluation": True,
    "stop_gradient_uv": False,
    "batch_norm_group_size": 64,
    "batch_norm_decay": 0.9,
    "batch_norm_last_decay": 0.95,
    "batch_norm_eps": 1e-4,
    "class_tables": "one_plus",
    "weight_init": "orthogonal",
    "convolutions": "plain",
    "attention_kernel": "xla",
    "rematerialize": True,
    "dtype": jnp.dtype("bfloat16"),
}


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_build_passes_every_field_on(field: str) -> None:
    value = OTHER_VALUES[field]
    plain = value.name if field == "dtype" else value
    generator, discriminator = build(ModelConfig(**{field: plain}))
    assert getattr(generator, field) == value
    assert getattr(discriminator, field, value) == value


def test_no_field_of_the_model_is_left_out_of_these_tests() -> None:
    fields = {field.name for field in dataclasses.fields(ModelConfig)}
    own = {name for name in fields if name.startswith(("generator_", "discriminator_"))}
    assert fields - own == OTHER_VALUES.keys() | {"family"} | PORTS_ONLY.keys()


PORTS_ONLY: dict[str, Any] = {"transposed_norm_side": "input", "leaky_slope": 0.2}
WITHOUT = {
    "generator_without_spectral_norm": ("first",),
    "discriminator_without_spectral_norm": ("last",),
}


def test_build_gives_the_ports_their_own_fields() -> None:
    model = ModelConfig(
        family="lsun64_port",
        resolution=64,
        num_classes=0,
        batch_norm_last_decay=0.5,
        **PORTS_ONLY,
        **WITHOUT,
    )
    generator, discriminator = build(model)
    assert isinstance(generator, DcganGenerator)
    assert isinstance(discriminator, DcganDiscriminator)
    assert generator.family == discriminator.family == "lsun64_port"
    assert generator.transposed_norm_side == "input"
    assert generator.batch_norm_last_decay == 0.5
    assert discriminator.leaky_slope == 0.2
    assert generator.without_spectral_norm == ("first",)
    assert discriminator.without_spectral_norm == ("last",)


@pytest.mark.parametrize("field", [*PORTS_ONLY, *WITHOUT])
def test_the_official_networks_refuse_the_ports_fields(field: str) -> None:
    value = (PORTS_ONLY | WITHOUT)[field]
    with pytest.raises(UserError, match=rf"^{field}=.*; leave it at its default"):
        build(ModelConfig(**{field: value}))


def test_only_the_discriminator_has_a_rectified_shortcut() -> None:
    assert not build(ModelConfig())[1].rectified_shortcut
    model = ModelConfig(discriminator_rectified_shortcut=True)
    assert build(model)[1].rectified_shortcut


def test_build_refuses_unsupported_fields() -> None:
    with pytest.raises(UserError, match=r"^resolution=48 .*; choose 32"):
        build(ModelConfig(resolution=48))
