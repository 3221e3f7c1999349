"""Every setting of a run, with its default, as plain dataclasses.

The dataclasses are mutable and their annotations are real types (this file must not
import `annotations` from `__future__`): both are needed for overrides from the command
line. Slots make a misspelt field in an experiment file an error at once. On a command
line an optional value cannot be unset, so 0, () and '' mean 'off' or 'as usual'.
"""

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any

from sagan_jax.errors import UserError

SAME = (-1,)
"""An `*_attention_resolutions` of (-1,) means: the same as `attention_resolutions`."""


@dataclass(slots=True)
class ModelConfig:
    """The fields of both networks; defaults are the official ones (see networks.py)."""

    resolution: int = 128
    num_classes: int = 1000  # 0: unconditional
    channels: int = 3  # of an image, 1 to 4
    latent_dim: int = 128
    width: int = 64
    generator_width: int = 0  # 0: width
    discriminator_width: int = 0  # 0: width
    generator_channel_multiples: tuple[int, ...] = ()  # (): the table in plans.py
    discriminator_channel_multiples: tuple[int, ...] = ()
    attention_resolutions: tuple[int, ...] = (32,)
    generator_attention_resolutions: tuple[int, ...] = SAME
    discriminator_attention_resolutions: tuple[int, ...] = SAME
    attention_block: str = "attention"
    attention_form: str = "official"
    attention_spectral_norm: bool = True
    attention_bias: bool = False
    generator_spectral_norm: bool = True
    discriminator_spectral_norm: bool = True
    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0  # power iterations on u at initialisation
    stop_gradient_uv: bool = True  # the official release: False
    batch_norm_group_size: int = 0  # 0: the whole batch; the official release: 64
    batch_norm_decay: float = 0.999
    batch_norm_last_decay: float = 0.9999
    batch_norm_eps: float = 1e-5
    class_tables: str = "published"
    weight_init: str = "xavier"
    dtype: str = "float32"


@dataclass(slots=True)
class DataConfig:
    """Where images come from."""

    source: str = "synthetic"
    path: str = ""  # folder: a directory or .zip; array_record, tfds: their directory
    dataset: str = ""  # of the tfds source: its name, such as imagenet2012
    split: str = "train"  # of the tfds source
    max_unreadable: int = 0  # images that the folder source may leave out
    difficulty: str = "full"  # of the synthetic source: full or easy
    distance: str = "far"  # of the synthetic pairs: near, mid or far (full only)
    num_images: int = 20_000  # rendered by the synthetic source
    horizontal_flip: bool = False
    random_crop: bool = False  # the square anywhere along the longer side
    seed: int = 1  # of the synthetic images
    threads: int = 2  # that read and decode, per process


@dataclass(slots=True)
class OptimConfig:
    """Two Adams at separate rates (TTUR), and their common schedule."""

    generator_lr: float = 1e-4
    discriminator_lr: float = 4e-4
    beta1: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-8
    schedule: str = "constant"  # or linear: falls from decay_start to the end
    decay_start: float = 0.5  # as a fraction of train.steps
    decay_to: float = 0.02  # as a fraction of the rate


@dataclass(slots=True)
class TrainConfig:
    """The algorithm, its length, and what is written on the way."""

    seed: int = 0
    steps: int = 1_000_000  # generator updates
    batch_size: int = 256  # of one update, over all devices
    d_steps: int = 1  # discriminator updates in a step
    loss: str = "hinge"
    order: str = "discriminator_first"  # the official release: generator_first
    ema_decay: float = 0.999  # 0: no moving average of the generator
    ema_start: int = 0  # the average equals the live parameters until this step
    log_every: int = 100
    sample_every: int = 1000
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    keep_every: int = 0  # also keep each checkpoint at a multiple of this; 0: none
    rollbacks: int = 0  # at most so many returns to a checkpoint; 0: a collapse is said


