"""The synthetic source: far pairs, rendered into memory."""

import numpy as np

from sagan_jax.data import far_pairs
from sagan_jax.data.source import Record


class SyntheticSource:
    """Far pairs, rendered into memory once: num_images * resolution^2 * 3 bytes.

    Image i depends on (seed, i) alone. Without labels (num_classes=0) the images are
    those of four classes.
    """

    can_crop = False

    def __init__(
        self,
        *,
        num_images: int,
        resolution: int,
        num_classes: int = 4,
        distance: str = "far",
        difficulty: str = "full",
        seed: int = 1,
    ) -> None:
        self._images, self.labels = far_pairs.render_many(
            seed,
            np.arange(num_images),
            resolution=resolution,
            num_classes=num_classes or 4,
            distance=distance,
            difficulty=difficulty,
        )
        self._images.flags.writeable = False  # records are views of it
        if num_classes == 0:
            self.labels = np.zeros_like(self.labels)
        self.num_classes = num_classes
        self.identity = (
            f"far pairs {num_images} {num_classes} {distance} {difficulty} {seed}"
        )
        self.class_names = far_pairs.RECIPES[difficulty].shapes[:num_classes]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Record:
        return {"image": self._images[index], "label": self.labels[index]}

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns a record; there is only one square in it."""
        return self[index]
