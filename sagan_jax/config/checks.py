"""Checks of a config: types, choices, bounds, and fields that depend on each other."""

import typing
from collections.abc import Callable
from typing import Any

from sagan_jax.config import objectives
from sagan_jax.config.fields import Config, DataConfig
from sagan_jax.config.json_form import fields_of
from sagan_jax.errors import UserError

CHOICES: dict[str, tuple[str, ...]] = {
    "model.family": ("resnet", "celeba128_port", "lsun64_port"),
    "model.attention_block": (
        "attention",
        "residual",
        "residual_3x3",
        "residual_full",
    ),
    "model.attention_form": ("official", "paper", "port"),
    "model.attention_kernel": ("plain", "xla", "cudnn"),
    "model.class_tables": ("published", "one_plus", "one_plus_spectral"),
    "model.generator_normalization": ("none", "spectral"),
    "model.discriminator_normalization": ("none", "batch", "spectral", "both"),
    "model.generator_without_spectral_norm": ("first", "last"),
    "model.discriminator_without_spectral_norm": ("last",),
    "model.transposed_norm_side": ("output", "input"),
    "model.weight_init": ("xavier", "orthogonal", "torch"),
    "model.convolutions": ("auto", "plain"),
    "model.dtype": ("float32", "bfloat16", "float64"),
    "data.source": ("synthetic", "folder", "array_record", "tfds"),
    "data.difficulty": ("full", "easy"),
    "data.distance": ("near", "mid", "far"),
    "optim.schedule": ("constant", "linear"),
    "train.loss": (
        "hinge",
        "non_saturating",
        "wasserstein",
        "least_squares",
        "relativistic",
    ),
    "train.order": ("discriminator_first", "generator_first"),
    "train.updates": ("alternating", "simultaneous"),
    "train.trackers": ("wandb", "trackio", "mlflow"),
    "regularizers.augment": ("color", "translation", "cutout"),
    "evaluation.statistics": ("running", "standing", "batch"),
    "evaluation.kid_kernel": ("poly", "rbf"),
    "evaluation.protocol": (
        "torch-fidelity",
        "pytorch-fid",
        "official-like",
        "studio-like",
        "mmgen-like",
    ),
    "evaluation.encoder": ("inception", "dinov2-s", "dinov2-b", "dinov2-l"),
    "evaluation.pipeline": ("pil_bicubic", "torch_bicubic", "tf1_bilinear"),
}


# Bounds are inclusive. Limits that depend on the architecture (the feature maps at a
# resolution, the number of channels under attention) are checked by networks.build.
_BOUNDS: dict[str, tuple[float, float]] = {
    "model.resolution": (4, 4096),
    "model.num_classes": (0, 10**6),
    "model.channels": (1, 4),
    "model.latent_dim": (1, 10**5),
    "model.width": (1, 4096),
    "model.generator_width": (0, 4096),
    "model.discriminator_width": (0, 4096),
    "model.leaky_slope": (0, 1),
    "model.spectral_norm_eps": (0, 1),
    "model.spectral_norm_warmup": (0, 10**4),
    "model.batch_norm_group_size": (0, 10**6),
    "model.batch_norm_decay": (0, 1),
    "model.batch_norm_last_decay": (0, 1),
    "model.batch_norm_eps": (0, 1),
    "data.max_unreadable": (0, 10**8),
    "data.num_images": (1, 10**8),
    "data.seed": (0, 2**32 - 1),
    "data.threads": (0, 1024),
    "optim.generator_lr": (0, 10),
    "optim.discriminator_lr": (0, 10),
    "optim.beta1": (0, 0.999999),
    "optim.beta2": (0, 0.9999999),
    "optim.eps": (0, 1),
    "optim.decay_start": (0, 1),
    "optim.decay_to": (0, 1),
    "train.seed": (0, 2**32 - 1),
    "train.steps": (1, 2**31 - 1),
    "train.batch_size": (1, 2**20),
    "train.d_steps": (1, 1000),
    "train.ema_decay": (0, 0.9999999),
    "train.ema_start": (0, 2**31 - 1),
    "train.freeze_discriminator": (0, 100),
    "train.log_every": (1, 2**31 - 1),
    "train.sample_every": (1, 2**31 - 1),
    "train.checkpoint_every": (1, 2**31 - 1),
    "train.steps_per_dispatch": (1, 1000),
    "train.keep_checkpoints": (1, 10**6),
    "train.keep_every": (0, 2**31 - 1),
    "train.rollbacks": (0, 1000),
    "regularizers.r1": (0, 10**6),
    "regularizers.r2": (0, 10**6),
    "regularizers.every": (1, 10**6),
    "regularizers.gradient_penalty": (0, 10**6),
    "regularizers.lecam": (0, 10**6),
    "regularizers.lecam_decay": (0, 0.9999999),
    "regularizers.lecam_start": (0, 2**31 - 1),
    "evaluation.ema_decay": (0, 0.9999999),
    "evaluation.standing_batches": (1, 10**6),
    "evaluation.standing_batch_size": (2, 2**20),
    "evaluation.reference_samples": (0, 10**8),
    "evaluation.num_samples": (0, 10**8),
    "evaluation.every": (0, 2**31 - 1),
    "evaluation.every_samples": (1, 10**8),
    "evaluation.seeds": (1, 1000),
    "evaluation.batch_size": (1, 2**20),
    "evaluation.seed": (0, 2**32 - 1),
    "evaluation.truncation": (0, 100),
    "evaluation.rows": (1, 1000),
    "evaluation.columns": (1, 1000),
    "mesh.devices": (0, 10**6),
}


