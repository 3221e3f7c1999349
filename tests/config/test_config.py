"""Settings: what is refused, with which sentence, and the way through JSON."""

import dataclasses
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax import config as config_lib
from sagan_jax.config import Config, checks
from sagan_jax.errors import UserError
from sagan_jax.metrics.protocols import PROTOCOLS
from sagan_jax.networks import build


def _config(**values: Any) -> Config:
    """Returns a valid config with `group__field=value` set."""
    config = Config()
    config.model.num_classes = 4
    for name, value in values.items():
        group, field = name.split("__")
        setattr(getattr(config, group), field, value)
    return config


def _assert_refused(sentence: str, **values: Any) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        config_lib.validate(_config(**values))


def test_a_config_of_four_classes_is_valid() -> None:
    config_lib.validate(_config())


# Defaults that the paper or the release set.


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
def test_default_is_the_published_one(name: str, value: Any) -> None:
    fields = {field: default for field, default, _ in config_lib.fields_of(Config())}
    assert fields[name] == value


def test_defaults_are_not_shared_between_configs() -> None:
    one, other = Config(), Config()
    one.model.width = 8
    assert other.model.width == 64


def test_the_networks_defaults_are_those_of_the_config() -> None:
    for network in build(Config().model):
        for field, value in type(network)().__dict__.items():
            if field not in ("parent", "name") and not field.startswith("_"):
                assert getattr(network, field) == value, field


# Values.


@pytest.mark.parametrize(
    "name", [n for n, kinds in config_lib.CHOICES.items() if len(kinds) > 1]
)
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    known = ", ".join(config_lib.CHOICES[name])
    sentence = f"{name}='nonsense' is not known; choose among {known}."
    _assert_refused(sentence, **{name.replace(".", "__"): "nonsense"})


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        ("train.seed", -1, "0 to 4294967295"),
        ("train.seed", 2**32, "0 to 4294967295"),
        ("data.seed", 2**32, "0 to 4294967295"),
        ("evaluation.seed", 2**32, "0 to 4294967295"),
        ("model.resolution", 2, "4 to 4096"),
        ("model.width", 0, "1 to 4096"),
        ("model.channels", 5, "1 to 4"),
        ("model.num_classes", -1, "0 to 1000000"),
        ("model.batch_norm_decay", 1.5, "0 to 1"),
        ("optim.beta2", 1.0, "0 to 0.9999999"),
        ("optim.generator_lr", -1e-4, "0 to 10"),
        ("train.steps", 0, "1 to 2147483647"),
        ("train.batch_size", 0, "1 to 1048576"),
        ("train.d_steps", 0, "1 to 1000"),
        ("train.ema_decay", 1.0, "0 to 0.9999999"),
    ],
)
def test_a_value_out_of_range_is_answered_with_the_range(
    name: str, value: Any, bounds: str
) -> None:
    sentence = f"{name}={value!r} is out of range; choose a value from {bounds}."
    _assert_refused(sentence, **{name.replace(".", "__"): value})


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_seeds_reach_from_0_to_2_to_the_32_less_1(seed: int) -> None:
    config_lib.validate(_config(train__seed=seed, data__seed=seed))


def test_every_number_has_bounds() -> None:
    numbers = {
        n for n, _, kind in config_lib.fields_of(Config()) if kind in (int, float)
    }
    assert numbers == checks._BOUNDS.keys()


def test_every_bound_and_choice_is_that_of_a_field() -> None:
    names = {name for name, _, _ in config_lib.fields_of(Config())}
    assert checks._BOUNDS.keys() | config_lib.CHOICES.keys() <= names


def test_defaults_lie_within_bounds_and_choices() -> None:
    for name, value, _ in config_lib.fields_of(Config()):
        if name in checks._BOUNDS:
            low, high = checks._BOUNDS[name]
            assert low <= value <= high, name
        if name in config_lib.CHOICES:
            assert value in config_lib.CHOICES[name], name


# Types.

