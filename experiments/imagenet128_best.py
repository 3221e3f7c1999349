r"""ImageNet at 128 pixels: the best published run of this model, FID 12.83.

    python launch.py --config experiments/imagenet128_best.py \
        --config.data.path=DIR/train

Source: `open-mmlab/mmgeneration:configs/sagan/README.md`,
`sagan_128_woReLUinplace_noaug_bigGAN_Glr-1e-4_Dlr-4e-4_ndisc1_imagenet1k_b32x8`: FID
12.8295, IS 69.5350 after 826,000 steps, by its own evaluator (50,000 averaged samples
against the whole training set, StyleGAN's Inception). It follows
`ajbrock/BigGAN-PyTorch:scripts/launch_SAGAN_bs128x2_ema.sh`. Ours: not yet measured.

What differs from that run: one epsilon for all spectral norms (there 1e-8, but 1e-12
in the generator's dense layer and 1e-6 in the attention block), added to a norm rather
than a bound on it; groups of 32 successive examples in place of one GPU's; Pillow's
bilinear resize.
"""

from experiments import imagenet128
from experiments.smoke import shrink
from sagan_jax.config import Config


def get_config(argument: str | None = None) -> Config:
    config = imagenet128.get_config()
    config.name = "imagenet128_best"
    config.model.attention_resolutions = (64,)
    config.model.stop_gradient_uv = True
    config.model.spectral_norm_eps = 1e-8
    config.model.batch_norm_group_size = 32
    config.model.batch_norm_decay = config.model.batch_norm_last_decay = 0.9
    config.model.class_tables = "one_plus"
    config.train.order = "discriminator_first"
    config.train.ema_decay, config.train.ema_start = 0.999, 2000
    config.evaluation.protocol = "mmgen-like"
    config.evaluation.reference_samples = 0  # the whole training set
    return shrink(config, argument)
