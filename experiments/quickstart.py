"""Quickstart: pairs of shapes of the same colour, at 32 pixels, on a laptop.

    python launch.py --config experiments/quickstart.py

Hardware: two CPU cores. Time: under 4 minutes, installation included.
Expected: S 0.015 to 0.027 and class correctness 0.998 to 1.000 (seeds 0 to 2), measured
on an AMD EPYC; docs/results.md explains both scores.
Data: synthetic far pairs of the easy difficulty: large glyphs at a short distance,
without rotation, in strong colours on plain grey, with little noise. With the full
difficulty (--config.data.difficulty=full), minutes are not enough.
Recipe: more channels where maps are small, a short moving average, decaying rates.
"""

from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink


def get_config(argument: str | None = None) -> Config:
    config = Config(name="quickstart")
    model = config.model
    model.resolution, model.num_classes, model.latent_dim = 32, 4, 32
    model.width = 8
    model.generator_channel_multiples = (8, 8, 4, 2)
    model.discriminator_channel_multiples = (2, 4, 8, 8)
    model.attention_resolutions = (16,)
    config.data.difficulty = "easy"
    config.data.num_images = 4000
    config.optim.generator_lr, config.optim.discriminator_lr = 4e-4, 1.6e-3
    config.optim.beta2 = 0.99
    config.optim.schedule = "linear"
    config.train.steps, config.train.batch_size = 3000, 16
    config.train.ema_decay = 0.995
    config.train.log_every, config.train.sample_every = 50, 250
    config.train.checkpoint_every = 500
    config.evaluation.statistics = "standing"
    config.evaluation.rows, config.evaluation.columns = 4, 10
    return shrink(config, argument)