WHOLE, NUMBER = "a whole number", "a finite number"
TUPLE = "a tuple of integers, such as 16,32"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("model.width", "64", WHOLE),
        ("model.width", 64.0, WHOLE),
        ("model.width", True, WHOLE),
        ("model.width", None, WHOLE),
        ("train.seed", 1.5, WHOLE),
        ("optim.beta1", "0", NUMBER),
        ("optim.beta1", False, NUMBER),
        ("optim.beta1", float("nan"), NUMBER),
        ("optim.eps", float("inf"), NUMBER),
        ("optim.eps", None, NUMBER),
        ("evaluation.ema", 1, "true or false"),
        ("evaluation.ema", "True", "true or false"),
        ("data.path", 3, "text"),
        ("model.dtype", jnp.float32, "text"),
        ("model.attention_resolutions", 32, TUPLE),
        ("model.attention_resolutions", [32], TUPLE),
        ("model.attention_resolutions", ("32",), TUPLE),
        ("model.attention_resolutions", (32.0,), TUPLE),
        ("model.attention_resolutions", (True,), TUPLE),
        ("model.generator_channel_multiples", (4, None), TUPLE),
        ("model.discriminator_channel_multiples", "4,4", TUPLE),
    ],
)
def test_a_value_of_another_type_is_answered_with_its_type(
    name: str, value: Any, wanted: str
) -> None:
    sentence = f"{name}={value!r} has the wrong type; it takes {wanted}."
    _assert_refused(sentence, **{name.replace(".", "__"): value})


def test_a_whole_number_is_a_number() -> None:
    config_lib.validate(_config(optim__beta1=0, optim__generator_lr=1))


def test_a_misspelt_field_is_an_error_at_once() -> None:
    with pytest.raises(AttributeError):
        Config().model.widht = 3  # type: ignore[attr-defined]


# Fields against each other.


def test_a_batch_of_broken_groups_is_refused() -> None:
    sentence = (
        "train.batch_size=96 cannot be split into groups of "
        "model.batch_norm_group_size=64; choose a multiple of it."
    )
    _assert_refused(sentence, train__batch_size=96, model__batch_norm_group_size=64)


def test_whole_groups_are_valid() -> None:
    config_lib.validate(_config(train__batch_size=256, model__batch_norm_group_size=64))


def test_the_folder_source_needs_a_path() -> None:
    sentence = (
        "data.path='' names no folder; set --config.data.path=DIR to a directory with "
        "one sub-folder of images for each class."
    )
    _assert_refused(sentence, data__source="folder")
    config_lib.validate(_config(data__source="folder", data__path="images"))


def test_the_array_record_source_needs_a_path() -> None:
    sentence = (
        "data.path='' names no prepared images; set --config.data.path=DIR to a "
        "directory that python -m sagan_jax.data.prepare has written."
    )
    _assert_refused(sentence, data__source="array_record")
    config_lib.validate(_config(data__source="array_record", data__path="ready"))


def test_the_tfds_source_needs_a_name() -> None:
    sentence = (
        "data.dataset='' names no data set of tensorflow-datasets; set "
        "--config.data.dataset=NAME, such as cifar10."
    )
    _assert_refused(sentence, data__source="tfds")
    config_lib.validate(_config(data__source="tfds", data__dataset="cifar10"))


@pytest.mark.parametrize("count", [0, 4, 6])
def test_the_synthetic_source_has_so_many_classes(count: int) -> None:
    config_lib.validate(_config(model__num_classes=count))


@pytest.mark.parametrize("count", [1, 5, 1000])
def test_the_synthetic_source_has_no_other_number_of_classes(count: int) -> None:
    sentence = (
        f"model.num_classes={count} does not fit the synthetic source, which draws 4 "
        "or 6 shapes; choose 4, 6, or 0 for no labels."
    )
    _assert_refused(sentence, model__num_classes=count)


def test_the_synthetic_source_has_three_channels() -> None:
    sentence = (
        "model.channels=1 does not fit the synthetic source, whose pairs agree in hue; "
        "choose 3."
    )
    _assert_refused(sentence, model__channels=1)


