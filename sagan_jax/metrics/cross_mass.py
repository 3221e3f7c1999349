"""How much attention goes from one glyph of a far pair to the other."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Grid = tuple[int, int]


def cross_mass(
    weights: Floats, queries: Grid, keys: Grid, glyphs: NDArray[Any]
) -> float | None:
    """Returns the attention from glyphs to their partners, in units of uniform's.

    For each glyph this is the attention of its queries that falls on the other glyph,
    divided by the share of the image that the other one covers; then the mean over both
    glyphs and over images. 1 is indifference, 0 is attention that avoids the partner.
    Queries and keys that a glyph covers in part count in part.

    Args:
      weights: [N, H*W, H'*W'], row-major, whose rows sum to 1.
      queries: (H, W), the grid of the queries.
      keys: (H', W'), the grid of the keys.
      glyphs: bool [N, 2, S, S], the pixels of both glyphs; S is a multiple of each side
        of the grids. Images with an empty glyph are left out.

    Returns:
      The mean, or None if no image has both glyphs.
    """
    found = []
    for image, pair in zip(weights, glyphs, strict=True):
        asked, covered = _cover(pair, queries), _cover(pair, keys)
        if not pair.any((1, 2)).all():
            continue
        for here, there in ((0, 1), (1, 0)):
            mass = image.astype(np.float64) @ covered[there]
            mean = (asked[here] * mass).sum() / asked[here].sum()
            found.append(mean / covered[there].mean())
    return float(np.mean(found)) if found else None


def _cover(pair: NDArray[Any], grid: Grid) -> Floats:
    """Returns [2, cells], the share of each cell that each glyph covers."""
    rows, columns = grid
    side = pair.shape[-1]
    cells = pair.reshape(2, rows, side // rows, columns, side // columns)
    return cells.mean((2, 4)).reshape(2, -1)
