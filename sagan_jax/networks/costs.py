"""What a training step costs, from the plans of the two networks alone.

Plain arithmetic, so that a batch can be chosen before jax is started. Attention is
counted in its official form. `summary.dry_run` asks the compiler instead.
"""

from typing import NamedTuple

from sagan_jax.config import SAME, Config, ModelConfig
from sagan_jax.networks.channels import discriminator_plan, generator_plan

_FLOAT = 4  # bytes

# Temporary memory of a step as XLA's CPU compiler laid it out at fourteen sizes
# (docs/custom.md): what all layers leave, not quite twice, and a few copies of the
# gradients. Chosen to lie above all of them, 1.15 to 1.52 times as high.
_ACTIVATION_COPIES = 1.75
_GRADIENT_COPIES = 3


class NetworkCost(NamedTuple):
    """Of one network; the last two are those of one image.

    Attributes:
      parameters: numbers that are trained.
      flops: of a forward pass; one multiply or add is one.
      activations: numbers between the layers that a backward pass may ask for.
    """

    parameters: int
    flops: int
    activations: int

    def __add__(self, other: "NetworkCost") -> "NetworkCost":  # type: ignore[override]
        return NetworkCost(*(a + b for a, b in zip(self, other, strict=True)))


def generator_cost(model: ModelConfig) -> NetworkCost:
    """Returns the cost of the generator; its parameters are exact."""
    first, stages = generator_plan(
        model.resolution,
        model.generator_width or model.width,
        model.generator_channel_multiples,
        _attention(model, model.generator_attention_resolutions),
    )
    cost = _dense(model.latent_dim, 16 * first)
    before = first
    for stage in stages:
        side, after = stage.resolution, stage.features
        cost += _norm(side // 2, before, model.num_classes)
        cost += _maps(side, before)  # brought to the new side
        cost += _conv(side, 3, before, after) + _norm(side, after, model.num_classes)
        cost += _conv(side, 3, after, after) + _conv(side, 1, before, after)
        if stage.attention:
            cost += _attend(side, after)
        before = after
    cost += _norm(model.resolution, before, 0)
    return cost + _conv(model.resolution, 3, before, model.channels)


def discriminator_cost(model: ModelConfig) -> NetworkCost:
    """Returns the cost of the discriminator; its parameters are exact."""
    stages = discriminator_plan(
        model.resolution,
        model.discriminator_width or model.width,
        model.discriminator_channel_multiples,
        _attention(model, model.discriminator_attention_resolutions),
    )
    cost, before, side = NetworkCost(0, 0, 0), model.channels, model.resolution
    for stage in stages:
        after = stage.features
        cost += _maps(side, before)  # its activation
        cost += _conv(side, 3, before, after) + _maps(side, after)
        cost += _conv(side, 3, after, after)
        if stage.resample or before != after:
            cost += _conv(side, 1, before, after)
        side, before = stage.resolution, after
        if stage.attention:
            cost += _attend(side, after)
    return cost + _dense(before, 1) + NetworkCost(model.num_classes * before, 0, 0)


def step_flops(config: Config) -> float:
    """Returns the arithmetic of one step, `d_steps` discriminator updates included.

    A backward pass is two forward passes. Padding counts as work, which it is not:
    expect a few percent too much.
    """
    generator = generator_cost(config.model).flops
    discriminator = discriminator_cost(config.model).flops
    d_update = generator + 6 * discriminator  # fakes; forward and back on both halves
    g_update = 3 * generator + 2 * discriminator
    return config.train.batch_size * float(config.train.d_steps * d_update + g_update)


def state_bytes(config: Config) -> int:
    """Returns the size of parameters, both moments of Adam, and the moving average."""
    generator = generator_cost(config.model).parameters
    discriminator = discriminator_cost(config.model).parameters
    copies = 3 * (generator + discriminator)
    return _FLOAT * (copies + (generator if config.train.ema_decay else 0))


def step_bytes(config: Config, devices: int = 1) -> int:
    """Returns what a step needs on each device, rather too much than too little."""
    generator = generator_cost(config.model)
    discriminator = discriminator_cost(config.model)
    network = generator + discriminator
    images = config.train.batch_size / devices
    pixels = config.model.channels * config.model.resolution**2
    return state_bytes(config) + int(
        _FLOAT * _GRADIENT_COPIES * network.parameters
        + _FLOAT * _ACTIVATION_COPIES * images * network.activations
        + images * config.train.d_steps * pixels
    )


def _attention(model: ModelConfig, own: tuple[int, ...]) -> tuple[int, ...]:
    return model.attention_resolutions if own == SAME else own


def _maps(side: int, channels: int) -> NetworkCost:
    return NetworkCost(0, 0, side * side * channels)


def _conv(side: int, kernel: int, before: int, after: int) -> NetworkCost:
    weights = kernel * kernel * before * after
    return NetworkCost(weights + after, 2 * weights * side * side, side * side * after)


def _dense(before: int, after: int) -> NetworkCost:
    return NetworkCost((before + 1) * after, 2 * before * after, after)


def _norm(side: int, channels: int, num_classes: int) -> NetworkCost:
    """Of a batch norm and the activation after it."""
    maps = _maps(side, 2 * channels)
    return maps._replace(parameters=2 * channels * max(1, num_classes))


def _attend(side: int, channels: int) -> NetworkCost:
    places, eighth, half = side * side, channels // 8, channels // 2
    weights = channels * (eighth + eighth + half) + half * channels
    scores = places * places // 4  # keys and values are pooled 2x2
    return NetworkCost(
        parameters=weights + 1,
        flops=2 * weights * places + 2 * scores * (eighth + half),
        activations=3 * scores + places * (2 * eighth + 2 * half + 2 * channels),
    )