def test_a_folder_may_have_any_number_of_classes_and_channels() -> None:
    config_lib.validate(
        _config(
            data__source="folder",
            data__path="images",
            model__num_classes=1000,
            model__channels=1,
        )
    )


# JSON.


def _changed() -> Config:
    return _config(
        model__attention_resolutions=(16, 32),
        model__generator_attention_resolutions=(),
        model__stop_gradient_uv=False,
        optim__generator_lr=1.2345678901234567e-4,
        data__path='a "folder" of pictures, Zürich',
        train__seed=2**32 - 1,
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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '{"model": {"depth": 3}}',
            "config field model.depth is not known to this version; use the version "
            "that wrote it.",
        ),
        (
            '{"models": {}}',
            "config field models is not known to this version; use the version that "
            "wrote it.",
        ),
        ("[1, 2]", "the config is not a JSON object of fields."),
        ('{"model": 3}', "config field model is not a JSON object of fields."),
    ],
)
def test_json_of_no_config_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        config_lib.from_json(text)


@pytest.mark.parametrize("text", ["", '{"model": {"width": 8}', "width=8"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^the config is not valid JSON \(.*\)\.$"):
        config_lib.from_json(text)


# Differences.


def test_differences_are_those_of_the_groups_asked_for() -> None:
    ours, theirs = _config(model__width=8, train__seed=3), _config()
    theirs.name = "other"
    assert config_lib.differences(ours, theirs, ("model",)) == [("model.width", 8, 64)]
    assert config_lib.differences(ours, theirs, ("train.seed", "name")) == [
        ("name", "sagan", "other"),
        ("train.seed", 3, 0),
    ]
    assert config_lib.differences(ours, ours, ("model", "train")) == []


# From a config to networks.


def test_build_gives_each_network_its_own_fields() -> None:
    config = _config(
        model__resolution=32,
        model__width=8,
        model__discriminator_width=16,
        model__generator_channel_multiples=(8, 8, 4, 2),
        model__discriminator_channel_multiples=(2, 4, 8, 8),
        model__attention_resolutions=(16,),
        model__discriminator_attention_resolutions=(),
        model__generator_spectral_norm=False,
        model__dtype="bfloat16",
    )
    generator, discriminator = build(config.model)
    assert (generator.width, discriminator.width) == (8, 16)
    assert generator.channel_multiples == (8, 8, 4, 2)
    assert discriminator.channel_multiples == (2, 4, 8, 8)
    assert generator.attention_resolutions == (16,)
    assert discriminator.attention_resolutions == ()
    assert (generator.spectral_norm, discriminator.spectral_norm) == (False, True)
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
    "stop_gradient_uv": False,
    "batch_norm_group_size": 64,
    "batch_norm_decay": 0.9,
    "batch_norm_last_decay": 0.95,
    "batch_norm_eps": 1e-4,
    "class_tables": "one_plus",
    "weight_init": "orthogonal",
    "dtype": jnp.dtype("bfloat16"),
}


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_build_hands_the_field_on(field: str) -> None:
    value = OTHER_VALUES[field]
    plain = value.name if field == "dtype" else value
    model = dataclasses.replace(Config().model, **{field: plain})
    generator, discriminator = build(model)
    assert getattr(generator, field) == value
    assert getattr(discriminator, field, value) == value


def test_no_field_of_the_model_is_left_out_of_these_tests() -> None:
    fields = {field.name for field in dataclasses.fields(config_lib.ModelConfig)}
    own = {name for name in fields if name.startswith(("generator_", "discriminator_"))}
    assert fields - own == OTHER_VALUES.keys()


def test_build_refuses_what_makes_no_network() -> None:
    sentence = "resolution=48 cannot be; choose among 32, 64, 128, 256."
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        build(_config(model__resolution=48).model)


def test_the_protocols_that_may_be_named_are_those_there_are() -> None:
    assert config_lib.CHOICES["evaluation.protocol"] == tuple(PROTOCOLS)