@dataclass(slots=True)
class EvaluationConfig:
    """The generator that is sampled and scored."""

    ema: bool = True
    statistics: str = "running"  # or standing
    standing_batches: int = 16
    standing_batch_size: int = 64
    metrics: str = ""  # such as fid,kid; '': agreement if synthetic, else the usual
    protocol: str = "torch-fidelity"  # how they are measured; see metrics/protocols.py
    tap: str = ""  # of the network; '': the last that the weights cover, at most 2048
    weights: str = ""  # of the network, a file; '': from the cache, or downloaded
    reference: str = ""  # a folder or .zip to compare with; '': the training images
    held_out: str = ""  # likewise, for the best checkpoint alone
    reference_samples: int = 0  # real images, at most; 0: all
    num_samples: int = 1000  # generated images that are scored
    every: int = 0  # steps between scores while training; 0: none
    every_samples: int = 5000  # generated images for these
    seeds: int = 1  # scores are repeated with seed, seed + 1, ...
    batch_size: int = 64
    seed: int = 1234
    truncation: float = 0.0  # |z| of every latent stays below; 0: not truncated
    rows: int = 10  # classes on a sample sheet, at most
    columns: int = 10


@dataclass(slots=True)
class MeshConfig:
    """The devices of a run."""

    devices: int = 0  # 0: all
    distributed: bool = False  # several processes: jax.distributed.initialize()


@dataclass(slots=True)
class Config:
    """A whole run. Experiment files build one in `get_config()`."""

    name: str = "sagan"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)


CHOICES: dict[str, tuple[str, ...]] = {
    "model.attention_block": (
        "attention",
        "residual",
        "residual_3x3",
        "residual_full",
    ),
    "model.attention_form": ("official", "paper", "port"),
    "model.class_tables": ("published", "one_plus", "one_plus_spectral"),
    "model.weight_init": ("xavier", "orthogonal"),
    "model.dtype": ("float32", "bfloat16", "float64"),
    "data.source": ("synthetic", "folder", "array_record", "tfds"),
    "data.difficulty": ("full", "easy"),
    "data.distance": ("near", "mid", "far"),
    "optim.schedule": ("constant", "linear"),
    "train.loss": ("hinge", "non_saturating"),
    "train.order": ("discriminator_first", "generator_first"),
    "evaluation.statistics": ("running", "standing"),
    "evaluation.protocol": (
        "torch-fidelity",
        "pytorch-fid",
        "official-like",
        "studio-like",
        "mmgen-like",
    ),
}

