"""Mean and covariance of features, streamed and merged, and where they are from."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.rows import Doubles


@dataclass(frozen=True, slots=True)
class Provenance:
    """What features were taken of, and how; two numbers compare only if all is known.

    `pipeline`, `tap` and `weights` must be those of the set compared with.
    """

    data_set: str
    split: str
    preprocessing: str  # from the files to uint8, such as 'centre crop, 128 px'
    pipeline: str  # from uint8 to the network
    tap: str  # the layer
    weights: str  # a digest of the network's weights


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """The count, mean and spread of features, all in float64.

    Nothing changes in place: `add` and `merge` return new statistics. Order, batches
    and merges matter to rounding only (Chan, Golub and LeVeque 1983), since nowhere
    large squares are subtracted from each other.
    """

    n: int | None  # None: read from a file that does not say
    mean: Doubles  # [d]
    m2: Doubles  # [d, d]: (n - 1) cov; without n the cov itself
    provenance: Provenance | None = None

    @classmethod
    def empty(cls, d: int, provenance: Provenance | None = None) -> "Statistics":
        """Returns the statistics of no features yet."""
        return cls(0, np.zeros(d), np.zeros((d, d)), provenance)

    @classmethod
    def of(
        cls, features: ArrayLike, provenance: Provenance | None = None
    ) -> "Statistics":
        """Returns the statistics of features [N, d], which need not fit as float64.

        Raises:
          UserError: features of another kind, or none.
        """
        rows = rows_lib.as_rows(features, "features")
        result = cls.empty(rows.shape[1], provenance)
        for block in rows_lib.blocks(rows):
            result = result._add_rows(block)
        return result

    @property
    def d(self) -> int:
        """The length of a feature vector."""
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
                f"n={self.n} images have no covariance; pass at least 2, and many more "
                "than features for a number that means much."
            )
        return self.m2 / (self.n - 1)

    def add(self, features: ArrayLike) -> "Statistics":
        """Returns the statistics with features [n, d] added; n may be 0.

        Raises:
          UserError: features of another kind or width, or the count is not known.
        """
        rows = rows_lib.as_rows(features, "features", at_least=0)
        if rows.shape[1] != self.d:
            raise UserError(
                f"features of shape {rows.shape} cannot be added to statistics of "
                f"d={self.d}; take all from one tap of one network."
            )
        result = self
        for block in rows_lib.blocks(rows):
            result = result._add_rows(block)
        return result

    def merge(self, other: "Statistics") -> "Statistics":
        """Returns the statistics of both sets together.

        Raises:
          UserError: different d or provenance, or a count is not known.
        """
        rows_lib.check_one_width(self.d, other.d)
        if self.provenance != other.provenance:
            raise UserError(
                f"provenance={self.provenance} and {other.provenance} are not one; "
                "before merging give both the provenance of the whole with "
                "dataclasses.replace."
            )
        ours, theirs = known_count(self), known_count(other)
        n = ours + theirs
        if n == 0:
            return self
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
    """Refuses statistics that were not measured alike.

    Two of unknown provenance pass: then nobody has claimed anything.

    Raises:
      UserError: another pipeline, tap or weights; or only one side says what it is.
    """
    if real.provenance is None or fake.provenance is None:
        if real.provenance is not fake.provenance:
            side = "real" if real.provenance is None else "fake"
            raise UserError(
                f"{side} statistics of unknown provenance cannot be compared with "
                "known ones; state what they are with load(path, assume=Provenance("
                "...)) or Statistics.of(features, Provenance(...))."
            )
        return
    for field in ("pipeline", "tap", "weights"):
        ours, theirs = (getattr(s.provenance, field) for s in (real, fake))
        if ours != theirs:
            raise UserError(
                f"{field}={ours!r} of the real statistics is not the fake ones' "
                f"{theirs!r}; measure both in one way."
            )


def known_count(statistics: Statistics) -> int:
    """Returns n.

    Raises:
      UserError: it is not known.
    """
    if statistics.n is None:
        raise UserError(
            "n=None: statistics from a file without a count can be compared, but not "
            "added to, merged or saved; measure that set again."
        )
    return statistics.n
