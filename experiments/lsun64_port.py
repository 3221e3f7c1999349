"""LSUN's church_outdoor at 64 pixels, without classes: the DCGAN-like port.

    python launch.py --config experiments/lsun64_port.py --config.data.path=DIR
    python launch.py --config experiments/lsun64_port.py:wgan_gp --config.data.path=DIR

DIR is written by `python -m sagan_jax.data.prepare` from LSUN's LMDB. `:wgan_gp` has
the loss that the code uses by default, without spectral norm in the discriminator, as
its readme advises. `:smoke` and `:wgan_gp,smoke` are tiny runs.

Hardware: one GPU. Time: not yet measured. The published run took 0.25 seconds per step.
Expected: not yet measured here. Published: no score; its log gives the real half of D's
loss, 1.16, 0.78 and 0.24 after 1,000, 10,000 and 35,000 steps, and |gamma| of G's two
attention layers, 0.26 and 0.38 after 35,000.
Source: `heykeetae/Self-Attention-GAN` (sagan_models.py, spectral.py, trainer.py), with
the settings of a report on a run of it, whose log fits hinge. See docs/ports.md.
"""

from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink
from sagan_jax.errors import UserError

ARGUMENTS = ("smoke", "wgan_gp", "wgan_gp,smoke")


def get_config(argument: str | None = None) -> Config:
    if argument and argument not in ARGUMENTS:
        raise UserError(
            f"config argument {argument!r} is not supported; use :wgan_gp, :smoke or "
            ":wgan_gp,smoke."
        )
    words = (argument or "").split(",")
    config = Config(name="lsun64_port" + ("_wgan_gp" if "wgan_gp" in words else ""))
    model = config.model
    model.family, model.resolution, model.num_classes = "lsun64_port", 64, 0
    model.attention_form, model.attention_bias = "port", True
    model.generator_attention_resolutions = (16, 32)
    model.discriminator_attention_resolutions = (8, 4)
    model.attention_spectral_norm = False
    model.generator_without_spectral_norm = ("last",)
    model.discriminator_without_spectral_norm = ("last",)
    model.transposed_norm_side = "input"
    model.spectral_norm_in_evaluation = True
    model.batch_norm_decay = model.batch_norm_last_decay = 0.9
    model.weight_init = "torch"
    config.data.source = "array_record"
    config.optim.beta2 = 0.9
    config.train.steps, config.train.batch_size = 100_000, 64
    config.train.ema_decay, config.train.log_margins = 0.0, True
    config.evaluation.statistics = "batch"
    if "wgan_gp" in words:
        config.train.loss, config.train.log_margins = "wasserstein", False
        config.regularizers.gradient_penalty = 10.0
        model.discriminator_normalization = "none"
        model.discriminator_without_spectral_norm = ()
    return shrink(config, "smoke" if "smoke" in words else None)
