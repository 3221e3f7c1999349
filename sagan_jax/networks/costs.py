"""Estimates the arithmetic and memory of a training step from the networks' plans.

Nothing here needs jax, so a batch size can be chosen before jax is started. Attention
is counted in its official form, or in that of the ports. `--dry_run=compile` reports
the compiler's own figures.
"""

from typing import NamedTuple

from sagan_jax.config import SAME, Config, ModelConfig
from sagan_jax.networks import ports
from sagan_jax.networks.channels import discriminator_plan, generator_plan

_FLOAT = 4  # bytes

# A step's temporary memory is modelled as a multiple of all activations plus a few
# copies of the gradients. The factors bound what XLA's CPU compiler allocated at
# fourteen sizes (docs/custom.md): the estimate is 1.17 to 1.53 times that memory.
_ACTIVATION_COPIES = 1.75
_GRADIENT_COPIES = 3


class NetworkCost(NamedTuple):
    """The cost of one network.

    Attributes:
      parameters: number of trained parameters.
      flops: operations of a forward pass on one image; a multiplication and an
        addition count as two.
      activations: number of values per image that a backward pass may need.
    """

    parameters: int
    flops: int
    activations: int

    def __add__(self, other: "NetworkCost") -> "NetworkCost":  # type: ignore[override]
        return NetworkCost(*(a + b for a, b in zip(self, other, strict=True)))


def generator_cost(model: ModelConfig) -> NetworkCost:
    """Returns the cost of the generator; the number of parameters is exact."""
    if model.family in ports.PORTS:
        return _port_generator_cost(model)
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
        cost += _maps(side, before)  # after upsampling
        cost += _conv(side, 3, before, after) + _norm(side, after, model.num_classes)
        cost += _conv(side, 3, after, after) + _conv(side, 1, before, after)
        if stage.attention:
            cost += _attend(side, after, model)
        before = after
    cost += _norm(model.resolution, before, 0)
    return cost + _conv(model.resolution, 3, before, model.channels)


def discriminator_cost(model: ModelConfig) -> NetworkCost:
    """Returns the cost of the discriminator; the number of parameters is exact."""
    if model.family in ports.PORTS:
        return _port_discriminator_cost(model)
    normed = model.discriminator_normalization in ("batch", "both")
    stages = discriminator_plan(
        model.resolution,
        model.discriminator_width or model.width,
        model.discriminator_channel_multiples,
        _attention(model, model.discriminator_attention_resolutions),
    )
    cost, before, side = NetworkCost(0, 0, 0), model.channels, model.resolution
    for stage in stages:
        after = stage.features
        cost += _maps(side, before)  # the block's first activation
        cost += _conv(side, 3, before, after) + _maps(side, after)
        if normed:
            first = stage is stages[0]
            cost += _norm(side, after, 0) + _norm(side, 0 if first else before, 0)
        cost += _conv(side, 3, after, after)
        if stage.resample or before != after:
            cost += _conv(side, 1, before, after)
        side, before = stage.resolution, after
        if stage.attention:
            cost += _attend(side, after, model)
    return cost + _dense(before, 1) + NetworkCost(model.num_classes * before, 0, 0)


def _port_generator_cost(model: ModelConfig) -> NetworkCost:
    port = ports.PORTS[model.family]
    first, stages = ports.generator_plan(
        model.family,
        model.resolution,
        model.generator_width or model.width,
        model.generator_channel_multiples,
        _attention(model, model.generator_attention_resolutions),
    )

    def norm(side: int, channels: int) -> NetworkCost:
        cost = _norm(side, channels, 0)
        parameters = cost.parameters if port.learned_scale else channels
        return cost._replace(parameters=parameters)

    cost = _dense(model.latent_dim, 16 * first) + _maps(4, first)
    if port.first == "transposed":  # one bias for each channel, and batch norm
        cost += norm(4, first) + NetworkCost(-15 * first, 0, 0)
    side, before = 4, first
    for stage in stages:
        side, after = stage.resolution, stage.features
        cost += _transposed(side, before, after, port.up_bias) + norm(side, after)
        if stage.attention:
            cost += _attend(side, after, model)
        before = after
    if port.last == "transposed":
        return cost + _transposed(2 * side, before, model.channels, True)
    return cost + _conv(side, 3, before, model.channels)


def _port_discriminator_cost(model: ModelConfig) -> NetworkCost:
    stages = ports.discriminator_plan(
        model.family,
        model.resolution,
        model.discriminator_width or model.width,
        model.discriminator_channel_multiples,
        _attention(model, model.discriminator_attention_resolutions),
    )
    normed = model.discriminator_normalization in ("batch", "both")
    cost, before = NetworkCost(0, 0, 0), model.channels
    for stage in stages:
        side, after = stage.resolution, stage.features
        cost += _conv(side, 4, before, after) + _maps(side, after)
        if normed and stage is not stages[0]:
            cost += _norm(side, after, 0)
        if stage.attention:
            cost += _attend(side, after, model)
        before = after
    return cost + _dense(16 * before, 1)


def _transposed(side: int, before: int, after: int, bias: bool) -> NetworkCost:
    """Returns the cost of a 4x4 transposed convolution; `side` is that of its output.

    Each output sees 2x2 inputs.
    """
    cost = _conv(side, 2, before, after)
    return cost._replace(parameters=16 * before * after + (after if bias else 0))


def step_flops(config: Config) -> float:
    """Returns the operations of one step, including all `d_steps` updates.

    A backward pass counts as two forward passes. Products with padding are counted as
    well, so the estimate is a few percent too high.
    """
    generator = generator_cost(config.model).flops
    discriminator = discriminator_cost(config.model).flops
    # Fakes need one forward pass of the generator; the discriminator's forward and
    # backward pass cover real and fake images.
    d_update = generator + 6 * discriminator
    g_update = 3 * generator + 2 * discriminator
    once = config.train.d_steps * d_update + g_update
    if config.train.updates == "simultaneous":
        once = 3 * generator + 6 * discriminator
    return config.train.batch_size * float(once)


def state_bytes(config: Config) -> int:
    """Returns the bytes of the parameters, the moments of Adam and the averages.

    Adam keeps two moments, or one if beta1 is 0.
    """
    generator = generator_cost(config.model).parameters
    discriminator = discriminator_cost(config.model).parameters
    copies = (3 if config.optim.beta1 else 2) * (generator + discriminator)
    averages = bool(config.train.ema_decay) + len(config.train.ema_decays)
    return _FLOAT * (copies + averages * generator)


def step_bytes(config: Config, devices: int = 1) -> int:
    """Returns an upper estimate of the bytes that a step needs on each device."""
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
    """Returns the cost of a batch norm and the activation that follows it."""
    maps = _maps(side, 2 * channels)
    return maps._replace(parameters=2 * channels * max(1, num_classes))


def _attend(side: int, channels: int, model: ModelConfig) -> NetworkCost:
    places, eighth = side * side, channels // 8
    port = model.attention_form == "port"  # neither pooled, nor followed by a layer
    value, output = (channels, 0) if port else (channels // 2, channels)
    weights = channels * (2 * eighth + value) + value * output
    biases = 2 * eighth + value + output if model.attention_bias else 0
    scores = places * places // (1 if port else 4)
    return NetworkCost(
        parameters=weights + biases + 1,
        flops=2 * weights * places + 2 * scores * (eighth + value),
        activations=3 * scores + places * (2 * eighth + 2 * value + 2 * channels),
    )
