"""Class-conditional CIFAR-10 at 32 pixels: the best published recipe of this model.

    python launch.py --config experiments/cifar10.py --config.data.path=DIR/train

DIR/train contains one folder of images per class.

Hardware: a GPU. Time: not yet measured.
Expected: not yet measured here. Published: FID 9.4252 and IS 9.3174 after 96,000 steps,
with the evaluator of mmgeneration (50,000 images against the training set, StyleGAN's
Inception, running statistics, no moving average). For a run of an hour on two CPU cores
at a smaller width, see docs/results.md.
Source: `open-mmlab/mmgeneration:configs/sagan/README.md`,
`sagan_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1`.
"""

from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink


def get_config(argument: str | None = None) -> Config:
    config = Config(name="cifar10")
    model = config.model
    model.resolution, model.num_classes = 32, 10
    model.attention_resolutions = (16,)
    model.weight_init = "orthogonal"
    model.class_tables = "one_plus_spectral"
    model.batch_norm_eps = 1e-4
    model.batch_norm_decay = model.batch_norm_last_decay = 0.9
    config.data.source = "folder"
    config.data.horizontal_flip = True
    config.optim.generator_lr = config.optim.discriminator_lr = 2e-4
    config.optim.beta1 = 0.5
    config.train.steps, config.train.batch_size = 100_000, 64
    config.train.d_steps = 5
    config.train.ema_decay = 0.0
    config.evaluation.protocol = "mmgen-like"
    config.evaluation.num_samples = 50_000
    return shrink(config, argument)
