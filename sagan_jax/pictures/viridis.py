"""The colours of maps: dark blue for 0, through green, to yellow for the maximum.

They grow evenly in lightness, so that they can be read in grey and by everyone.
"""

import numpy as np

ANCHORS: tuple[str, ...] = ("440154", "472d7b", "3b528b", "2c728e", "21918c")
ANCHORS += ("28ae80", "5ec962", "addc30", "fde725")
"""Viridis (van der Walt and Smith 2015, CC0) at nine evenly spaced places."""


def table() -> np.ndarray:
    """Returns uint8 [256, 3]: the colours of the levels 0 to 255."""
    colors = np.array([list(bytes.fromhex(anchor)) for anchor in ANCHORS], float)
    places = np.linspace(0, 255, len(colors))
    columns = [np.interp(np.arange(256), places, channel) for channel in colors.T]
    return np.stack(columns, axis=1).round().astype(np.uint8)


def gradient() -> str:
    """Returns the colours from left to right, as an image of CSS."""
    return f"linear-gradient(90deg,{','.join(f'#{anchor}' for anchor in ANCHORS)})"
