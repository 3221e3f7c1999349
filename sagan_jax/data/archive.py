"""The files of a data set where they lie: below a directory, or inside a .zip.

Nothing is ever unpacked to the disk: the name of a zip's member is only a name,
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
"""Of image files, in either case; others are left alone."""

MAX_BYTES = 2**30
"""A file that is longer, or a member that would be, is not read."""

Stamp = tuple[int, int]
"""What tells that a file changed: size and mtime [ns]; in a zip, size and CRC-32."""


@dataclass
class Listing:
    """What lies below a root; names are relative to it, with '/' between parts."""

    images: dict[str, Stamp] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)  # files that are left alone

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
        """Returns all files, but hidden ones."""

    def read(self, name: str) -> bytes:
        """Returns a file's bytes; any exception if there are none to be had."""


def open_archive(path: str, field: str = "data.path") -> Archive:
    """Returns the files of `path`, a directory or a .zip; `field` is its name.

    Raises:
      UserError: neither of them, or a zip that cannot be read.
    """
    root = pathlib.Path(path).expanduser()
    if root.is_dir():
        return Directory(str(root), field)
    if not root.exists():
        raise UserError(
            f"data.path={path!r} does not exist; set --config.data.path=DIR to a "
            "directory of images."
        )
    if root.suffix.lower() != ".zip":
        raise UserError(
            f"data.path={path!r} is neither a directory nor a .zip file; set "
            "--config.data.path to one that holds images."
        )
    try:
        return Zip(str(root))
    # A damaged table of contents raises nearly anything.
    except Exception as error:
        raise UserError(
            f"{field}={path!r} cannot be read as a zip file ({error}); copy or make "
            "it again."
        ) from error


class Directory:
    """The files below a directory, links followed."""

    def __init__(self, root: str, field: str = "data.path") -> None:
        self.root = root
        self._field = field

    def list(self) -> Listing:
        """Returns all that is there, but names that begin with a dot."""
        listing = Listing()
        self._scan("", (), listing)
        return listing

    def read(self, name: str) -> bytes:
        """Returns a file's bytes; OSError or ValueError where there are none."""
        with open(os.path.join(self.root, name), "rb") as file:
            return _read(lambda: file.read(), os.fstat(file.fileno()).st_size)

    def _scan(self, prefix: str, above: tuple[str, ...], listing: Listing) -> None:
        folder = str(pathlib.Path(self.root, prefix))
        real = os.path.realpath(folder)
        if real in above:
            return  # a link to a folder that it lies in would never end
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not _is_hidden(entry.name)]
        except OSError as error:
            raise UserError(
                f"{self._field}: {error.filename!r} cannot be listed "
                f"({error.strerror}); mend its permissions or remove it."
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
        listing.add(name, (0, 0))  # such as a broken link: reading it will say so
        return
    if stat.S_ISREG(status.st_mode):
        listing.add(name, (status.st_size, status.st_mtime_ns))
    else:
        listing.others.append(name)  # opening a pipe would wait for ever


class Zip:
    """The members of a zip file, read in place."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._opened = (os.getpid(), zipfile.ZipFile(root))

    def __reduce__(self) -> tuple[Any, ...]:
        return Zip, (self.root,)

    def list(self) -> Listing:
        """Returns all members, but names with a part that begins with a dot."""
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
        """Returns a member's bytes, its checksum compared; any exception otherwise."""
        archive = self._zip()
        info = archive.getinfo(name)
        return _read(lambda: archive.read(info), info.file_size)

    def _zip(self) -> zipfile.ZipFile:
        # One for each process: after a fork they would share the place in the file.
        # Two threads may open it at once; one of the two is then soon forgotten.
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
    # The second is what macOS adds to a zip.
    return name.startswith(".") or name == "__MACOSX"
