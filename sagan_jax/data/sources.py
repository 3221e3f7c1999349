"""Where images come from: indexable sources of records, and the table of them.

A source knows nothing of epochs, batches or processes; pipeline.py does. To add one,
write its class, its entry in `SOURCES`, and its name in `config.CHOICES`.
"""

import hashlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from sagan_jax.config import Config
from sagan_jax.data import far_pairs, prepared
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.data.folder import FolderSource
from sagan_jax.data.record import Record
from sagan_jax.data.tfds import TfdsSource
from sagan_jax.errors import UserError


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


def make_source(config: Config) -> Source:
    """Returns the source that `config.data` names, as `config.model` needs it.

    The first record is read, so that a source without one good record fails here.

    Raises:
      UserError: nothing there, nothing readable, or classes that do not fit the model.
    """
    source = SOURCES[config.data.source](config)
    wanted, found = config.model.num_classes, source.num_classes
    if found != wanted:
        names = ", ".join(source.class_names[:5]) + (", ..." if found > 5 else "")
        holds = f"{found} classes ({names})" if found else "images without labels"
        raise UserError(
            f"model.num_classes={wanted}, but {_place(config)} holds {holds}; set "
            f"--config.model.num_classes={found}."
        )
    if config.data.random_crop and not source.can_crop:
        prepared_so = config.data.source == "array_record"
        raise UserError(
            "data.random_crop=True has nothing to choose: the images of this "
            f"data.source={config.data.source!r} are squares already; "
            + ("prepare them with --crop none, or " if prepared_so else "")
            + "set --config.data.random_crop=False."
        )
    check_labels(np.asarray(source[0]["label"]), wanted)
    return source


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


def _place(config: Config) -> str:
    """Returns the field that says which images are meant."""
    if config.data.source == "tfds":
        return f"data.dataset={config.data.dataset!r}"
    return f"data.path={config.data.path!r}"


def _array_record(config: Config) -> Source:
    return ArrayRecordSource(
        config.data.path,
        resolution=config.model.resolution,
        channels=config.model.channels,
        labelled=config.model.num_classes > 0,
    )


def _folder(config: Config) -> Source:
    if prepared.is_prepared(config.data.path):
        raise UserError(
            f"data.path={config.data.path!r} holds prepared images; set "
            "--config.data.source=array_record."
        )
    return FolderSource(
        config.data.path,
        resolution=config.model.resolution,
        channels=config.model.channels,
        labelled=config.model.num_classes > 0,
        max_unreadable=config.data.max_unreadable,
    )


def _synthetic(config: Config) -> Source:
    return SyntheticSource(
        num_images=config.data.num_images,
        resolution=config.model.resolution,
        num_classes=config.model.num_classes,
        distance=config.data.distance,
        difficulty=config.data.difficulty,
        seed=config.data.seed,
    )


def _tfds(config: Config) -> Source:
    return TfdsSource(
        config.data.dataset,
        config.data.split,
        config.data.path,
        resolution=config.model.resolution,
        channels=config.model.channels,
        labelled=config.model.num_classes > 0,
    )


SOURCES: dict[str, Callable[[Config], Source]] = {
    "array_record": _array_record,
    "folder": _folder,
    "synthetic": _synthetic,
    "tfds": _tfds,
}
