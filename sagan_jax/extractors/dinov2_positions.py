"""Positions of DINOv2 for inputs of another size than in training.

The network was trained on 37 x 37 patches. For other grids, its table of positions is
resized, and the two implementations in use do so at slightly different places.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError

_CUBIC = -0.75  # of PyTorch's bicubic interpolation without antialiasing


def interpolated(
    positions: NDArray[np.float32], side: int, variant: str = "hub"
) -> NDArray[np.float32]:
    """Returns positions [1 + side**2, width] for a grid of `side` x `side` patches.

    The class token's position comes first and stays as it is.

    Args:
      positions: [1 + n**2, width], the trained table.
      side: patches per side of the input.
      variant: 'hub', as in the release of DINOv2 that published distances use; or
        'transformers', which reads the table at the centres of the new patches.

    Raises:
      UserError: an unknown variant.
    """
    if variant not in VARIANTS:
        raise UserError(
            f"variant={variant!r} is not known; choose among {', '.join(VARIANTS)}."
        )
    token, grid = positions[:1], positions[1:]
    length = round(len(grid) ** 0.5)
    if side == length:
        return positions
    matrix = _matrix(length, side, VARIANTS[variant](length, side))
    table = grid.reshape(length, length, -1).astype(np.float64)
    table = np.einsum("ia,jb,abc->ijc", matrix, matrix, table, optimize=True)
    found = table.reshape(side * side, -1).astype(np.float32)
    return np.concatenate([token, found])


def _hub(length: int, side: int) -> float:
    """Returns the step between patches, in patches of the table.

    The release passes a scale factor, with 0.1 added against rounding of the output's
    size, and PyTorch reads the table with that factor rather than with the ratio of
    the sizes.

    Reference: facebookresearch/dinov2:dinov2/models/vision_transformer.py,
    `interpolate_pos_encoding`.
    """
    return length / (side + 0.1)


def _transformers(length: int, side: int) -> float:
    """Returns the step between patches: the ratio of the sizes.

    Reference: huggingface/transformers:src/transformers/models/dinov2/
    modeling_dinov2.py, `interpolate_pos_encoding`.
    """
    return length / side


VARIANTS: dict[str, Callable[[int, int], float]] = {
    "hub": _hub,
    "transformers": _transformers,
}
"""The ways to resize the table, by name."""


def _matrix(length: int, side: int, step: float) -> NDArray[np.float64]:
    """Returns [side, length]: cubic interpolation at (i + 0.5) * step - 0.5."""
    where = (np.arange(side) + 0.5) * step - 0.5
    low = np.floor(where).astype(int)
    matrix = np.zeros((side, length))
    for tap in range(-1, 3):
        weight = _cubic(where - low - tap)
        # Taps beyond the border read the border.
        place = np.clip(low + tap, 0, length - 1)
        np.add.at(matrix, (np.arange(side), place), weight)
    return matrix


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns Keys' cubic kernel at distances x in [-2, 2]."""
    a, x = _CUBIC, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, far)