# Fields that take other values than their choices, in words, and what tells those.
_OTHERS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "evaluation.encoder": ("module:function", lambda value: ":" in value),
    "evaluation.pipeline": ("'' for the default", lambda value: not value),
}

# The flag takes 'wandb,mlflow' as one name.
_REPEAT = ", and repeat the flag for several"


def validate(config: Config, *, with_data: bool = True) -> None:
    """Raises UserError for the first field with an unsupported value.

    Types are checked too, because absl does not check the items of a tuple.

    Args:
      config: the run's config; it is not changed.
      with_data: whether to check the fields that locate the training images. Sampling
        needs no images and passes False.
    """
    for name, value, annotation in fields_of(config):
        _check_type(name, value, annotation)
        if name in CHOICES:
            _check_choice(name, value)
        if name in _BOUNDS:
            low, high = _BOUNDS[name]
            if not low <= value <= high:
                raise UserError(
                    f"{name}={value!r} is out of range; choose a value from "
                    f"{low:.10g} to {high:.10g}."
                )
    if with_data:
        _check_location(config.data)
    if with_data and config.data.source == "synthetic":
        _check_synthetic(config)
    _check_updates(config)
    objectives.check(config)
    group, size = config.model.batch_norm_group_size, config.train.batch_size
    if group and size % group:
        raise UserError(
            f"train.batch_size={size} is not a multiple of "
            f"model.batch_norm_group_size={group}; choose a multiple of {group}."
        )


def _check_choice(name: str, value: Any) -> None:
    several = isinstance(value, tuple)
    for item in value if several else (value,):
        other, is_other = _OTHERS.get(name, ("", lambda _: False))
        if item not in CHOICES[name] and not is_other(item):
            raise UserError(
                f"{name}={item!r} is not known; choose one of "
                f"{', '.join(CHOICES[name])}{', or ' * bool(other)}{other}"
                f"{_REPEAT if several else ''}."
            )


def _check_updates(config: Config) -> None:
    train = config.train
    if train.updates != "simultaneous":
        return
    normalization = config.model.discriminator_normalization
    if normalization in ("batch", "both"):
        raise UserError(
            f"model.discriminator_normalization={normalization!r} is not supported by "
            "train.updates='simultaneous', which needs logits that do not depend on "
            "other images; choose spectral or none, or updates=alternating."
        )
    if train.d_steps != 1:
        raise UserError(
            f"train.d_steps={train.d_steps} is not supported by "
            "train.updates='simultaneous', which updates each network once per step; "
            "choose d_steps=1, or updates=alternating."
        )
    if train.order != "discriminator_first":
        raise UserError(
            f"train.order={train.order!r} has no meaning for "
            "train.updates='simultaneous', where no network is updated first; leave "
            "order at its default, or choose updates=alternating."
        )


def _check_location(data: DataConfig) -> None:
    if data.source == "folder" and not data.path:
        raise UserError(
            "data.path='' is empty, but data.source='folder' reads images from it; set "
            "--config.data.path=DIR to a directory with a sub-folder of images for "
            "each class."
        )
    if data.source == "array_record" and not data.path:
        raise UserError(
            "data.path='' is empty, but data.source='array_record' reads images from "
            "it; set --config.data.path=DIR to a directory written by "
            "python -m sagan_jax.data.prepare."
        )
    if data.source == "tfds" and not data.dataset:
        raise UserError(
            "data.dataset='' is empty, but data.source='tfds' needs the name of a data "
            "set; set --config.data.dataset=NAME, for example cifar10."
        )


def _check_synthetic(config: Config) -> None:
    if config.model.num_classes not in (0, 4, 6):
        raise UserError(
            f"model.num_classes={config.model.num_classes} is not supported by the "
            "synthetic source, which draws 4 or 6 shapes; choose 4, 6, or 0 for no "
            "labels."
        )
    if config.model.channels != 3:
        raise UserError(
            f"model.channels={config.model.channels} is not supported by the synthetic "
            "source, which draws colour images; choose 3."
        )


def _check_type(name: str, value: Any, annotation: Any) -> None:
    if not _has_type(value, annotation):
        raise UserError(
            f"{name}={value!r} has the wrong type; it takes "
            f"{type_in_words(annotation)}."
        )


def type_in_words(annotation: Any) -> str:
    """Returns a description of a field's type, such as 'a whole number'."""
    if typing.get_origin(annotation) is tuple:
        if str in typing.get_args(annotation):
            return "a tuple of names, one in each flag"
        if float in typing.get_args(annotation):
            return "a tuple of numbers, such as 0.99,0.9999"
        return "a tuple of integers, such as 16,32"
    words = {int: "a whole number", float: "a finite number", bool: "true or false"}
    return words.get(annotation, "text")


def _has_type(value: Any, annotation: Any) -> bool:
    if typing.get_origin(annotation) is tuple:
        item = typing.get_args(annotation)[0]
        return isinstance(value, tuple) and all(_has_type(x, item) for x in value)
    if annotation is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and value == value and abs(value) != float("inf")
    return type(value) is annotation  # isinstance would take True for an int
