"""The `:smoke` argument of every experiment: the same algorithm in a tiny run.

Hardware: any CPU. Time: seconds, apart from compilation. Expected: no useful images;
this only shows that the pipeline works.
"""

from sagan_jax.config.fields import SAME, Config
from sagan_jax.errors import UserError

# By family: the lengths of the channel tables at 32 pixels, and the classes.
_SMALL = {
    "resnet": (4, 4, 4),
    "celeba128_port": (4, 3, 0),
    "lsun64_port": (3, 3, 0),
}


def shrink(config: Config, argument: str | None) -> Config:
    """Returns `config`, or for 'smoke' a run of seconds on synthetic images.

    Networks, data and the number of steps shrink; losses, update order, optimisers,
    norms and network forms stay.

    Args:
      config: config of the full experiment, which is changed in place.
      argument: text after the colon in --config FILE:ARGUMENT.

    Raises:
      UserError: the argument is not supported.
    """
    if not argument:
        return config
    if argument != "smoke":
        raise UserError(f"config argument {argument!r} is not supported; use :smoke.")
    config.name += "_smoke"
    model, data, train = config.model, config.data, config.train
    model.resolution, model.width = 32, 8
    model.generator_width = model.discriminator_width = 0
    model.latent_dim = 16
    model.attention_resolutions = (16,)
    model.generator_attention_resolutions = SAME
    model.discriminator_attention_resolutions = SAME
    generator, discriminator, classes = _SMALL.get(model.family, _SMALL["resnet"])
    model.generator_channel_multiples = (1,) * generator
    model.discriminator_channel_multiples = (1,) * discriminator
    model.num_classes = classes
    model.batch_norm_group_size = min(model.batch_norm_group_size, 4)
    data.source, data.path, data.num_images = "synthetic", "", 64
    train.batch_size, train.steps, train.ema_start = 8, 6, 0
    train.log_every, train.sample_every, train.checkpoint_every = 1, 3, 2
    config.regularizers.lecam_start = min(config.regularizers.lecam_start, 2)
    config.evaluation.rows = config.evaluation.columns = 4
    config.evaluation.standing_batches, config.evaluation.standing_batch_size = 2, 8
    config.evaluation.num_samples, config.evaluation.batch_size = 32, 16
    return config
