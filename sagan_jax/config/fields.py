"""Every setting of a run, with its default, as plain dataclasses.

The dataclasses are mutable and their annotations are real types (this file must not
import `annotations` from `__future__`): both are needed for overrides from the command
line. Slots make a misspelt field in an experiment file an error at once. On a command
line an optional value cannot be unset, so 0, () and '' mean 'off' or 'as usual'.
"""

from dataclasses import dataclass, field

SAME = (-1,)
"""An `*_attention_resolutions` of (-1,) means: the same as `attention_resolutions`."""


@dataclass(slots=True)
class ModelConfig:
    """The fields of both networks; the defaults are the official ones."""

    resolution: int = 128
    num_classes: int = 1000  # 0: unconditional
    channels: int = 3  # of an image, 1 to 4
    latent_dim: int = 128
    width: int = 64
    generator_width: int = 0  # 0: width
    discriminator_width: int = 0  # 0: width
    generator_channel_multiples: tuple[int, ...] = ()  # (): networks/channels.py
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
