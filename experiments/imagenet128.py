"""ImageNet at 128 pixels, class-conditional: the official release, setting for setting.

    python launch.py --config experiments/imagenet128.py --config.data.path=DIR/train

DIR/train holds one folder of images per class, in the order of the sorted synsets.
Source: `brain-research/self-attention-gan` (model.py, train_imagenet.py). The paper
gives Inception score 52.52 and FID 18.65 after a million steps; the release publishes
neither a score nor weights. Cost: about 140 GFLOP per image and step, 256 images, a
million steps. Ours: not yet measured. What still differs: docs/paper_notes.md.
"""

from experiments.smoke import shrink
from sagan_jax.config import Config


def get_config(argument: str | None = None) -> Config:
    config = Config(name="imagenet128")
    config.model.stop_gradient_uv = False
    config.model.batch_norm_group_size = 64
    config.data.source = "folder"
    config.optim.beta2 = 0.999  # of the code; the paper is believed to say 0.9
    config.train.order = "generator_first"
    config.train.ema_decay = 0.0
    config.evaluation.protocol = "official-like"
    config.evaluation.num_samples = config.evaluation.reference_samples = 50_000
    return shrink(config, argument)
