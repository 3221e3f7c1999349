"""Checks of losses, regularizers, averages and fine-tuning that belong together."""

from sagan_jax.config.fields import Config, RegularizerConfig
from sagan_jax.errors import UserError


def check(config: Config) -> None:
    """Raises UserError for fields that cannot be combined."""
    _check_regularizers(config)
    _check_averages(config)
    train = config.train
    if train.freeze_discriminator and not train.init_from:
        raise UserError(
            f"train.freeze_discriminator={train.freeze_discriminator} would freeze "
            "layers at their random initial values; set train.init_from to the run "
            "whose layers are kept, or freeze_discriminator=0."
        )
    if train.freeze_discriminator and config.model.family != "resnet":
        raise UserError(
            f"train.freeze_discriminator={train.freeze_discriminator} counts residual "
            f"blocks, and model.family={config.model.family!r} has none; choose "
            "freeze_discriminator=0."
        )


def remarks(config: Config) -> list[str]:
    """Returns warnings about combinations that work, but hardly as intended."""
    settings = config.regularizers
    spectral = config.model.discriminator_normalization in ("spectral", "both")
    found = []
    if settings.gradient_penalty and spectral:
        found.append(
            f"warning: regularizers.gradient_penalty={settings.gradient_penalty:g} "
            "wants gradients of norm 1, and spectral norm bounds the same gradients; "
            "set model.discriminator_normalization=none."
        )
    if config.train.loss == "wasserstein" and not (
        settings.gradient_penalty or spectral
    ):
        found.append(
            "warning: train.loss='wasserstein' has no bound without spectral norm or a "
            "penalty; set regularizers.gradient_penalty=10."
        )
    return found


def _check_regularizers(config: Config) -> None:
    settings, train = config.regularizers, config.train
    active = _active(settings)
    if active and train.updates == "simultaneous":
        name, value = active[0]
        raise UserError(
            f"regularizers.{name}={value:g} is not supported by "
            "train.updates='simultaneous', where one backward pass of the "
            f"discriminator serves both losses; choose {name}=0, or "
            "updates=alternating."
        )
    penalties = [(name, value) for name, value in active if name != "lecam"]
    normalization = config.model.discriminator_normalization
    if penalties and normalization in ("batch", "both"):
        name, value = penalties[0]
        raise UserError(
            f"regularizers.{name}={value:g} is not supported by "
            f"model.discriminator_normalization={normalization!r}: with batch norm, a "
            "logit depends on all images of its batch, and has no gradient of its own "
            f"image alone; choose {name}=0, or discriminator_normalization=spectral."
        )
    if settings.gradient_penalty and (settings.r1 or settings.r2):
        raise UserError(
            f"regularizers.gradient_penalty={settings.gradient_penalty:g} pulls "
            "gradients to norm 1, but r1 and r2 pull them to 0; choose one of them."
        )
    if settings.lecam and train.loss == "relativistic":
        raise UserError(
            f"regularizers.lecam={settings.lecam:g} is not supported by "
            "train.loss='relativistic', which leaves the level of the logits open; "
            "choose lecam=0 with r1 and r2, or another loss."
        )
    if len(set(settings.augment)) < len(settings.augment):
        raise UserError(
            f"regularizers.augment={settings.augment!r} names an augmentation twice; "
            "name each once."
        )


def _active(settings: RegularizerConfig) -> list[tuple[str, float]]:
    """Returns the terms of the discriminator's loss that are on, with their weights."""
    names = ("r1", "r2", "gradient_penalty", "lecam")
    return [
        (name, getattr(settings, name)) for name in names if getattr(settings, name)
    ]


def _check_averages(config: Config) -> None:
    train, chosen = config.train, config.evaluation.ema_decay
    kept = (*train.ema_decays, train.ema_decay)
    for decay in train.ema_decays:
        if not 0 < decay < 1:
            raise UserError(
                f"train.ema_decays={train.ema_decays!r} has {decay:g}, which is out of "
                "range; choose values above 0 and below 1."
            )
        if kept.count(decay) > 1:
            raise UserError(
                f"train.ema_decays={train.ema_decays!r} has {decay:g}, which another "
                "average of the run has already; keep each decay once."
            )
    if chosen and chosen not in kept:
        known = ", ".join(f"{decay:g}" for decay in kept if decay)
        raise UserError(
            f"evaluation.ema_decay={chosen:g} is the decay of no average of this run; "
            f"choose {known or 'train.ema_decays that it keeps'}, or 0."
        )
