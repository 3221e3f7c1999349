"""A config in JSON, and the differences between two configs."""

import dataclasses
from typing import Any

import pytest

from sagan_jax import config as config_lib
from sagan_jax.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from sagan_jax.errors import UserError


def _changed() -> Config:
    return Config(
        model=ModelConfig(
            attention_resolutions=(16, 32),
            generator_attention_resolutions=(),
            stop_gradient_uv=False,
        ),
        data=DataConfig(path='a "folder" of pictures, Zürich'),
        optim=OptimConfig(generator_lr=1.2345678901234567e-4),
        train=TrainConfig(seed=2**32 - 1),
    )


@pytest.mark.parametrize("make", [Config, _changed])
def test_json_gives_the_same_config_back(make: Any) -> None:
    back = config_lib.from_json(config_lib.to_json(make()))
    assert back == make()
    kinds = [(n, type(v)) for n, v, _ in config_lib.fields_of(make())]
    assert [(n, type(v)) for n, v, _ in config_lib.fields_of(back)] == kinds


def test_fields_missing_from_json_keep_their_defaults() -> None:
    config = config_lib.from_json('{"model": {"width": 8}}')
    assert config.model.width == 8
    assert dataclasses.replace(config, model=Config().model) == Config()


@pytest.mark.parametrize(("was", "now"), [("true", "spectral"), ("false", "none")])
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_spectral_norm_of_earlier_versions_is_read_as_the_normalization(
    network: str, was: str, now: str
) -> None:
    text = f'{{"model": {{"{network}_spectral_norm": {was}}}}}'
    expected = Config()
    setattr(expected.model, f"{network}_normalization", now)
    assert config_lib.from_json(text) == expected


@pytest.mark.parametrize("was", ["1", "[]", '"no"'])
def test_another_value_of_an_earlier_field_is_refused(was: str) -> None:
    config = config_lib.from_json(f'{{"model": {{"generator_spectral_norm": {was}}}}}')
    with pytest.raises(UserError, match=r"^model\.generator_normalization="):
        config_lib.validate(config)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '{"model": {"depth": 3}}',
            r"field model\.depth is not known .*; use",
        ),
        ('{"models": {}}', "config field models is not known .*; use the version"),
        ("[1, 2]", "the config is not a JSON object; restore"),
        ('{"model": 3}', "config field model is not a JSON object; restore"),
    ],
)
def test_json_that_is_not_a_config_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        config_lib.from_json(text)


@pytest.mark.parametrize("text", ["", '{"model": {"width": 8}', "width=8"])
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^the config is not valid JSON \(.*\); rest"):
        config_lib.from_json(text)


# Differences.


def test_differences_in_the_given_groups() -> None:
    ours = Config(model=ModelConfig(width=8), train=TrainConfig(seed=3))
    theirs = Config(name="other")
    assert config_lib.differences(ours, theirs, ("model",)) == [("model.width", 8, 64)]
    assert config_lib.differences(ours, theirs, ("train.seed", "name")) == [
        ("name", "sagan", "other"),
        ("train.seed", 3, 0),
    ]
    assert config_lib.differences(ours, ours, ("model", "train")) == []
