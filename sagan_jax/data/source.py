"""The base class of image sources: records by index, and facts about them."""

import abc
import hashlib
from collections import deque
from typing import TypedDict

import numpy as np

from sagan_jax.errors import UserError


class Record(TypedDict):
    """One image, uint8 [H, W, C], and its label, int32 []."""

    image: np.ndarray
    label: np.int32


class ClassesMissingError(UserError):
    """Images without classes; a caller that needs no labels can still read them."""


class Source(abc.ABC):
    """A fixed number of records that never change; safe to read from threads.

    A subclass defines `__len__` and `read`, calls `super().__init__()`, and sets the
    attributes whose defaults do not apply.

    Attributes:
      num_classes: number of classes; 0 without labels, when each label is 0.
      class_names: name of each class, by label; empty without labels.
      can_crop: whether `place` matters; stored squares leave no choice.
      labels: label of each record, [N]; None if only reading a record tells.
      identity: text that differs between any two sets of images; '' if unknown.
    """

    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    can_crop: bool = False
    labels: np.ndarray | None = None
    identity: str = ""

    def __init__(self) -> None:
        self._messages: deque[str] = deque()

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns one record.

        Args:
          index: index of the record; negative ones count from the end.
          place: position of the square along the image's longer side, in [0, 1); see
            transforms.crop_square.

        Raises:
          IndexError: an index out of range.
          UserError: an image that cannot be read.
        """

    def __getitem__(self, index: int) -> Record:
        """Returns one record with its central square; see `read`."""
        return self.read(index)

    @property
    def replaced(self) -> int:
        """Number of images that failed after the start and were replaced by others."""
        return 0

    def encloses(self, path: str) -> bool:
        """Returns whether an image file at `path` would become one of the images."""
        return False

    def messages(self) -> list[str]:
        """Returns the messages for the user since the last call."""
        # popleft is atomic: reading threads may append meanwhile.
        return [self._messages.popleft() for _ in range(len(self._messages))]

    def digest(self) -> str:
        """Returns the sha256 of `identity`; '' if it is unknown."""
        # Class names may be file names that are not UTF-8.
        identity = self.identity.encode(errors="surrogateescape")
        return hashlib.sha256(identity).hexdigest() if identity else ""


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Raises UserError for a label that a model of `num_classes` does not have.

    jax does not raise for an index out of range: a gather clamps it silently.
    """
    bad = labels[(labels < 0) | (labels >= num_classes)]
    if num_classes and bad.size:
        raise UserError(
            f"label={bad[0]} is out of range for model.num_classes={num_classes}, "
            f"whose labels are 0 to {num_classes - 1}; correct the labels of the data, "
            "or set --config.model.num_classes to their number."
        )
