"""Class-conditional ImageNet at 128 pixels: the settings of the official release.

    python launch.py --config experiments/imagenet128.py --config.data.path=DIR/train

DIR/train contains one folder of images per class; labels follow the sorted synsets.

Hardware: accelerators. The release uses four, with 64 of 256 images each.
Time: not yet measured. The cost is about 140 GFLOP per image and step, for a million
steps of 256 images.
Expected: not yet measured here. The paper reports Inception score 52.52 and FID 18.65
after a million steps; the release publishes neither scores nor weights.
Source: `brain-research/self-attention-gan` (model.py, train_imagenet.py). For the
remaining differences, see docs/paper_notes.md.
"""

from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink


def get_config(argument: str | None = None) -> Config:
    config = Config(name="imagenet128")
    config.model.stop_gradient_uv = False
    config.model.batch_norm_group_size = 64
    config.data.source = "folder"
    config.optim.beta2 = 0.999  # as in the code; the paper is believed to say 0.9
    config.train.order = "generator_first"
    config.train.ema_decay = 0.0
    config.evaluation.protocol = "official-like"
    config.evaluation.num_samples = config.evaluation.reference_samples = 50_000
    return shrink(config, argument)
