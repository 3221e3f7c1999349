"""Where images come from: indexable sources of records, and the table of them.

A source knows nothing of epochs, batches or processes; pipeline.py does. To add one,
write its class, its entry in `SOURCES`, and its name in `config.CHOICES`.
"""

import itertools
import os
import pathlib
from collections.abc import Callable
from typing import Protocol, TypedDict

import numpy as np
from PIL import UnidentifiedImageError

from sagan_jax.config import Config
from sagan_jax.data import far_pairs, transforms
from sagan_jax.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Of the files that the folder source reads, in either case; others are left alone."""


class Record(TypedDict):
    """One image, uint8 [H, W, C], and its label, int32 []."""

    image: np.ndarray
    label: np.int32


class Source(Protocol):
    """A fixed number of records, each always the same; safe to read from threads.

    Without labels, `num_classes` is 0, `class_names` is empty and each label is 0.
    """

    num_classes: int
    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


class FolderSource:
    """Image files below a directory, cropped and resized to a square when read.

    With labels, each sub-folder is a class and labels follow the sorted names; without,
    every image below `path` counts, in sub-folders or not. Records are in the order of
    sorted names, whatever the file system. Names that begin with a dot are left out.
    """

    def __init__(
        self, path: str, *, resolution: int, channels: int = 3, labelled: bool = True
    ) -> None:
        root = pathlib.Path(path).expanduser()
        _check_directory(path, root)
        self.class_names = _class_names(path, root) if labelled else ()
        self.num_classes = len(self.class_names)
        self._resolution = resolution
        self._channels = channels
        folders = [root / name for name in self.class_names] or [root]
        files = [_images_below(folder) for folder in folders]
        for name, found in zip(self.class_names, files, strict=False):
            if not found:
                raise UserError(
                    f"data.path={path!r}: the class folder {name!r} holds no images "
                    f"({', '.join(SUFFIXES)}); fill it or remove it."
                )
        self._files = list(itertools.chain.from_iterable(files))
        if not self._files:
            raise _no_images(path)
        labels = np.arange(len(files), dtype=np.int32)
        self._labels = np.repeat(labels, [len(found) for found in files])

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Record:
        """Reads one file; raises UserError, naming it, when it is not readable."""
        file = self._files[index]
        try:
            image = transforms.decode(file)
        # Pillow's decoders raise nearly anything on damaged files.
        except Exception as error:
            unknown = isinstance(error, UnidentifiedImageError)
            cause = "its format is not known" if unknown else error
            raise UserError(
                f"data.path: {file!r} cannot be read as an image ({cause}); "
                "replace or remove it."
            ) from error
        image = transforms.fit(image, self._resolution, self._channels)
        return {"image": image, "label": self._labels[index]}


class SyntheticSource:
    """Far pairs, rendered into memory once: num_images * resolution^2 * 3 bytes.

    Image i depends on (seed, i) alone. Without labels (num_classes=0) the images are
    those of four classes.
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
    ) -> None:
        self._images, self._labels = far_pairs.render_many(
            seed,
            np.arange(num_images),
            resolution=resolution,
            num_classes=num_classes or 4,
            distance=distance,
            difficulty=difficulty,
        )
        self._images.flags.writeable = False  # records are views of it
        if num_classes == 0:
            self._labels = np.zeros_like(self._labels)
        self.num_classes = num_classes
        self.class_names = far_pairs.RECIPES[difficulty].shapes[:num_classes]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Record:
        return {"image": self._images[index], "label": self._labels[index]}


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
        raise UserError(
            f"model.num_classes={wanted}, but data.path={config.data.path!r} holds "
            f"{found} classes ({names}); set --config.model.num_classes={found}."
        )
    check_labels(np.asarray(source[0]["label"]), wanted)
    return source


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


def _folder(config: Config) -> Source:
    return FolderSource(
        config.data.path,
        resolution=config.model.resolution,
        channels=config.model.channels,
        labelled=config.model.num_classes > 0,
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


SOURCES: dict[str, Callable[[Config], Source]] = {
    "folder": _folder,
    "synthetic": _synthetic,
}


def _check_directory(path: str, root: pathlib.Path) -> None:
    if not root.exists():
        raise UserError(
            f"data.path={path!r} does not exist; set --config.data.path=DIR to a "
            "directory of images."
        )
    if not root.is_dir():
        raise UserError(
            f"data.path={path!r} is not a directory; set --config.data.path=DIR to a "
            "directory of images."
        )


def _class_names(path: str, root: pathlib.Path) -> tuple[str, ...]:
    """Returns the sorted names of the sub-folders, at least one."""
    with os.scandir(root) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    names = sorted(entry.name for entry in visible if entry.is_dir())
    loose = sorted(entry.name for entry in visible if _is_image(entry.name))
    if loose:
        raise UserError(
            f"data.path={path!r} holds images outside of class folders, such as "
            f"{loose[0]!r}; move them into a sub-folder for each class, or set "
            "--config.model.num_classes=0 to train without labels."
        )
    if not names:
        raise _no_images(path)
    return tuple(names)


def _images_below(folder: pathlib.Path) -> list[str]:
    """Returns the paths of all images below `folder`, at any depth, sorted."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=_stop, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in files if _is_image(name)]
    return sorted(found)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _stop(error: OSError) -> None:
    # os.walk leaves out what it may not list, unless it is told otherwise.
    raise UserError(
        f"data.path: {error.filename!r} cannot be listed ({error.strerror}); mend its "
        "permissions or remove it."
    ) from error


def _no_images(path: str) -> UserError:
    return UserError(
        f"data.path={path!r} holds no images ({', '.join(SUFFIXES)}); set "
        "--config.data.path=DIR to a directory with one sub-folder of images for each "
        "class."
    )
