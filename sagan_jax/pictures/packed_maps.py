"""Attention maps in few bytes: levels of each map's maximum, and the maxima."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # it imports jax, which packing does not need
    from sagan_jax.evaluation.attention import LayerMaps

MAP_BYTES = 1 << 18
"""Most bytes of one layer of one image: a pooled 32x32 map in 8 bits."""

_COARSER = [(stride, bits) for stride in (1, 2, 4, 8, 16, 32) for bits in (8, 4)]


class Packing(NamedTuple):
    """How the maps of a layer are stored.

    Attributes:
      stride: every how manieth query is kept, down and across.
      bits: bits of a weight, 8 or 4.
    """

    stride: int
    bits: int

    def kept(self, side: int) -> range:
        """Returns the rows or columns of queries that are kept, of `side`.

        They lie in the middle of what they stand for.
        """
        return range(min(self.stride // 2, side - 1), side, self.stride)


def packing(queries: tuple[int, int], keys: tuple[int, int]) -> Packing:
    """Returns the finest packing of a layer's maps in at most MAP_BYTES.

    Args:
      queries: (H, W) of the queries.
      keys: (H', W') of the keys.
    """
    for stride, bits in _COARSER:
        found = Packing(stride, bits)
        if packed_bytes(queries, keys, found) <= MAP_BYTES:
            return found
    return Packing(*_COARSER[-1])


def packed_bytes(queries: tuple[int, int], keys: tuple[int, int], by: Packing) -> int:
    """Returns the bytes of one layer of one image, before they become text."""
    rows, columns = (len(by.kept(side)) for side in queries)
    return -(-rows * columns * keys[0] * keys[1] * by.bits // 8)


def text_bytes(layers: "Sequence[LayerMaps]") -> int:
    """Returns the characters that the maps of one image take in a page."""
    total = 0
    for layer in layers:
        by = packing(layer.queries, layer.keys)
        rows, columns = (len(by.kept(side)) for side in layer.queries)
        # Base64 makes 4 characters of 3 bytes; a maximum is a float32.
        for count in (packed_bytes(layer.queries, layer.keys, by), 4 * rows * columns):
            total += 4 * -(-count // 3)
    return total


def packed(
    weights: np.ndarray, queries: tuple[int, int], by: Packing
) -> tuple[bytes, np.ndarray]:
    """Returns the levels of an image's maps, and their maxima.

    Args:
      weights: float [H*W, keys], rows sum to 1.
      queries: (H, W).
      by: the packing.

    Returns:
      Levels 0..255, or 0..15 in pairs with the first one high, map after map; and
      float32 [kept queries]. Level / highest level * maximum is the weight.
    """
    height, width = queries
    every = weights.reshape(height, width, -1)
    kept = every[np.ix_(by.kept(height), by.kept(width))]
    maps = kept.reshape(-1, weights.shape[-1])
    peaks = maps.max(axis=1).astype("<f4")
    top = 2**by.bits - 1
    scaled = maps / np.maximum(peaks, np.finfo(np.float32).tiny)[:, None]
    levels = (scaled * top).round().clip(0, top).astype(np.uint8).reshape(-1)
    if by.bits == 4:
        levels = np.append(levels, np.zeros(len(levels) % 2, np.uint8))
        levels = levels[0::2] << 4 | levels[1::2]
    return levels.tobytes(), peaks
