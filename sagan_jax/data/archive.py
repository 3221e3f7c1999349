"""The files of a data set, in a directory or inside a .zip.

Zip files are read in place and never unpacked, so the name of a member is harmless
wherever it points.
"""

import os
import pathlib
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sagan_jax.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Suffixes of image files, in upper or lower case; other files are ignored."""

MAX_BYTES = 2**30
"""Maximum size of a file, or of an unpacked member; larger ones are not read."""

Stamp = tuple[int, int]
"""Changes when the file does: size and mtime [ns]; in a zip, size and CRC-32."""


@dataclass
class Listing:
    """The contents of a directory or zip; names are relative, parts separated by '/'.

    Attributes:
      images: stamp of each image file, by name.
      folders: names of all folders.
      others: names of the files that are ignored.
    """

    images: dict[str, Stamp] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)

    def add(self, name: str, stamp: Stamp) -> None:
        """Adds a file, as an image if its suffix says so."""
        if name.lower().endswith(SUFFIXES):
            self.images[name] = stamp
        else:
            self.others.append(name)


class Archive(Protocol):
    """Files by name; safe to read from threads, and after a fork or a pickle."""

    root: str

    def list(self) -> Listing:
        """Returns all files that are not hidden."""

    def read(self, name: str) -> bytes:
        """Returns the bytes of a file; raises any exception if that fails."""


def open_archive(path: str) -> Archive:
    """Returns the files of `path`, a directory or a .zip.

    Raises:
      UserError: `path` is neither, or is a zip file that cannot be read.
    """
    root = pathlib.Path(path).expanduser()
    if root.is_dir():
        return Directory(str(root))
    if not root.exists():
        raise UserError(
            f"{path!r} does not exist; choose a directory or a .zip file of images."
        )
    if root.suffix.lower() != ".zip":
        raise UserError(
            f"{path!r} is neither a directory nor a .zip file; choose one that "
            "contains images."
        )
    try:
        return Zip(str(root))
    # A damaged table of contents raises nearly anything.
    except Exception as error:
        raise UserError(
            f"{path!r} cannot be read as a zip file ({error}); copy it again or "
            "recreate it."
        ) from error


class Directory:
    """The files below a directory; symbolic links are followed."""

    def __init__(self, root: str) -> None:
        self.root = root

    def list(self) -> Listing:
        """Returns all files and folders whose names do not begin with a dot."""
        listing = Listing()
        self._scan("", (), listing)
        return listing

    def read(self, name: str) -> bytes:
        """Returns the bytes of a file.

        Raises:
          OSError: the file cannot be read.
          ValueError: the file is empty or too large.
        """
        with open(os.path.join(self.root, name), "rb") as file:
            return _read(lambda: file.read(), os.fstat(file.fileno()).st_size)

    def _scan(self, prefix: str, above: tuple[str, ...], listing: Listing) -> None:
        folder = str(pathlib.Path(self.root, prefix))
        real = os.path.realpath(folder)
        if real in above:
            return  # a link to one of its own parents, which would recurse forever
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not _is_hidden(entry.name)]
        except OSError as error:
            raise UserError(
                f"{error.filename!r} cannot be listed ({error.strerror}); fix its "
                "permissions or remove it."
            ) from error
        for entry in entries:
            name = prefix + entry.name
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                listing.folders.add(name)
                self._scan(name + "/", (*above, real), listing)
            else:
                _add_entry(listing, name, entry)


def _add_entry(listing: Listing, name: str, entry: os.DirEntry[str]) -> None:
    try:
        status = entry.stat()
    except OSError:
        listing.add(name, (0, 0))  # a broken link, for example: reading it will fail
        return
    if stat.S_ISREG(status.st_mode):
        listing.add(name, (status.st_size, status.st_mtime_ns))
    else:
        listing.others.append(name)  # opening a pipe would block forever


class Zip:
    """The members of a zip file, read in place."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._opened = (os.getpid(), zipfile.ZipFile(root))

    def __reduce__(self) -> tuple[Any, ...]:
        return Zip, (self.root,)

    def list(self) -> Listing:
        """Returns all members without a hidden part in their name."""
        listing = Listing()
        for info in self._zip().infolist():
            *parents, last = info.filename.removesuffix("/").split("/")
            if {"", ".", ".."} & {*parents, last}:
                listing.others.append(info.filename)  # it points out of the zip
                continue
            if any(map(_is_hidden, (*parents, last))):
                continue
            if not info.is_dir():
                listing.add(info.filename, (info.file_size, info.CRC))
            else:
                parents.append(last)
            while parents and (folder := "/".join(parents)) not in listing.folders:
                listing.folders.add(folder)
                parents.pop()
        return listing

    def read(self, name: str) -> bytes:
        """Returns the bytes of a member and verifies its checksum."""
        archive = self._zip()
        info = archive.getinfo(name)
        return _read(lambda: archive.read(info), info.file_size)

    def _zip(self) -> zipfile.ZipFile:
        # One for each process: after a fork, two would share one position in the file.
        # If two threads open it at once, one of the two objects is soon discarded.
        owner, archive = self._opened
        if owner != os.getpid():
            archive = zipfile.ZipFile(self.root)
            self._opened = (os.getpid(), archive)
        return archive


def _read(read: Callable[[], bytes], size: int) -> bytes:
    if size == 0:
        raise ValueError("it is empty")
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes, more than {MAX_BYTES}")
    return read()


def _is_hidden(name: str) -> bool:
    # macOS adds __MACOSX to its zip files.
    return name.startswith(".") or name == "__MACOSX"
