"""Viridis, the colours of maps: dark blue for 0, through green, to yellow for the most.

They grow evenly in lightness, so that they can be read in grey and by everyone.

Reference: van der Walt and Smith 2015, in the public domain (CC0).
"""

import numpy as np
from numpy.typing import NDArray

# Every fifth of its 256 levels; linear in between, it is exact to one level.
_NODES = np.frombuffer(
    bytes.fromhex(
        "44015446085c471063481769481d6f482475472a7a46307e453781433d844142873f4889"
        "3d4e8a3a538b38598c355e8d33638d31688e2e6d8e2c718e2a768e297b8e27808e25848e"
        "23898e218e8d20928c1f978b1e9c891fa18821a58524aa8328ae802eb37c35b7793dbc74"
        "46c06f50c46a5ac86465cb5e70cf577cd25089d54895d840a2da37b0dd2fbddf26cae11f"
        "d8e219e5e419f1e51dfde725"
    ),
    np.uint8,
).reshape(-1, 3)


def colours(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns colours [..., 3] in [0, 255] of values [...] in [0, 1]."""
    places = np.linspace(0.0, 1.0, len(_NODES))
    return np.stack([np.interp(values, places, c) for c in _NODES.T], axis=-1)


def table() -> NDArray[np.uint8]:
    """Returns uint8 [256, 3]: the colours of the levels 0 to 255."""
    return colours(np.arange(256) / 255).round().astype(np.uint8)


def gradient() -> str:
    """Returns the colours from left to right, as an image of CSS."""
    levels = np.linspace(0, 255, 9).astype(int)
    stops = (f"#{bytes(colour).hex()}" for colour in table()[levels])
    return f"linear-gradient(90deg,{','.join(stops)})"
