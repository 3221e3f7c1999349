"""Layers of the discriminator that are not trained: those nearest the image.

Their parameters have no optimizer state, since the moments of Adam would move them even
with a gradient of zero, and their `u` stays as it is.

Reference: Mo et al. 2020, https://arxiv.org/abs/2002.10964 (freeze-D).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sagan_jax.errors import UserError
from sagan_jax.networks import Discriminator

Tree = Any


def layers(discriminator: Discriminator, count: int) -> tuple[str, ...]:
    """Returns the names of the first `count` blocks, and the attention after each.

    Raises:
      UserError: the discriminator has fewer blocks.
    """
    if not count:
        return ()
    stages = discriminator.plan()
    if count > len(stages):
        raise UserError(
            f"train.freeze_discriminator={count} is more than the {len(stages)} blocks "
            f"of this discriminator; choose at most {len(stages)}."
        )
    names: list[str] = []
    for number, stage in enumerate(stages[:count], start=1):
        names.append(f"block{number}")
        if stage.attention:
            names.append(f"attention{stage.resolution}")
    return tuple(names)


def trainable(params: Mapping[str, Tree], frozen: Iterable[str]) -> dict[str, Tree]:
    """Returns the layers of `params` that are not frozen."""
    return {name: tree for name, tree in params.items() if name not in frozen}
