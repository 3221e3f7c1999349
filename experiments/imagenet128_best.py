r"""Class-conditional ImageNet at 128 pixels: the best published run of this model.

    python launch.py --config experiments/imagenet128_best.py \
        --config.data.path=DIR/train

DIR/train contains one folder of images per class.

Hardware: accelerators. The published run used eight GPUs, with 32 images each.
Time: not yet measured. The published score is from step 826,000 of 1,000,000.
Expected: not yet measured here. Published: FID 12.8295 and IS 69.5350, with the
evaluator of mmgeneration (50,000 samples of the moving average against the whole
training set, StyleGAN's Inception).
Source: `open-mmlab/mmgeneration:configs/sagan/README.md`,
`sagan_128_woReLUinplace_noaug_bigGAN_Glr-1e-4_Dlr-4e-4_ndisc1_imagenet1k_b32x8`. It
follows `ajbrock/BigGAN-PyTorch:scripts/launch_SAGAN_bs128x2_ema.sh`.

Differences from that run: all spectral norms share one epsilon (there 1e-8, but 1e-12
in the generator's dense layer and 1e-6 in the attention block), which is added to the
norm instead of bounding it; batch norm groups are 32 consecutive examples instead of
the examples of one GPU; images are resized with Pillow's bilinear filter.
"""

from experiments import imagenet128
from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink


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
