"""Which moving average of the generator a command samples."""

from sagan_jax.config.fields import Config


def evaluated_decay(config: Config) -> float:
    """Returns the decay of the average to sample with; 0: the live parameters."""
    if not config.evaluation.ema:
        return 0.0
    return config.evaluation.ema_decay or config.train.ema_decay
