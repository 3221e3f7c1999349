"""Inputs of `prepare`: a folder, a .zip, LSUN's LMDB, or a TFDS data set."""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sagan_jax.data import archive as archives
from sagan_jax.data import classes as classes_lib
from sagan_jax.data import contents, lsun
from sagan_jax.data.archive import Archive
from sagan_jax.data.source import ClassesMissingError
from sagan_jax.data.tfds import Pictures
from sagan_jax.data.tfds_catalogue import OtherFormatError
from sagan_jax.errors import UserError, naming
from sagan_jax.files import paths


class Reader(Protocol):
    """Encoded images by key; it can be pickled and used in another process."""

    def read(self, key: Any) -> tuple[bytes, int]:
        """Returns an encoded image and its label; raises any exception on failure."""

    def name(self, key: Any) -> str:
        """Returns the name of an image, relative to the input."""


@dataclass
class Input:
    """The images to prepare, in their final order.

    Attributes:
      origin: the input in words: a path, or tfds:NAME:SPLIT.
      contents: sha256 of the names and stamps of the images.
      class_names: name of each class, by label; empty without labels.
      keys: keys of all images, for the reader.
      reader: reader of the images.
      encloses: tells whether a file at a path would be one of the images.
    """

    origin: str
    contents: str
    class_names: tuple[str, ...]
    keys: Sequence[Any]
    reader: Reader
    encloses: Callable[[str], bool] = lambda path: False

    def name(self, index: int) -> str:
        """Returns the full name of an image, for messages."""
        key = self.keys[index]
        return f"{self.origin}: {self.reader.name(key)}"


def open_input(where: str, *, labelled: bool = True, data_dir: str = "") -> Input:
    """Returns the images of the input `where`.

    Args:
      where: a folder or .zip with one sub-folder per class, an LMDB directory, a
        directory of LMDB directories, or tfds:NAME[:SPLIT].
      labelled: whether images have classes; otherwise every image is used.
      data_dir: directory of the data sets of tensorflow-datasets; '' is its default.

    Raises:
      UserError: the input does not exist, is of another kind, or contains no images.
    """
    if where.startswith("tfds:"):
        return _tfds(where, labelled, data_dir)
    with naming("IN", where):
        path = os.path.abspath(paths.local(where))
    if data_dir:
        raise UserError(
            f"--data_dir={data_dir!r} is only for IN=tfds:NAME, not for IN={where!r}; "
            "remove it."
        )
    if not os.path.exists(path):
        raise UserError(
            f"IN={where!r} does not exist; pass a folder or .zip of images, an LMDB "
            "directory, or tfds:NAME."
        )
    if not os.path.isdir(path) and not path.lower().endswith(".zip"):
        raise UserError(
            f"IN={where!r} is neither a directory nor a .zip file; pass one that "
            "contains images."
        )
    with naming("IN", path):
        found = lsun.find(path) if os.path.isdir(path) else {}
        return _lmdb(path, found, labelled) if found else _files(path, labelled)


class _Files:
    """The image files of an archive, by (name, label)."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def read(self, key: tuple[str, int]) -> tuple[bytes, int]:
        name, label = key
        return self._archive.read(name), label

    def name(self, key: tuple[str, int]) -> str:
        return key[0]


def _files(path: str, labelled: bool) -> Input:
    archive = archives.open_archive(path)
    listing = archive.list()
    if not listing.images:
        raise contents.no_images(path, listing)
    classes = {"": sorted(listing.images)}
    if labelled:
        try:
            classes = classes_lib.classes_of(path, archive, listing)
        except ClassesMissingError as error:
            error.add_remedy(", or add --unlabelled")
            raise
    digest = hashlib.sha256()
    for name in sorted(listing.images):
        digest.update(
            f"{name}\0{listing.images[name]}\n".encode(errors="surrogateescape")
        )
    if labelled:
        digest.update(classes_lib.digest_of(classes, listing))
    return Input(
        origin=path,
        contents=digest.hexdigest(),
        class_names=tuple(classes) if labelled else (),
        keys=[(n, label) for label, c in enumerate(classes.values()) for n in c],
        reader=_Files(archive),
        encloses=archive.encloses,
    )


def _lmdb(path: str, found: dict[str, str], labelled: bool) -> Input:
    lmdb = lsun.Lmdb(list(found.values()))
    # A single LMDB directory has no classes.
    class_names = tuple(found) if labelled and "" not in found else ()
    keys = [(label, key) for label in range(len(found)) for key in lmdb.keys(label)]
    if not keys:
        raise UserError(
            f"{path!r} is an LMDB directory without images; download it again."
        )
    return Input(path, lmdb.stamp(), class_names, keys, lmdb)


def _tfds(where: str, labelled: bool, data_dir: str) -> Input:
    # A version such as :3.0.2 is part of the name.
    form = re.fullmatch(r"tfds:([^:]+(?::\d[\d.*]*)?)(?::(.+))?", where)
    if form is None:
        raise UserError(f"IN={where!r} has no data set name; write tfds:NAME[:SPLIT].")
    name, split = form[1], form[2] or "train"
    with naming("IN"):
        try:
            pictures = Pictures(name, split, data_dir)
        except OtherFormatError as error:
            error.add_remedy(f", then pass --data_dir {error.directory}")
            raise
    origin = f"tfds:{pictures.full_name}:{split}"
    stamp = hashlib.sha256(f"{origin} {len(pictures)}".encode()).hexdigest()
    class_names = pictures.class_names if labelled else ()
    return Input(origin, stamp, class_names, range(len(pictures)), pictures)
