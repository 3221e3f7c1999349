"""What a source of images is: records by index, and what it says about itself."""

import hashlib
from collections.abc import Callable
from typing import Protocol, TypedDict

import numpy as np

from sagan_jax.errors import UserError


class Record(TypedDict):
    """One image, uint8 [H, W, C], and its label, int32 []."""

    image: np.ndarray
    label: np.int32


class Source(Protocol):
    """A fixed number of records, each always the same; safe to read from threads.

    Without labels, `num_classes` is 0, `class_names` is empty and each label is 0. One
    that has something to tell has a method `news`, as FolderSource has.

    Attributes:
      num_classes: labels are below it.
      class_names: by label.
      can_crop: whether `place` makes a difference; images that are kept as squares
        leave nothing to choose.
    """

    num_classes: int
    class_names: tuple[str, ...]
    can_crop: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns a record, its square at `place` in [0, 1) of the longer side."""


def news(source: Source) -> list[str]:
    """Returns the sentences that a source has for a person since the last call."""
    tell: Callable[[], list[str]] = getattr(source, "news", list)
    return tell()


def replaced(source: Source) -> int:
    """Returns how many images failed under way, so that others took their place."""
    return getattr(source, "replaced", 0)


def labels(source: Source) -> np.ndarray | None:
    """Returns the label of each record, [N], where a source knows them unread."""
    return getattr(source, "labels", None)


def digest(source: Source) -> str:
    """Returns what tells a source's images from all others; '' if it does not say."""
    # Names of classes need not be UTF-8.
    identity = getattr(source, "identity", "").encode(errors="surrogateescape")
    return hashlib.sha256(identity).hexdigest() if identity else ""


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Raises UserError for a label that a model of `num_classes` does not have.

    An index out of range is not an error in jax: a gather clamps it, silently.
    """
    bad = labels[(labels < 0) | (labels >= num_classes)]
    if num_classes and bad.size:
        raise UserError(
            f"label={bad[0]} does not fit model.num_classes={num_classes}, whose "
            f"labels are 0 to {num_classes - 1}; mend the labels of the data, or set "
            "--config.model.num_classes to their number."
        )
