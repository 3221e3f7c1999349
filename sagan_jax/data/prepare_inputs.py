"""What images can be prepared from: a folder, a .zip, LSUN's LMDB, a TFDS data set."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sagan_jax.data import archive as archives
from sagan_jax.data import folder, lsun
from sagan_jax.data.archive import Archive
from sagan_jax.data.tfds import Pictures
from sagan_jax.data.tfds_catalogue import Words
from sagan_jax.errors import UserError


class Reader(Protocol):
    """Image files by key; a pickle of it reads in another process."""

    def read(self, key: Any) -> tuple[bytes, int]:
        """Returns an image file and its label; any exception if there is none."""

    def name(self, key: Any) -> str:
        """Returns what a person calls it, within where the images come from."""


@dataclass
class Input:
    """Images to be prepared, in the order they will have.

    Attributes:
      origin: where they come from, for people.
      contents: sha256 of their names and what tells that one of them changed.
      class_names: by label; empty without labels.
      keys: of all images, for the reader.
      reader: of the images.
    """

    origin: str
    contents: str
    class_names: tuple[str, ...]
    keys: Sequence[Any]
    reader: Reader

    def name(self, index: int) -> str:
        """Returns what a person calls an image."""
        key = self.keys[index]
        return f"{self.origin}: {self.reader.name(key)}"


def open_input(where: str, *, labelled: bool = True, data_dir: str = "") -> Input:
    """Returns the images of `where`.

    Args:
      where: a folder or .zip with a sub-folder for each class, an LMDB directory or one
        of several, or tfds:NAME[:SPLIT].
      labelled: whether classes are to be found; without them every image counts.
      data_dir: the directory of all data sets of tensorflow-datasets; '' is its own.

    Raises:
      UserError: none of them, or nothing in it.
    """
    if where.startswith("tfds:"):
        return _tfds(where, labelled, data_dir)
    path = os.path.abspath(os.path.expanduser(where))
    if data_dir:
        raise UserError(
            f"--data_dir={data_dir!r} goes with IN=tfds:NAME, not with IN={where!r}; "
            "leave it out."
        )
    if not os.path.exists(path):
        raise UserError(
            f"IN={where!r} does not exist; give a folder or .zip of images, an LMDB "
            "directory, or tfds:NAME."
        )
    if not os.path.isdir(path) and not path.lower().endswith(".zip"):
        raise UserError(
            f"IN={where!r} is neither a directory nor a .zip file; give one that holds "
            "images."
        )
    found = lsun.find(path) if os.path.isdir(path) else {}
    if found:
        return _lmdb(path, found, labelled)
    return _files(path, labelled)


class _Files:
    """The files of an archive by (name, label)."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def read(self, key: tuple[str, int]) -> tuple[bytes, int]:
        name, label = key
        return self._archive.read(name), label

    def name(self, key: tuple[str, int]) -> str:
        return key[0]


def _files(path: str, labelled: bool) -> Input:
    archive = archives.open_archive(path, "IN")
    listing = archive.list()
    if not listing.images:
        raise UserError(
            f"IN={path!r} holds no images ({', '.join(archives.SUFFIXES)}); give a "
            "folder or .zip with one sub-folder of images for each class."
        )
    classes = {"": sorted(listing.images)}
    if labelled:
        unlabelled = "add --unlabelled"
        classes = folder.classes_of(path, listing, field="IN", unlabelled=unlabelled)
    digest = hashlib.sha256()
    for name in sorted(listing.images):
        digest.update(
            f"{name}\0{listing.images[name]}\n".encode(errors="surrogateescape")
        )
    return Input(
        origin=path,
        contents=digest.hexdigest(),
        class_names=tuple(classes) if labelled else (),
        keys=[(n, label) for label, c in enumerate(classes.values()) for n in c],
        reader=_Files(archive),
    )


def _lmdb(path: str, found: dict[str, str], labelled: bool) -> Input:
    lmdb = lsun.Lmdb(list(found.values()))
    # A single one has no classes to tell apart.
    class_names = tuple(found) if labelled and "" not in found else ()
    keys = [(label, key) for label in range(len(found)) for key in lmdb.keys(label)]
    if not keys:
        raise UserError(
            f"IN={path!r} is an LMDB directory without images; get it again."
        )
    return Input(path, lmdb.stamp(), class_names, keys, lmdb)


def _tfds(where: str, labelled: bool, data_dir: str) -> Input:
    # A version such as :3.0.2 belongs to the name.
    form = re.fullmatch(r"tfds:([^:]+(?::\d[\d.*]*)?)(?::(.+))?", where)
    if form is None:
        raise UserError(f"IN={where!r} names no data set; write tfds:NAME[:SPLIT].")
    name, split = form[1], form[2] or "train"
    say = Words("IN='tfds:{}'", "The split {!r}", "--data_dir {}")
    pictures = Pictures(name, split, data_dir, say)
    origin = f"tfds:{pictures.full_name}:{split}"
    stamp = hashlib.sha256(f"{origin} {len(pictures)}".encode()).hexdigest()
    class_names = pictures.class_names if labelled else ()
    return Input(origin, stamp, class_names, range(len(pictures)), pictures)
