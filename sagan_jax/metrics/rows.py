"""Feature matrices: checks that every metric shares, and float64 blocks.

Features stay as they are given, float32 or a memory map. They are converted to float64
one block at a time: 50,000 rows of 2048 features would take another 800 MB.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError

Doubles = NDArray[np.float64]
Rows = NDArray[np.floating]

BLOCK = 2048
"""Rows per float64 block: 32 MiB at 2048 features."""


def as_rows(values: ArrayLike, name: str, at_least: int = 1) -> Rows:
    """Returns `values` [N, d] without a copy, after checking every number.

    Args:
      values: real numbers [N, d]; can be a jax array or a memory map.
      name: description of the values for error messages, such as 'real features'.
      at_least: smallest N that the metric is defined for.

    Raises:
      UserError: a wrong shape or type, too few rows, NaN or infinite values.
    """
    rows = np.asarray(values)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise UserError(
            f"{name} of shape {rows.shape} are not [N, d]; pass one row per image."
        )
    if rows.dtype.kind not in "fiu":
        raise UserError(
            f"{name} of type {rows.dtype} are not real numbers; pass float32 or "
            "float64."
        )
    if len(rows) < at_least:
        raise UserError(
            f"{name} of {len(rows)} images are too few; pass at least {at_least}."
        )
    # In blocks, so that a memory map is not loaded as a whole.
    broken = sum(int((~np.isfinite(part)).any(axis=1).sum()) for part in _parts(rows))
    if broken:
        raise UserError(
            f"{name} hold NaN or infinite values in {broken} of {len(rows)} rows; "
            "check that the generator has not diverged."
        )
    return rows


def as_pair(
    real: ArrayLike, fake: ArrayLike, at_least: int = 1, what: str = "features"
) -> tuple[Rows, Rows]:
    """Returns both sets, checked by `as_rows` and for equal d.

    Raises:
      UserError: as in `as_rows`, or different d.
    """
    pair = (
        as_rows(real, f"real {what}", at_least),
        as_rows(fake, f"fake {what}", at_least),
    )
    check_one_width(pair[0].shape[1], pair[1].shape[1])
    return pair


def check_one_width(real: int, fake: int) -> None:
    """Raises UserError if the numbers of features differ."""
    if real != fake:
        raise UserError(
            f"real features with d={real} cannot be compared with fake features with "
            f"d={fake}; take both from the same tap of the same network."
        )


def blocks(rows: Rows, size: int = BLOCK) -> Iterator[Doubles]:
    """Yields the rows in order as float64 blocks [<= size, d]."""
    for part in _parts(rows, size):
        yield part.astype(np.float64)


def _parts(rows: Rows, size: int = BLOCK) -> Iterator[Rows]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
