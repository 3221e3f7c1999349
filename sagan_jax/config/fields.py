"""The settings of a run and their defaults, as plain dataclasses.

Overrides from the command line need mutable dataclasses whose annotations are real
types, so this file must not import `annotations` from `__future__`. With slots, a
misspelt field in an experiment file raises AttributeError. An optional value could not
be unset on the command line, so 0, () and '' mean 'off' or 'the default' instead.
"""

from dataclasses import dataclass, field

SAME = (-1,)
"""In the attention resolutions of one network: the value of the shared field."""


@dataclass(slots=True)
class ModelConfig:
    """Both networks; the defaults are the official release's unless noted."""

    family: str = "resnet"  # or a port: see networks/ports.py
    resolution: int = 128
    num_classes: int = 1000  # 0: unconditional
    channels: int = 3  # channels of an image, 1 to 4
    latent_dim: int = 128
    width: int = 64
    generator_width: int = 0  # 0: width
    discriminator_width: int = 0  # 0: width
    generator_channel_multiples: tuple[int, ...] = ()  # (): networks/channels.py
    discriminator_channel_multiples: tuple[int, ...] = ()
    attention_resolutions: tuple[int, ...] = (32,)
    # SAME: attention_resolutions
    generator_attention_resolutions: tuple[int, ...] = SAME
    discriminator_attention_resolutions: tuple[int, ...] = SAME
    attention_block: str = "attention"  # see networks/attention.py
    attention_form: str = "official"
    attention_kernel: str = "plain"  # or xla, cudnn: see networks/ops.py
    attention_spectral_norm: bool = True
    attention_bias: bool = False
    generator_normalization: str = "spectral"  # of its kernels; or none
    discriminator_normalization: str = "spectral"  # or none, batch, both
    discriminator_rectified_shortcut: bool = False  # as in-place ReLUs of ports have it
    # Ports: layers without spectral norm, first or last.
    generator_without_spectral_norm: tuple[str, ...] = ()
    discriminator_without_spectral_norm: tuple[str, ...] = ()
    transposed_norm_side: str = "output"  # ports: or input
    leaky_slope: float = 0.1  # ports: of the discriminator's leaky ReLUs
    spectral_norm_eps: float = 1e-12
    spectral_norm_warmup: int = 0  # power iterations on u at initialisation
    spectral_norm_in_evaluation: bool = False  # whether sampling moves u as well
    stop_gradient_uv: bool = True  # the official release: False
    batch_norm_group_size: int = 0  # 0: whole batch; the official release: 64
    batch_norm_decay: float = 0.999
    batch_norm_last_decay: float = 0.9999
    batch_norm_eps: float = 1e-5
    class_tables: str = "published"
    weight_init: str = "xavier"
    convolutions: str = "auto"  # plain: as written, without faster equal forms
    dtype: str = "float32"
    rematerialize: bool = False  # compute blocks again in the backward pass


@dataclass(slots=True)
class DataConfig:
    """The training images."""

    source: str = "synthetic"
    path: str = ""  # folder: a directory or .zip; array_record, tfds: data directory
    dataset: str = ""  # tfds source: name of the data set, such as imagenet2012
    split: str = "train"  # tfds source: split of the data set
    max_unreadable: int = 0  # folder source: unreadable images that may be skipped
    difficulty: str = "full"  # synthetic source: full or easy
    distance: str = "far"  # synthetic source: near, mid or far pairs (full only)
    num_images: int = 20_000  # synthetic source: number of images
    horizontal_flip: bool = False
    random_crop: bool = False  # square at a random place along the longer side
    seed: int = 1  # synthetic source: seed of the images
    threads: int = 2  # threads that read and decode images, per process


@dataclass(slots=True)
class OptimConfig:
    """One Adam per network, with separate rates (TTUR) and a common schedule."""

    generator_lr: float = 1e-4
    discriminator_lr: float = 4e-4
    beta1: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-8
    schedule: str = "constant"  # or linear: decay from decay_start to the last step
    decay_start: float = 0.5  # as a fraction of train.steps
    decay_to: float = 0.02  # final rate as a fraction of the initial rate


