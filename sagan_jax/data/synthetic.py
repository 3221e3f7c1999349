"""The synthetic source: far pairs, rendered into memory."""

import numpy as np

from sagan_jax.data import far_pairs
from sagan_jax.data.source import Record, Source


class SyntheticSource(Source):
    """Far pairs, rendered into memory once: num_images * resolution^2 * 3 bytes.

    Image i depends on (seed, i) alone, and i counts from `first`: the images beyond
    those of a training set are of the same kind and new. Without labels (num_classes=0)
    the images show four classes.
    """

    def __init__(
        self,
        *,
        num_images: int,
        resolution: int,
        num_classes: int = 4,
        distance: str = "far",
        difficulty: str = "full",
        seed: int = 1,
        first: int = 0,
    ) -> None:
        super().__init__()
        self._images, labels = far_pairs.render_many(
            seed,
            first + np.arange(num_images),
            resolution=resolution,
            num_classes=num_classes or 4,
            distance=distance,
            difficulty=difficulty,
        )
        self._images.flags.writeable = False  # records are views of it
        self._labels = labels if num_classes else np.zeros_like(labels)
        self.labels = self._labels
        self.num_classes = num_classes
        self.identity = (
            f"far pairs {num_images} {num_classes} {distance} {difficulty} {seed}"
        ) + (f" from {first}" if first else "")
        self.class_names = far_pairs.RECIPES[difficulty].shapes[:num_classes]

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns one record; `place` has no effect, since images are squares."""
        return {"image": self._images[index], "label": self._labels[index]}
