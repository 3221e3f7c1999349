"""How far attention reaches, and how concentrated it is, as numbers.

Lengths are in pixels of the feature map, y first. Query (i, j) lies at (i + 0.5,
j + 0.5). A key that was pooled from 2x2 pixels lies at their corner: attention to a
query's own cell has distance 0.707 there, not 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Grid = tuple[int, int]


class Reach(NamedTuple):
    """The reach of one layer's attention, averaged over queries, then over images.

    Attributes:
      distance: mean distance between a query and what it attends to, weighted by
        attention, as a fraction of the map's diagonal.
      uniform_distance: the same for uniform attention.
      distance_ratio: `distance` / `uniform_distance`; below 1, attention is nearer to
        its queries than chance.
      entropy: -sum_k w_k ln w_k / ln(number of keys): 1 for uniform attention, 0 if
        every query attends to one key.
    """

    distance: float
    uniform_distance: float
    distance_ratio: float
    entropy: float


def reach(weights: Floats, queries: Grid, keys: Grid) -> Reach:
    """Returns the reach of attention weights.

    Args:
      weights: [N, H*W, H'*W'], row-major, whose rows sum to 1; N is at least 1.
      queries: (H, W), the grid of the queries.
      keys: (H', W'), the grid of the keys: (H, W), or (H/2, W/2) if they are pooled.

    Raises:
      ValueError: the shapes do not fit together.
    """
    lengths = distances(queries, keys)
    if weights.ndim != 3 or weights.shape[1:] != lengths.shape or not len(weights):
        raise ValueError(
            f"weights of shape {weights.shape} do not fit queries {queries} and keys "
            f"{keys}, which need [N, {lengths.shape[0]}, {lengths.shape[1]}]."
        )
    # Image by image: the float64 copies of a large layer take a GB.
    each = [
        (float((w * lengths).sum(-1).mean()), float(_entropy(w).mean()))
        for w in (np.asarray(image, np.float64) for image in weights)
    ]
    distance, entropy = np.mean(each, axis=0)
    uniform = lengths.mean()
    return Reach(
        distance=float(distance),
        uniform_distance=float(uniform),
        distance_ratio=float(distance / uniform),
        entropy=float(entropy),
    )


def distances(queries: Grid, keys: Grid) -> Floats:
    """Returns [H*W, H'*W']: distances of queries and keys in diagonals of the map."""
    q, k = centres(queries, queries), centres(keys, queries)
    return np.linalg.norm(q[:, None] - k[None], axis=-1) / np.hypot(*queries)


def centres(grid: Grid, spread_over: Sequence[float]) -> Floats:
    """Returns [rows * columns, 2], the centres (y, x) of the cells of a grid.

    Args:
      grid: (rows, columns).
      spread_over: height and width of the plane that the cells fill.
    """
    y, x = (
        (np.arange(cells) + 0.5) * length / cells
        for cells, length in zip(grid, spread_over, strict=True)
    )
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)


def most_attended(weights: Floats, keys: Grid, share: float = 0.1) -> Floats:
    """Returns where queries attend to most, (y, x) in [0, 1], [..., 2].

    This is the centroid, weighted by attention, of the keys with the largest weights
    that together hold `share` of the attention.

    Args:
      weights: [..., H'*W'].
      keys: (H', W'), the grid of the keys.
      share: the share of attention that is looked at, in (0, 1].
    """
    order = np.argsort(-weights, axis=-1, kind="stable")
    largest = np.take_along_axis(np.asarray(weights, np.float64), order, axis=-1)
    # A key belongs to them if those before it do not hold the share yet.
    held = np.cumsum(largest, axis=-1) - largest
    largest = np.where(held < share * largest.sum(-1, keepdims=True), largest, 0.0)
    places = centres(keys, (1.0, 1.0))[order]
    return (largest[..., None] * places).sum(-2) / largest.sum(-1)[..., None]


def _entropy(weights: Floats) -> Floats:
    """Returns entropies [Q] in [0, 1] of weights [Q, K]; 0 for a single key."""
    count = weights.shape[-1]
    logarithms = np.log(weights, out=np.zeros_like(weights), where=weights > 0)
    # No sum of terms p ln p is negative zero.
    return np.abs((weights * logarithms).sum(-1)) / np.log(max(count, 2))
