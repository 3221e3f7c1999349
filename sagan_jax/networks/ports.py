"""The two small ports from which many people know this model, as numbers.

Plain numbers, without jax: which layers each port has, how wide they are, and which
ones attention follows. docs/ports.md has their layer tables.
"""

import math
from typing import NamedTuple

from sagan_jax.errors import UserError
from sagan_jax.networks.channels import Stage, with_attention


class Port(NamedTuple):
    """What distinguishes one port from another, apart from a config's fields.

    Attributes:
      resolution: side of an image for which the multiples are those of the port.
      generator_multiples: channels of the generator's 4x4 map and of each block, in
        units of width.
      discriminator_multiples: channels of the discriminator's blocks.
      first: the generator's first layer. 'dense' has a bias for each value and no batch
        norm, 'transposed' a bias for each channel and batch norm.
      last: its last layer. 'conv' is a 3x3 convolution of the largest map,
        'transposed' a 4x4 one that doubles the side.
      up_bias: whether the transposed convolutions of its blocks have biases.
      learned_scale: whether its batch norms have scales.
    """

    resolution: int
    generator_multiples: tuple[int, ...]
    discriminator_multiples: tuple[int, ...]
    first: str
    last: str
    up_bias: bool
    learned_scale: bool


PORTS: dict[str, Port] = {
    # sthalles/blog-resources, folder sagan; at width 16.
    "celeba128_port": Port(
        resolution=128,
        generator_multiples=(32, 16, 8, 4, 2, 1),
        discriminator_multiples=(2, 4, 8, 16, 32),
        first="dense",
        last="conv",
        up_bias=False,
        learned_scale=False,
    ),
    # heykeetae/Self-Attention-GAN; at width 64.
    "lsun64_port": Port(
        resolution=64,
        generator_multiples=(8, 4, 2, 1),
        discriminator_multiples=(1, 2, 4, 8),
        first="transposed",
        last="transposed",
        up_bias=True,
        learned_scale=True,
    ),
}


def generator_plan(
    family: str,
    resolution: int,
    width: int,
    multiples: tuple[int, ...] = (),
    attention_resolutions: tuple[int, ...] = (),
) -> tuple[int, tuple[Stage, ...]]:
    """Returns the number of channels of the 4x4 map, and the blocks.

    Every block doubles the side.

    Args:
      family: a name in PORTS.
      resolution: side of an image.
      width: the unit of the channel table.
      multiples: channels of the 4x4 map and of each block, in units of width; (): those
        of the port.
      attention_resolutions: sides of the feature maps that attention follows.

    Raises:
      UserError: if no generator has these numbers.
    """
    port = PORTS[family]
    blocks = _halvings(resolution) - (1 if port.last == "transposed" else 0)
    first, *features = _features(
        family, resolution, width, multiples, port.generator_multiples, blocks + 1
    )
    stages = [Stage(f, 8 * 2**i, "up", False) for i, f in enumerate(features)]
    return first, with_attention(
        stages,
        attention_resolutions,
        network="generator",
        resolution=resolution,
        width=width,
    )


def discriminator_plan(
    family: str,
    resolution: int,
    width: int,
    multiples: tuple[int, ...] = (),
    attention_resolutions: tuple[int, ...] = (),
) -> tuple[Stage, ...]:
    """Returns the blocks, each of which halves the side, down to 4x4.

    Args:
      family: a name in PORTS.
      resolution: side of an image.
      width: the unit of the channel table.
      multiples: channels of each block, in units of width; (): those of the port.
      attention_resolutions: sides of the feature maps that attention follows.

    Raises:
      UserError: if no discriminator has these numbers.
    """
    table = PORTS[family].discriminator_multiples
    features = _features(
        family, resolution, width, multiples, table, _halvings(resolution)
    )
    stages = [
        Stage(f, resolution // 2**i, "down", False)
        for i, f in enumerate(features, start=1)
    ]
    return with_attention(
        stages,
        attention_resolutions,
        network="discriminator",
        resolution=resolution,
        width=width,
    )


def _halvings(resolution: int) -> int:
    """Returns how often a side must be halved to be 4."""
    halvings = int(math.log2(max(1, resolution))) - 2
    if halvings < 2 or 4 * 2**halvings != resolution:
        raise UserError(
            f"resolution={resolution} is not supported; choose a power of two from 16."
        )
    return halvings


def _features(
    family: str,
    resolution: int,
    width: int,
    multiples: tuple[int, ...],
    table: tuple[int, ...],
    count: int,
) -> list[int]:
    if width < 1:
        raise UserError(f"width={width} is not supported; choose 1 or more.")
    if not multiples and resolution != PORTS[family].resolution:
        raise UserError(
            f"resolution={resolution} is not that of {family}, so its channels do not "
            f"fit; pass {count} channel_multiples, or "
            f"resolution={PORTS[family].resolution}."
        )
    multiples = tuple(multiples) or table
    if len(multiples) != count:
        raise UserError(
            f"channel_multiples={multiples} has the wrong length for {family} at "
            f"{resolution} px; pass {count} multiples."
        )
    if min(multiples) < 1:
        raise UserError(
            f"channel_multiples={multiples} is not supported; choose multiples of 1 or "
            "more."
        )
    return [m * width for m in multiples]
