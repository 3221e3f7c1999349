"""The table of channels, and the plan of blocks that follows from it.

Plain numbers: which blocks a network has, how wide they are, and where attention goes.
"""

import math
from typing import NamedTuple

from sagan_jax.errors import UserError

# Channels as multiples of width. A generator's first entry is its 4x4 map, each further
# one a block that doubles the side. A discriminator's entries are its blocks, of which
# the first DOWN[resolution] halve the side.
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
    """One residual block: its channels, its output's side, what it does."""

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
    """Returns the channels of the 4x4 map, and the blocks.

    Args:
      resolution: side of an image.
      width: the unit of the multiples.
      multiples: of the 4x4 map and each block; () is the table.
      attention_resolutions: sides of the maps that attention follows.

    Raises:
      UserError: numbers that make no generator.
    """
    multiples = _multiples(resolution, width, multiples, GENERATOR_MULTIPLES)
    blocks = int(math.log2(resolution)) - 2
    if len(multiples) != blocks + 1:
        raise UserError(
            f"channel_multiples={multiples}: a {resolution} px generator has a 4x4 map "
            f"and {blocks} blocks; give {blocks + 1} multiples."
        )
    first, *features = (m * width for m in multiples)
    stages = [Stage(f, 8 * 2**i, "up", False) for i, f in enumerate(features)]
    described = f"width={width} gives the generator"
    kind = f"a {resolution} px generator"
    return first, _with_attention(stages, attention_resolutions, kind, described)


def discriminator_plan(
    resolution: int,
    width: int,
    multiples: tuple[int, ...] = (),
    attention_resolutions: tuple[int, ...] = (),
) -> tuple[Stage, ...]:
    """Returns the blocks; arguments and errors are those of generator_plan.

    Multiples are those of the blocks; the first DOWN[resolution] halve the side.
    """
    multiples = _multiples(resolution, width, multiples, DISCRIMINATOR_MULTIPLES)
    down = DOWN[resolution]
    if len(multiples) < down:
        raise UserError(
            f"channel_multiples={multiples}: a {resolution} px discriminator halves "
            f"the side {down} times; give at least {down} multiples."
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
    described = f"width={width} gives the discriminator"
    kind = f"a {resolution} px discriminator"
    return _with_attention(stages, attention_resolutions, kind, described)


def _multiples(
    resolution: int,
    width: int,
    multiples: tuple[int, ...],
    table: dict[int, tuple[int, ...]],
) -> tuple[int, ...]:
    if resolution not in table:
        raise UserError(
            f"resolution={resolution} cannot be; choose among "
            f"{', '.join(map(str, table))}."
        )
    if width < 1:
        raise UserError(f"width={width} cannot be; choose 1 or more.")
    multiples = tuple(multiples) or table[resolution]
    if min(multiples) < 1:
        raise UserError(f"channel_multiples={multiples}: each must be 1 or more.")
    return multiples


def _with_attention(
    stages: list[Stage], wanted: tuple[int, ...], kind: str, described: str
) -> tuple[Stage, ...]:
    """Returns the stages, with attention after the first of each wanted resolution."""
    first_of: dict[int, int] = {}
    for index, stage in enumerate(stages):
        first_of.setdefault(stage.resolution, index)
    for side in wanted:
        if side not in first_of:
            raise UserError(
                f"attention_resolutions={tuple(wanted)}: {kind} has feature maps at "
                f"{', '.join(map(str, sorted(first_of)))}; choose among those."
            )
        index = first_of[side]
        features = stages[index].features
        if features % 8:
            raise UserError(
                f"{described} {features} channels at {side}x{side}, and attention "
                "there needs a multiple of 8; choose another width or another of "
                "attention_resolutions."
            )
        stages[index] = stages[index]._replace(attention=True)
    return tuple(stages)
