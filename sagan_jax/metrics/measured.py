"""What a network says about two sets of images: the input of every metric's `score`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.rows import Rows
from sagan_jax.metrics.statistics import Provenance, Statistics


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The outputs of a network for one set of images.

    Attributes:
      features: [N, d], float32; may be a memory map.
      provenance: images, network and pipeline that the features come from.
      logits: [N, C] for the inception score, or None.
      labels: [N] classes, or None.
    """

    features: Rows
    provenance: Provenance
    logits: Rows | None = None
    labels: NDArray[np.integer] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """The reference and the generated images, and how they are compared.

    Attributes:
      real: the reference; statistics are enough for some metrics.
      fake: the generated images.
      protocol: the evaluator whose conventions apply.
      kid_kernel: a name from kid.KERNELS.
    """

    real: Measured | Statistics
    fake: Measured
    protocol: Protocol
    kid_kernel: str = "poly"

    @property
    def real_features(self) -> Rows:
        """The features [N, d] of the real images.

        Raises:
          UserError: only their statistics are available.
        """
        return self._real_images.features

    @property
    def logits(self) -> Rows:
        """The logits [N, C] of the generated images.

        Raises:
          UserError: there are none.
        """
        if self.fake.logits is None:
            raise UserError(
                "it needs logits, which require the weights of the whole network; pass "
                "complete weights, or drop this metric."
            )
        return self.fake.logits

    @property
    def labels(self) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
        """The classes of the real and of the generated images.

        Raises:
          UserError: a set has no classes.
        """
        real, fake = self._real_images.labels, self.fake.labels
        if real is None or fake is None:
            side = "real" if real is None else "generated"
            raise UserError(
                f"it needs classes, but the {side} images have none; add classes, or "
                "drop this metric."
            )
        return real, fake

    @property
    def _real_images(self) -> Measured:
        if isinstance(self.real, Statistics):
            raise UserError(
                "it needs each real image, but only statistics of the real images are "
                "available; pass the images, or drop this metric."
            )
        return self.real
