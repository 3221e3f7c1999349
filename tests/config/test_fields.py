"""The defaults of a config, and misspelt fields."""

from typing import Any

import pytest

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.networks import build


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model.resolution", 128),
        ("model.num_classes", 1000),
        ("model.latent_dim", 128),
        ("model.width", 64),
        ("model.attention_resolutions", (32,)),
        ("model.spectral_norm_eps", 1e-12),
        ("model.batch_norm_decay", 0.999),
        ("model.batch_norm_last_decay", 0.9999),
        ("model.batch_norm_eps", 1e-5),
        ("optim.generator_lr", 1e-4),
        ("optim.discriminator_lr", 4e-4),
        ("optim.beta1", 0.0),
        ("optim.beta2", 0.999),
        ("train.batch_size", 256),
        ("train.d_steps", 1),
        ("train.loss", "hinge"),
        ("train.steps", 1_000_000),
    ],
)
def test_the_default_is_the_published_value(name: str, value: Any) -> None:
    fields = {field: default for field, default, _ in config_lib.fields_of(Config())}
    assert fields[name] == value


def test_defaults_are_not_shared_between_configs() -> None:
    one, other = Config(), Config()
    one.model.width = 8
    assert other.model.width == 64


def test_the_networks_have_the_defaults_of_the_config() -> None:
    for network in build(Config().model):
        for field, value in type(network)().__dict__.items():
            if field not in ("parent", "name") and not field.startswith("_"):
                assert getattr(network, field) == value, field


def test_a_misspelt_field_raises() -> None:
    with pytest.raises(AttributeError):
        Config().model.widht = 3  # type: ignore[attr-defined]
