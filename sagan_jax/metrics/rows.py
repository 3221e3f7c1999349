"""Rows of numbers as every metric takes them: refused in one sentence, or float64.

Features stay as they were given, float32 or mapped from a file; float64 is made of some
rows at a time, so that 50,000 of 2048 do not cost 800 MB once more.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError

Doubles = NDArray[np.float64]
Rows = NDArray[np.floating]

BLOCK = 2048
"""Rows that are float64 at one time: 32 MiB of 2048 features."""


def as_rows(values: ArrayLike, name: str, at_least: int = 1) -> Rows:
    """Returns `values` [N, d] uncopied, after a look at every number.

    Args:
      values: [N, d] of real numbers; a jax array or a memory map too.
      name: what the user calls them.
      at_least: the N below which the metric means nothing.

    Raises:
      UserError: another shape or type, too few rows, NaN or infinite values.
    """
    rows = np.asarray(values)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise UserError(
            f"{name} of shape {rows.shape} are not [N, d]; pass one row of numbers "
            "for each image."
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
    broken = sum(int((~np.isfinite(part)).any(axis=1).sum()) for part in _parts(rows))
    if broken:
        raise UserError(
            f"{name} hold NaN or infinite values in {broken} of {len(rows)} rows; "
            "measure images of a generator that has not diverged."
        )
    return rows


def as_pair(
    real: ArrayLike, fake: ArrayLike, at_least: int = 1, what: str = "features"
) -> tuple[Rows, Rows]:
    """Returns both sets as `as_rows` does; they must have one d.

    Raises:
      UserError: as `as_rows`, or rows of different lengths.
    """
    pair = (
        as_rows(real, f"real {what}", at_least),
        as_rows(fake, f"fake {what}", at_least),
    )
    check_one_width(pair[0].shape[1], pair[1].shape[1])
    return pair


def check_one_width(real: int, fake: int) -> None:
    """Refuses features of which no difference can be taken.

    Raises:
      UserError: the widths differ.
    """
    if real != fake:
        raise UserError(
            f"real features of d={real} cannot be compared with fake ones of "
            f"d={fake}; take both from one tap of one network."
        )


def blocks(rows: Rows, size: int = BLOCK) -> Iterator[Doubles]:
    """Returns the rows in order as float64 [<= size, d]."""
    for part in _parts(rows, size):
        yield part.astype(np.float64)


def _parts(rows: Rows, size: int = BLOCK) -> Iterator[Rows]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
