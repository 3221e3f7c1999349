"""CelebA at 128 pixels, without classes: the TF-eager port, as written and as run.

    python launch.py --config experiments/celeba128_port.py:code --config.data.path=DIR
    python launch.py --config experiments/celeba128_port.py:prose --config.data.path=DIR

DIR contains the images, without sub-folders of classes. `code` (the default) has the
settings of the repository, `prose` those of the article about it: other learning rates,
another slope, spectral norm on every layer, alternating updates. `:smoke`,
`:code,smoke` and `:prose,smoke` are tiny runs.

Hardware: one GPU. Time: not yet measured.
Expected: not yet measured here. Published: neither scores nor weights.
Source: `sthalles/blog-resources`, folder sagan, and the article on it. docs/ports.md
lists all differences between the two, and what is not rebuilt.
"""

from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink
from sagan_jax.errors import UserError

ARGUMENTS = ("code", "prose", "smoke", "code,smoke", "prose,smoke")


def get_config(argument: str | None = None) -> Config:
    if argument and argument not in ARGUMENTS:
        raise UserError(
            f"config argument {argument!r} is not supported; use :code, :prose, "
            ":smoke, :code,smoke or :prose,smoke."
        )
    words = (argument or "").split(",")
    config = _config("prose" if "prose" in words else "code")
    return shrink(config, "smoke" if "smoke" in words else None)


def _config(which: str) -> Config:
    config = Config(name="celeba128_port" + ("_prose" if which == "prose" else ""))
    model = config.model
    model.family, model.resolution, model.num_classes = "celeba128_port", 128, 0
    model.width = 16
    model.attention_form, model.attention_bias = "port", True
    model.batch_norm_decay = model.batch_norm_last_decay = 0.99
    model.batch_norm_eps = 1e-3
    config.data.source = "folder"
    config.optim.beta2 = 0.9
    config.train.batch_size = 64
    config.train.steps = 300_000  # 600,000 of the code, which counts each step twice
    config.train.ema_decay, config.train.log_margins = 0.0, True
    if which == "prose":
        model.leaky_slope = 0.02
        config.optim.generator_lr, config.optim.discriminator_lr = 1e-3, 4e-3
    else:
        model.generator_without_spectral_norm = ("first",)
        model.discriminator_without_spectral_norm = ("last",)
        model.stop_gradient_uv = False
        config.optim.generator_lr, config.optim.discriminator_lr = 1e-4, 4e-4
        config.train.updates = "simultaneous"
    return config
