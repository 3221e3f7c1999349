"""Mean and covariance of features, streamed and merged, with their provenance."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.rows import Doubles

DEFAULT_ENCODER = "inception"
"""The encoder of features whose provenance, of an earlier version, names none."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The images that features come from, and how the features were computed.

    Two sets are comparable only if their `encoder`, `pipeline`, `tap` and `weights` are
    equal.
    """

    data_set: str
    split: str
    preprocessing: str  # from files to uint8, such as 'centre crop, 128 px'
    pipeline: str  # from uint8 to the network's inputs
    tap: str  # the layer
    weights: str  # digest of the network's weights
    encoder: str = DEFAULT_ENCODER


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """The count, mean and covariance of features, in float64.

    Statistics are immutable: `add` and `merge` return new ones. Order and batch size
    change the result by rounding only, because large squares are never subtracted from
    each other.

    Reference: Chan, Golub and LeVeque 1983, https://doi.org/10.2307/2683386
    """

    n: int | None  # None if the file that they were read from has no count
    mean: Doubles  # [d]
    m2: Doubles  # [d, d]: (n - 1) cov, or cov if n is None
    provenance: Provenance | None = None

    @classmethod
    def empty(cls, d: int, provenance: Provenance | None = None) -> "Statistics":
        """Returns the statistics of zero images."""
        return cls(0, np.zeros(d), np.zeros((d, d)), provenance)

    @classmethod
    def of(
        cls, features: ArrayLike, provenance: Provenance | None = None
    ) -> "Statistics":
        """Returns the statistics of features [N, d], converted to float64 in blocks.

        Raises:
          UserError: invalid features, or none.
        """
        rows = rows_lib.as_rows(features, "features")
        result = cls.empty(rows.shape[1], provenance)
        for block in rows_lib.blocks(rows):
            result = result._add_rows(block)
        return result

    @property
    def d(self) -> int:
        """The number of features."""
        return len(self.mean)

    @property
    def cov(self) -> Doubles:
        """The covariance [d, d] with divisor n - 1.

        Raises:
          UserError: fewer than 2 images.
        """
        if self.n is None:
            return self.m2
        if self.n < 2:
            raise UserError(
                f"n={self.n} images have no covariance; pass at least 2, and for a "
                "reliable result many more images than features."
            )
        return self.m2 / (self.n - 1)

    def add(self, features: ArrayLike) -> "Statistics":
        """Returns the statistics with features [n, d] added; n may be 0.

        Raises:
          UserError: invalid features, different d, or an unknown count.
        """
        rows = rows_lib.as_rows(features, "features", at_least=0)
        if rows.shape[1] != self.d:
            raise UserError(
                f"features of shape {rows.shape} cannot be added to statistics with "
                f"d={self.d}; take all from the same tap of the same network."
            )
        result = self
        for block in rows_lib.blocks(rows):
            result = result._add_rows(block)
        return result

    def merge(self, other: "Statistics") -> "Statistics":
        """Returns the statistics of the union of both sets.

        Raises:
          UserError: different d or provenance, or an unknown count.
        """
        rows_lib.check_one_width(self.d, other.d)
        if self.provenance != other.provenance:
            raise UserError(
                f"provenance={self.provenance} differs from {other.provenance}; before "
                "merging, set both to the provenance of the union with "
                "dataclasses.replace."
            )
        ours, theirs = known_count(self), known_count(other)
        n = ours + theirs
        if n == 0:
            return self
        # Chan et al.: m2 = m2_a + m2_b + gap gap' n_a n_b / n.
        gap = other.mean - self.mean
        scaled = gap * np.sqrt(ours * (theirs / n))
        m2 = np.outer(scaled, scaled)
        m2 += self.m2
        m2 += other.m2
        return dataclasses.replace(
            self, n=n, mean=self.mean + gap * (theirs / n), m2=m2
        )

    def _add_rows(self, rows: Doubles) -> "Statistics":
        if not len(rows):
            return self
        mean = rows.mean(axis=0)
        centred = rows - mean
        return self.merge(
            Statistics(len(rows), mean, centred.T @ centred, self.provenance)
        )


def check_same_pipeline(real: Statistics, fake: Statistics) -> None:
    """Checks that two statistics were measured in the same way.

    Two statistics without provenance pass, since there is nothing to compare.

    Raises:
      UserError: a different encoder, pipeline, tap or weights, or only one has a
        provenance.
    """
    if real.provenance is None or fake.provenance is None:
        if real.provenance is not fake.provenance:
            side = "real" if real.provenance is None else "fake"
            raise UserError(
                f"{side} statistics have no provenance, but those they are compared "
                "with do; set it with load(path, assume=Provenance(...)) or "
                "Statistics.of(features, Provenance(...))."
            )
        return
    for field in ("encoder", "pipeline", "tap", "weights"):
        ours, theirs = (getattr(s.provenance, field) for s in (real, fake))
        if ours != theirs:
            raise UserError(
                f"{field}={ours!r} of the real images differs from {field}={theirs!r} "
                "of the generated images; measure both in the same way."
            )


def known_count(statistics: Statistics) -> int:
    """Returns n.

    Raises:
      UserError: n is unknown.
    """
    if statistics.n is None:
        raise UserError(
            "n=None: statistics from a file without a count can be compared, but not "
            "extended, merged or saved; measure the images again."
        )
    return statistics.n
