"""Channel tables, and the plan of a network's blocks.

Plain numbers, without jax: which blocks a network has, how wide each one is, and which
ones attention follows.
"""

import math
from typing import NamedTuple

from sagan_jax.errors import UserError

# Channels in units of width. The first entry of a generator is its 4x4 map, and each
# later entry is a block that doubles the side. The entries of a discriminator are its
# blocks; the first DOWN[resolution] of them halve the side.
GENERATOR_MULTIPLES: dict[int, tuple[int, ...]] = {
    32: (4, 4, 4, 4),
    64: (16, 16, 8, 4, 2),
    128: (16, 16, 8, 4, 2, 1),
    256: (16, 16, 8, 8, 4, 2, 1),
}
DISCRIMINATOR_MULTIPLES: dict[int, tuple[int, ...]] = {
    32: (2, 2, 2, 2),
    64: (1, 2, 4, 8, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
}
DOWN = {32: 2, 64: 4, 128: 5, 256: 6}


class Stage(NamedTuple):
    """One residual block.

    Attributes:
      features: number of output channels.
      resolution: side of the output.
      resample: 'up', 'down', or '' if the side is unchanged.
      attention: whether attention follows the block.
    """

    features: int
    resolution: int
    resample: str
    attention: bool


def generator_plan(
    resolution: int,
    width: int,
    multiples: tuple[int, ...] = (),
    attention_resolutions: tuple[int, ...] = (),
) -> tuple[int, tuple[Stage, ...]]:
    """Returns the number of channels of the 4x4 map, and the blocks.

    Args:
      resolution: side of an image.
      width: the unit of the channel table.
      multiples: channels of the 4x4 map and of each block, in units of width; ():
        those in GENERATOR_MULTIPLES.
      attention_resolutions: sides of the feature maps that attention follows.

    Raises:
      UserError: if no generator has these numbers.
    """
    multiples = _multiples(resolution, width, multiples, GENERATOR_MULTIPLES)
    blocks = int(math.log2(resolution)) - 2
    if len(multiples) != blocks + 1:
        raise UserError(
            f"channel_multiples={multiples} has the wrong length for a {resolution} px "
            f"generator, which has a 4x4 map and {blocks} blocks; pass {blocks + 1} "
            "multiples."
        )
    first, *features = (m * width for m in multiples)
    stages = [Stage(f, 8 * 2**i, "up", False) for i, f in enumerate(features)]
    return first, with_attention(
        stages,
        attention_resolutions,
        network="generator",
        resolution=resolution,
        width=width,
    )


def discriminator_plan(
    resolution: int,
    width: int,
    multiples: tuple[int, ...] = (),
    attention_resolutions: tuple[int, ...] = (),
) -> tuple[Stage, ...]:
    """Returns the blocks.

    Args:
      resolution: side of an image.
      width: the unit of the channel table.
      multiples: channels of each block, in units of width; (): those in
        DISCRIMINATOR_MULTIPLES. The first DOWN[resolution] blocks halve the side.
      attention_resolutions: sides of the feature maps that attention follows.

    Raises:
      UserError: if no discriminator has these numbers.
    """
    multiples = _multiples(resolution, width, multiples, DISCRIMINATOR_MULTIPLES)
    down = DOWN[resolution]
    if len(multiples) < down:
        raise UserError(
            f"channel_multiples={multiples} is too short for a {resolution} px "
            f"discriminator, which halves the side {down} times; pass {down} multiples "
            "or more."
        )
    stages = [
        Stage(
            m * width,
            resolution // 2 ** min(i, down),
            "down" if i <= down else "",
            False,
        )
        for i, m in enumerate(multiples, start=1)
    ]
    return with_attention(
        stages,
        attention_resolutions,
        network="discriminator",
        resolution=resolution,
        width=width,
    )


def _multiples(
    resolution: int,
    width: int,
    multiples: tuple[int, ...],
    table: dict[int, tuple[int, ...]],
) -> tuple[int, ...]:
    if resolution not in table:
        *some, last = table
        raise UserError(
            f"resolution={resolution} is not supported; choose "
            f"{', '.join(map(str, some))} or {last}."
        )
    if width < 1:
        raise UserError(f"width={width} is not supported; choose 1 or more.")
    multiples = tuple(multiples) or table[resolution]
    if min(multiples) < 1:
        raise UserError(
            f"channel_multiples={multiples} is not supported; choose multiples of 1 or "
            "more."
        )
    return multiples


def with_attention(
    stages: list[Stage],
    sides: tuple[int, ...],
    *,
    network: str,
    resolution: int,
    width: int,
) -> tuple[Stage, ...]:
    """Returns the stages, with attention after the first of each of these sides."""
    first_of: dict[int, int] = {}
    for index, stage in enumerate(stages):
        first_of.setdefault(stage.resolution, index)
    for side in sides:
        if side not in first_of:
            raise UserError(
                f"attention_resolutions={tuple(sides)} is not supported: a "
                f"{resolution} px {network} has feature maps at "
                f"{', '.join(map(str, sorted(first_of)))}; choose from those."
            )
        index = first_of[side]
        features = stages[index].features
        if features % 8:
            raise UserError(
                f"width={width} gives the {network} {features} channels at "
                f"{side}x{side}, but attention needs a multiple of 8; choose another "
                "width or other attention_resolutions."
            )
        stages[index] = stages[index]._replace(attention=True)
    return tuple(stages)