@dataclass(slots=True)
class TrainConfig:
    """The algorithm, the length of the run, and its logs and checkpoints."""

    seed: int = 0
    steps: int = 1_000_000  # number of generator updates
    batch_size: int = 256  # examples per update, over all devices
    d_steps: int = 1  # discriminator updates per step
    loss: str = "hinge"
    order: str = "discriminator_first"  # the official release: generator_first
    updates: str = "alternating"  # or simultaneous: both from one pass, cheaper
    ema_decay: float = 0.999  # of the generator's parameters; 0: no moving average
    ema_start: int = 0  # until this step, the average equals the live parameters
    ema_decays: tuple[float, ...] = ()  # of further averages, see evaluation.ema_decay
    init_from: str = ""  # a workdir whose networks the run starts from; '': none
    freeze_discriminator: int = 0  # blocks of D, from the image on, that stay as loaded
    log_every: int = 100
    log_margins: bool = False  # also log the real and the fake half of the hinge loss
    sample_every: int = 1000
    checkpoint_every: int = 1000
    steps_per_dispatch: int = 1  # steps that one call of the device may make
    keep_checkpoints: int = 3
    keep_every: int = 0  # also keep checkpoints at multiples of this step; 0: none
    rollbacks: int = 0  # maximum number of rollbacks; 0: only report a collapse
    trackers: tuple[str, ...] = ()  # wandb, trackio, mlflow: see docs/training.md


@dataclass(slots=True)
class RegularizerConfig:
    """Terms of the discriminator's loss, and augmentation; all of it is off at first.

    See docs/objectives.md for the definition of each.
    """

    r1: float = 0.0  # weight of the squared gradient of D at real images
    r2: float = 0.0  # the same at fake images
    every: int = 1  # steps from one R1 and R2 to the next, which then weighs as many
    gradient_penalty: float = 0.0  # weight of WGAN-GP's penalty; published: 10
    lecam: float = 0.0  # weight of LeCam's regularizer; published: 0.3
    lecam_decay: float = 0.99  # of the moving averages of D's logits
    lecam_start: int = 1000  # step after which LeCam's regularizer counts
    augment: tuple[str, ...] = ()  # DiffAugment: color, translation, cutout


@dataclass(slots=True)
class EvaluationConfig:
    """Sampling and scoring."""

    ema: bool = True  # sample with the averaged parameters
    ema_decay: float = 0.0  # which average: one of train.ema_decays; 0: train.ema_decay
    statistics: str = "running"  # of batch norm; or standing, or batch
    standing_batches: int = 16
    standing_batch_size: int = 64
    metrics: str = ""  # such as fid,kid; '': agreement if synthetic, else the default
    kid_kernel: str = "poly"  # or rbf; see metrics/kid.py
    protocol: str = "torch-fidelity"  # measurement rules; see metrics/protocols.py
    encoder: str = "inception"  # network of the features, or module:function
    pipeline: str = ""  # resize for DINOv2, see docs/metrics.md; '': its default
    tap: str = ""  # Inception layer; '': the last in the weights, at most 2048
    weights: str = ""  # file of the encoder's weights; '': those of the cache
    reference: str = ""  # folder or .zip of real images; '': the training images
    held_out: str = ""  # the reference of the best checkpoint; '': reference
    reference_samples: int = 0  # maximum number of real images; 0: all
    num_samples: int = 1000  # number of generated images
    every: int = 0  # steps between scores during training; 0: no scores
    every_samples: int = 5000  # number of generated images during training
    seeds: int = 1  # scores are repeated with seed, seed + 1, ...
    batch_size: int = 64
    seed: int = 1234
    truncation: float = 0.0  # bound of the truncated normal of z; 0: not truncated
    rows: int = 10  # maximum number of classes on a sample sheet
    columns: int = 10


@dataclass(slots=True)
class MeshConfig:
    """The devices that a run uses."""

    devices: int = 0  # number of devices; 0: all
    distributed: bool = False  # whether to call jax.distributed.initialize()


@dataclass(slots=True)
class Config:
    """The config of a run; `get_config()` of an experiment file returns one."""

    name: str = "sagan"
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    regularizers: RegularizerConfig = field(default_factory=RegularizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
