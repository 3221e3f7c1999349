"""What a source yields: one image and its label."""

from typing import TypedDict

import numpy as np


class Record(TypedDict):
    """One image, uint8 [H, W, C], and its label, int32 []."""

    image: np.ndarray
    label: np.int32