# Bounds are inclusive. What only the networks can know (which maps exist at a
# resolution, whether attention divides the channels) is checked while they are built.
_BOUNDS: dict[str, tuple[float, float]] = {
    "model.resolution": (4, 4096),
    "model.num_classes": (0, 10**6),
    "model.channels": (1, 4),
    "model.latent_dim": (1, 10**5),
    "model.width": (1, 4096),
    "model.generator_width": (0, 4096),
    "model.discriminator_width": (0, 4096),
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
    "train.log_every": (1, 2**31 - 1),
    "train.sample_every": (1, 2**31 - 1),
    "train.checkpoint_every": (1, 2**31 - 1),
    "train.keep_checkpoints": (1, 10**6),
    "train.keep_every": (0, 2**31 - 1),
    "train.rollbacks": (0, 1000),
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


def validate(config: Config, *, with_data: bool = True) -> None:
    """Raises UserError for the first field that cannot work; touches nothing.

    Types are checked as well, since tuples given on a command line are not. Sampling
    needs no images: `with_data=False` leaves out whether there are any that fit.
    """
    for name, value, annotation in fields_of(config):
        _check_type(name, value, annotation)
        if name in CHOICES and value not in CHOICES[name]:
            raise UserError(
                f"{name}={value!r} is not known; choose among "
                f"{', '.join(CHOICES[name])}."
            )
        if name in _BOUNDS:
            low, high = _BOUNDS[name]
            if not low <= value <= high:
                raise UserError(
                    f"{name}={value!r} is out of range; choose a value from "
                    f"{low:.10g} to {high:.10g}."
                )
    if with_data:
        _check_place(config.data)
    if with_data and config.data.source == "synthetic":
        _check_synthetic(config)
    group, size = config.model.batch_norm_group_size, config.train.batch_size
    if group and size % group:
        raise UserError(
            f"train.batch_size={size} cannot be split into groups of "
            f"model.batch_norm_group_size={group}; choose a multiple of it."
        )


def _check_place(data: DataConfig) -> None:
    if data.source == "folder" and not data.path:
        raise UserError(
            "data.path='' names no folder; set --config.data.path=DIR to a directory "
            "with one sub-folder of images for each class."
        )
    if data.source == "array_record" and not data.path:
        raise UserError(
            "data.path='' names no prepared images; set --config.data.path=DIR to a "
            "directory that python -m sagan_jax.data.prepare has written."
        )
    if data.source == "tfds" and not data.dataset:
        raise UserError(
            "data.dataset='' names no data set of tensorflow-datasets; set "
            "--config.data.dataset=NAME, such as cifar10."
        )


def _check_synthetic(config: Config) -> None:
    if config.model.num_classes not in (0, 4, 6):
        raise UserError(
            f"model.num_classes={config.model.num_classes} does not fit the synthetic "
            "source, which draws 4 or 6 shapes; choose 4, 6, or 0 for no labels."
        )
    if config.model.channels != 3:
        raise UserError(
            f"model.channels={config.model.channels} does not fit the synthetic "
            "source, whose pairs agree in hue; choose 3."
        )


def fields_of(config: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Returns (dotted name, value, annotation) of every leaf field, in order."""
    leaves: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(config):
        name, value = prefix + item.name, getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            leaves += fields_of(value, name + ".")
        else:
            leaves.append((name, value, item.type))
    return leaves


def differences(
    ours: Config, theirs: Config, groups: tuple[str, ...]
) -> list[tuple[str, Any, Any]]:
    """Returns (name, our value, their value) of fields that differ in `groups`.

    A group is the first part of a dotted name, such as 'model', or a whole name.
    """
    other = {name: value for name, value, _ in fields_of(theirs)}
    return [
        (name, value, other[name])
        for name, value, _ in fields_of(ours)
        if (name.split(".")[0] in groups or name in groups) and value != other[name]
    ]


def to_json(config: Config) -> str:
    """Returns the config as indented JSON; `from_json` is its inverse."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """Returns the Config that `to_json` wrote.

    Fields that are missing keep their defaults, so that a run made before a field
    existed can still be read.

    Raises:
      UserError: not JSON, or a field that no Config has.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"the config is not valid JSON ({error}).") from None
    config = Config()
    _fill(config, values, "")
    return config


def _fill(target: Any, values: Any, prefix: str) -> None:
    if not isinstance(values, dict):
        where = f"config field {prefix[:-1]}" if prefix else "the config"
        raise UserError(f"{where} is not a JSON object of fields.")
    known = {item.name for item in dataclasses.fields(target)}
    for name, value in values.items():
        if name not in known:
            raise UserError(
                f"config field {prefix}{name} is not known to this version; "
                "use the version that wrote it."
            )
        if dataclasses.is_dataclass(getattr(target, name)):
            _fill(getattr(target, name), value, f"{prefix}{name}.")
        else:
            setattr(target, name, tuple(value) if isinstance(value, list) else value)


def _check_type(name: str, value: Any, annotation: Any) -> None:
    if not _fits(value, annotation):
        raise UserError(
            f"{name}={value!r} has the wrong type; it takes {wanted(annotation)}."
        )


def wanted(annotation: Any) -> str:
    """Returns what a field of this type takes, in words."""
    if typing.get_origin(annotation) is tuple:
        return "a tuple of integers, such as 16,32"
    words = {int: "a whole number", float: "a finite number", bool: "true or false"}
    return words.get(annotation, "text")


def _fits(value: Any, annotation: Any) -> bool:
    if typing.get_origin(annotation) is tuple:
        return isinstance(value, tuple) and all(_fits(item, int) for item in value)
    if annotation is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and value == value and abs(value) != float("inf")
    return type(value) is annotation
