"""Checks of a config: each error names the field, its value and a remedy."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import pytest

from sagan_jax import config as config_lib
from sagan_jax.config import Config, checks
from sagan_jax.errors import UserError
from sagan_jax.extractors import imagenet_inputs
from sagan_jax.extractors.encoders import ENCODERS
from sagan_jax.metrics.protocols import PROTOCOLS
from sagan_jax.networks.attention import ATTENTION_BLOCKS, ATTENTION_FORMS
from sagan_jax.networks.convolutions import CONVOLUTIONS
from sagan_jax.networks.layers import CLASS_TABLES, INITIALIZERS
from sagan_jax.networks.ops import ATTENTION_KERNELS
from sagan_jax.training.losses import LOSSES


def _config(**values: Any) -> Config:
    """Returns a valid config with `group__field=value` set."""
    config = Config()
    config.model.num_classes = 4
    for name, value in values.items():
        group, field = name.split("__")
        setattr(getattr(config, group), field, value)
    return config


def _assert_refused(*words: str, **values: Any) -> None:
    """Checks that `validate` raises a UserError that contains all of these words."""
    with pytest.raises(UserError) as caught:
        config_lib.validate(_config(**values))
    for word in words:
        assert word in str(caught.value)


def test_a_config_of_four_classes_is_valid() -> None:
    config_lib.validate(_config())


# Choices.


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("model.attention_block", ATTENTION_BLOCKS),
        ("model.attention_form", ATTENTION_FORMS),
        ("model.attention_kernel", ATTENTION_KERNELS),
        ("model.class_tables", CLASS_TABLES),
        ("model.weight_init", INITIALIZERS),
        ("model.convolutions", CONVOLUTIONS),
        ("train.loss", LOSSES),
        ("evaluation.protocol", PROTOCOLS),
        ("evaluation.encoder", ENCODERS),
        ("evaluation.pipeline", imagenet_inputs.PIPELINES),
    ],
)
def test_choices_are_the_names_in_the_table(name: str, table: Iterable[str]) -> None:
    assert config_lib.CHOICES[name] == tuple(table)


@pytest.mark.parametrize("name", sorted(config_lib.CHOICES.keys() - {"train.trackers"}))
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    words = (f"{name}='nonsense'", ", ".join(config_lib.CHOICES[name]))
    _assert_refused(*words, **{name.replace(".", "__"): "nonsense"})


@pytest.mark.parametrize("names", [("mlflow", "nonsense"), ("wandb,mlflow",)])
def test_an_unknown_name_among_several_is_refused(names: tuple[str, ...]) -> None:
    # The flag takes wandb,mlflow as one name.
    words = (f"train.trackers={names[-1]!r}", "wandb, trackio, mlflow, and repeat the")
    _assert_refused(*words, train__trackers=names)


def test_several_names_and_none_are_valid() -> None:
    config_lib.validate(_config(train__trackers=("wandb", "mlflow")))
    config_lib.validate(_config(train__trackers=()))


def test_an_encoder_of_ones_own_and_no_pipeline_are_valid() -> None:
    config_lib.validate(_config(evaluation__encoder="mine:f", evaluation__pipeline=""))


# Bounds.


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
def test_a_value_out_of_range_is_refused_with_the_range(
    name: str, value: Any, bounds: str
) -> None:
    words = (f"{name}={value!r}", f"from {bounds}.")
    _assert_refused(*words, **{name.replace(".", "__"): value})


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_smallest_and_largest_seed_are_valid(seed: int) -> None:
    config_lib.validate(_config(train__seed=seed, data__seed=seed))


def test_every_number_has_bounds() -> None:
    numbers = {
        n for n, _, kind in config_lib.fields_of(Config()) if kind in (int, float)
    }
    assert numbers == checks._BOUNDS.keys()


def test_bounds_and_choices_belong_to_fields() -> None:
    names = {name for name, _, _ in config_lib.fields_of(Config())}
    assert checks._BOUNDS.keys() | config_lib.CHOICES.keys() <= names


def test_defaults_lie_within_bounds_and_choices() -> None:
    for name, value, _ in config_lib.fields_of(Config()):
        if name in checks._BOUNDS:
            low, high = checks._BOUNDS[name]
            assert low <= value <= high, name
        if name in config_lib.CHOICES:
            chosen = value if isinstance(value, tuple) else (value,)
            _, is_other = checks._OTHERS.get(name, ("", lambda _: False))
            for item in chosen:
                assert item in config_lib.CHOICES[name] or is_other(item), name


# Types.

WHOLE, NUMBER = "a whole number", "a finite number"
TUPLE = "a tuple of integers, such as 16,32"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
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
        ("train.trackers", "wandb", "a tuple of names, one in each flag"),
        ("train.trackers", (1,), "a tuple of names, one in each flag"),
    ],
)
def test_a_value_of_another_type_is_refused_with_the_right_type(
    name: str, value: Any, expected: str
) -> None:
    words = (f"{name}={value!r}", f"{expected}.")
    _assert_refused(*words, **{name.replace(".", "__"): value})


def test_a_whole_number_is_a_number() -> None:
    config_lib.validate(_config(optim__beta1=0, optim__generator_lr=1))


# Fields against each other.


def test_a_batch_that_is_no_multiple_of_the_group_is_refused() -> None:
    words = ("train.batch_size=96", "model.batch_norm_group_size=64", "multiple of 64")
    _assert_refused(*words, train__batch_size=96, model__batch_norm_group_size=64)


def test_a_batch_of_whole_groups_is_valid() -> None:
    config_lib.validate(_config(train__batch_size=256, model__batch_norm_group_size=64))


def test_the_folder_source_needs_a_path() -> None:
    words = ("data.path=''", "'folder'", "--config.data.path=DIR", "sub-folder")
    _assert_refused(*words, data__source="folder")
    config_lib.validate(_config(data__source="folder", data__path="images"))


def test_the_array_record_source_needs_a_path() -> None:
    words = ("data.path=''", "'array_record'", "=DIR", "sagan_jax.data.prepare")
    _assert_refused(*words, data__source="array_record")
    config_lib.validate(_config(data__source="array_record", data__path="ready"))


def test_the_tfds_source_needs_a_name() -> None:
    words = ("data.dataset=''", "'tfds'", "--config.data.dataset=NAME")
    _assert_refused(*words, data__source="tfds")
    config_lib.validate(_config(data__source="tfds", data__dataset="cifar10"))


@pytest.mark.parametrize("count", [0, 4, 6])
def test_numbers_of_classes_of_the_synthetic_source(count: int) -> None:
    config_lib.validate(_config(model__num_classes=count))


@pytest.mark.parametrize("count", [1, 5, 1000])
def test_other_numbers_of_classes_are_refused_by_the_synthetic_source(
    count: int,
) -> None:
    words = (f"model.num_classes={count} ", "synthetic", "choose 4, 6, or 0")
    _assert_refused(*words, model__num_classes=count)


def test_the_synthetic_source_has_three_channels() -> None:
    _assert_refused("model.channels=1", "synthetic", "choose 3", model__channels=1)


def test_a_folder_may_have_any_number_of_classes_and_channels() -> None:
    config_lib.validate(
        _config(
            data__source="folder",
            data__path="images",
            model__num_classes=1000,
            model__channels=1,
        )
    )


# Simultaneous updates.


def test_simultaneous_updates_are_one_of_each_network() -> None:
    words = ("train.d_steps=2", "simultaneous", "d_steps=1")
    _assert_refused(*words, train__updates="simultaneous", train__d_steps=2)


def test_simultaneous_updates_have_no_order() -> None:
    words = ("train.order='generator_first'", "simultaneous", "default")
    _assert_refused(
        *words, train__updates="simultaneous", train__order="generator_first"
    )
