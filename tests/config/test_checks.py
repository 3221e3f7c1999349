"""Checks of a config: each error names the field, its value and a remedy."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import pytest

from sagan_jax import config as config_lib
from sagan_jax.config import Config, checks, objectives
from sagan_jax.errors import UserError
from sagan_jax.extractors import imagenet_inputs
from sagan_jax.extractors.encoders import ENCODERS
from sagan_jax.metrics.kid import KERNELS
from sagan_jax.metrics.protocols import PROTOCOLS
from sagan_jax.networks.attention import ATTENTION_BLOCKS, ATTENTION_FORMS
from sagan_jax.networks.convolutions import CONVOLUTIONS
from sagan_jax.networks.dcgan import LAYERS
from sagan_jax.networks.dcgan_layers import NORM_SIDES
from sagan_jax.networks.layers import CLASS_TABLES, INITIALIZERS
from sagan_jax.networks.ops import ATTENTION_KERNELS
from sagan_jax.networks.ports import PORTS
from sagan_jax.networks.resnet import (
    DISCRIMINATOR_NORMALIZATIONS,
    GENERATOR_NORMALIZATIONS,
)
from sagan_jax.training.augment import AUGMENTATIONS
from sagan_jax.training.losses import LOSSES


def _config(**values: Any) -> Config:
    """Returns a valid config with `group__field=value` set."""
    config = Config()
    config.model.num_classes = 4
    for name, value in values.items():
        group, field = name.split("__")
        setattr(getattr(config, group), field, value)
    return config


def _fields() -> list[tuple[str, Any]]:
    return [(name, value) for name, value, _ in config_lib.fields_of(Config())]


def _assert_refused(*words: str, **values: Any) -> None:
    """Checks that `validate` raises a UserError that contains all of these words."""
    with pytest.raises(UserError) as caught:
        config_lib.validate(_config(**values))
    for word in words:
        assert word in str(caught.value)


def test_a_config_of_four_classes_is_valid() -> None:
    config_lib.validate(_config())


# Choices.

SEVERAL = {"train.trackers", "regularizers.augment"}  # tuples of names


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("model.attention_block", ATTENTION_BLOCKS),
        ("model.attention_form", ATTENTION_FORMS),
        ("model.attention_kernel", ATTENTION_KERNELS),
        ("model.class_tables", CLASS_TABLES),
        ("model.weight_init", INITIALIZERS),
        ("model.convolutions", CONVOLUTIONS),
        ("model.family", ("resnet", *PORTS)),
        ("model.generator_normalization", GENERATOR_NORMALIZATIONS),
        ("model.discriminator_normalization", DISCRIMINATOR_NORMALIZATIONS),
        ("model.generator_without_spectral_norm", LAYERS),
        ("model.transposed_norm_side", NORM_SIDES),
        ("train.loss", LOSSES),
        ("evaluation.kid_kernel", KERNELS),
        ("regularizers.augment", AUGMENTATIONS),
        ("evaluation.protocol", PROTOCOLS),
        ("evaluation.encoder", ENCODERS),
        ("evaluation.pipeline", imagenet_inputs.PIPELINES),
    ],
)
def test_choices_are_the_names_in_the_table(name: str, table: Iterable[str]) -> None:
    assert config_lib.CHOICES[name] == tuple(table)


@pytest.mark.parametrize("name", sorted(config_lib.CHOICES.keys() - SEVERAL))
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    words = (f"{name}='nonsense'", ", ".join(config_lib.CHOICES[name]))
    several = isinstance(dict(_fields())[name], tuple)
    value = ("nonsense",) if several else "nonsense"
    _assert_refused(*words, **{name.replace(".", "__"): value})


@pytest.mark.parametrize("names", [("mlflow", "nonsense"), ("wandb,mlflow",)])
def test_an_unknown_name_among_several_is_refused(names: tuple[str, ...]) -> None:
    # The flag takes wandb,mlflow as one name.
    words = (f"train.trackers={names[-1]!r}", "wandb, trackio, mlflow, and repeat the")
    _assert_refused(*words, train__trackers=names)


def test_several_names_and_none_are_valid() -> None:
    config_lib.validate(_config(train__trackers=("wandb", "mlflow")))
    config_lib.validate(_config(train__trackers=()))


@pytest.mark.parametrize("normalization", ["batch", "both"])
def test_simultaneous_updates_refuse_batch_norm_of_the_discriminator(
    normalization: str,
) -> None:
    fields: dict[str, Any] = {"model__discriminator_normalization": normalization}
    _assert_refused(
        f"model.discriminator_normalization='{normalization}'",
        "choose spectral or none, or updates=alternating",
        train__updates="simultaneous",
        **fields,
    )
    config_lib.validate(_config(**fields))


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


# Losses, regularizers, averages and fine-tuning.


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty", "lecam"])
def test_simultaneous_updates_have_no_terms_of_the_discriminator_alone(
    name: str,
) -> None:
    values = {f"regularizers__{name}": 0.5, "train__updates": "simultaneous"}
    _assert_refused(f"regularizers.{name}=0.5", "updates=alternating", **values)
    config_lib.validate(_config(**values | {f"regularizers__{name}": 0.0}))
    config_lib.validate(_config(**values | {"train__updates": "alternating"}))


def test_simultaneous_updates_may_be_augmented_and_relativistic() -> None:
    config_lib.validate(
        _config(
            train__updates="simultaneous",
            train__loss="relativistic",
            regularizers__augment=("color",),
        )
    )


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_two_targets_of_the_gradient_are_refused(name: str) -> None:
    values = {f"regularizers__{name}": 1.0, "regularizers__gradient_penalty": 10.0}
    _assert_refused("regularizers.gradient_penalty=10", "choose one", **values)


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
@pytest.mark.parametrize("normalization", ["batch", "both"])
def test_gradients_of_an_image_need_logits_of_its_own(
    name: str, normalization: str
) -> None:
    values: Any = {f"regularizers__{name}": 2.0}
    batch: Any = {"model__discriminator_normalization": normalization}
    words = (f"regularizers.{name}=2", normalization, "=spectral")
    _assert_refused(*words, **values, **batch)
    config_lib.validate(_config(**values))
    config_lib.validate(_config(**batch, regularizers__lecam=0.3))


def test_lecam_needs_the_level_of_the_logits() -> None:
    values = {"regularizers__lecam": 0.3, "train__loss": "relativistic"}
    _assert_refused("regularizers.lecam=0.3", "another loss", **values)


def test_an_augmentation_is_named_once() -> None:
    _assert_refused("twice", regularizers__augment=("color", "cutout", "color"))
    config_lib.validate(_config(regularizers__augment=("cutout", "color")))


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 1.5])
def test_further_averages_have_decays_between_0_and_1(decay: float) -> None:
    words = ("train.ema_decays=(0.9,", f"has {decay:g}", "above 0 and below 1")
    _assert_refused(*words, train__ema_decays=(0.9, decay))


@pytest.mark.parametrize("decays", [(0.9, 0.9), (0.999,)])
def test_each_decay_is_kept_once(decays: tuple[float, ...]) -> None:
    words = ("train.ema_decays", f"has {decays[-1]:g}", "once")
    _assert_refused(*words, train__ema_decays=decays)


def test_the_evaluated_average_is_one_that_is_kept() -> None:
    kept: Any = {"train__ema_decays": (0.9, 0.99)}
    for decay in (0.0, 0.9, 0.99, 0.999):
        config_lib.validate(_config(**kept, evaluation__ema_decay=decay))
    words = ("evaluation.ema_decay=0.5", "choose 0.9, 0.99, 0.999, or 0")
    _assert_refused(*words, **kept, evaluation__ema_decay=0.5)


def test_without_any_average_there_is_none_to_evaluate() -> None:
    words = ("evaluation.ema_decay=0.5", "train.ema_decays", "or 0")
    _assert_refused(*words, train__ema_decay=0.0, evaluation__ema_decay=0.5)


@pytest.mark.parametrize(
    ("ema", "chosen", "expected"),
    [(True, 0.0, 0.999), (True, 0.9, 0.9), (False, 0.9, 0)],
)
def test_the_decay_of_the_evaluated_average(
    ema: bool, chosen: float, expected: float
) -> None:
    config = _config(evaluation__ema=ema, evaluation__ema_decay=chosen)
    assert config_lib.evaluated_decay(config) == expected


def test_only_residual_blocks_are_frozen() -> None:
    _assert_refused(
        "train.freeze_discriminator=1",
        "lsun64_port",
        model__family="lsun64_port",
        model__resolution=64,
        model__num_classes=0,
        model__attention_form="port",
        train__freeze_discriminator=1,
        train__init_from="runs/x",
    )


def test_freezing_needs_layers_to_keep() -> None:
    _assert_refused(
        "train.freeze_discriminator=2", "train.init_from", train__freeze_discriminator=2
    )
    config_lib.validate(
        _config(train__freeze_discriminator=2, train__init_from="runs/a")
    )


def test_a_gradient_penalty_with_spectral_norm_is_a_warning() -> None:
    config = _config(regularizers__gradient_penalty=10.0)
    config_lib.validate(config)
    (remark,) = objectives.remarks(config)
    assert remark.startswith("warning: regularizers.gradient_penalty=10")
    config.model.discriminator_normalization = "none"
    assert objectives.remarks(config) == []


def test_an_unbounded_discriminator_is_a_warning() -> None:
    config = _config(train__loss="wasserstein")
    assert objectives.remarks(config) == []
    config.model.discriminator_normalization = "none"
    (remark,) = objectives.remarks(config)
    assert remark.startswith("warning: train.loss='wasserstein'")
    config.regularizers.gradient_penalty = 10.0
    assert objectives.remarks(config) == []


def test_the_default_config_has_no_remarks() -> None:
    assert objectives.remarks(Config()) == []
