"""The files of a data set, in a directory or inside a .zip.

Zip files are read in place and never unpacked, so the name of a member is harmless
wherever it points.
"""

import contextlib
import itertools
import os
import stat
import zipfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sagan_jax.data.formats import SUFFIXES
from sagan_jax.errors import UserError
from sagan_jax.files import paths

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
      system: names of the folders that systems add, with thumbnails or deleted files;
        nothing in them is listed.
      links: names of the symbolic links to files or folders that are listed under
        another name; nothing below them is listed.
    """

    images: dict[str, Stamp] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)
    system: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)

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

    def encloses(self, path: str) -> bool:
        """Returns whether a file at `path` would be listed, if it were there."""


def open_archive(path: str) -> Archive:
    """Returns the files of `path`, a directory or a .zip.

    Raises:
      UserError: `path` is neither, or is a zip file that cannot be read.
    """
    root = paths.local(path)
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
    """The files below a directory; symbolic links are followed.

    Each file and folder is listed once: under its own name if that is below the
    directory, else under the first link to it.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._linked: list[str] = []  # folders that links lead to

    def list(self) -> Listing:
        """Returns all files and folders whose names do not begin with a dot."""
        scan = _Scan(self.root)
        scan.below("")
        # Links come last: only then is it known which ones lead out.
        while scan.links:
            links, scan.links = sorted(scan.links), []
            for name in links:
                self._linked += scan.follow(name)
        return scan.listing

    def read(self, name: str) -> bytes:
        """Returns the bytes of a file.

        Raises:
          OSError: the file cannot be read.
          ValueError: the file is empty or too large.
        """
        with open(os.path.join(self.root, name), "rb") as file:
            return _read(lambda: file.read(), os.fstat(file.fileno()).st_size)

    def encloses(self, path: str) -> bool:
        """Returns whether a file at `path` would be listed, if it were there.

        Folders that links lead to count once `list` has followed them.
        """
        return any(encloses(root, path) for root in (self.root, *self._linked))


_Identity = tuple[int, int]  # device and inode


@dataclass
class _Scan:
    """A walk through a directory.

    Attributes:
      root: the directory.
      listing: what has been found.
      links: names of the links that are still to be followed.
    """

    root: str
    listing: Listing = field(default_factory=Listing)
    links: list[str] = field(default_factory=list)
    _folders: set[_Identity] = field(default_factory=set)
    _images: set[_Identity] = field(default_factory=set)
    _known: int = 0  # number of images whose identity has been read

    def below(self, top: str) -> None:
        """Lists all below the folder `top`, except for links."""
        waiting = deque([top])  # no recursion: folders nest deeper than the stack
        while waiting:
            folder = waiting.popleft()
            path = os.path.join(self.root, folder) if folder else self.root
            try:
                new = _is_new(os.stat(path), self._folders)
                with os.scandir(path) as found:
                    entries = [entry for entry in found if not _is_hidden(entry.name)]
            except OSError as error:
                raise UserError(
                    f"{path!r} cannot be listed ({error.strerror}); fix its "
                    "permissions or remove it."
                ) from error
            if not new:  # mounted twice
                self.listing.folders.discard(folder)
                self.listing.links.append(folder)
                continue
            prefix = folder and folder + "/"
            for entry in entries:
                name = prefix + entry.name
                if entry.is_symlink():
                    if not _is_of_system(entry.name):
                        self.links.append(name)
                elif not entry.is_dir():
                    _add_entry(self.listing, name, entry)
                elif _is_of_system(entry.name):
                    self.listing.system.add(name)
                else:
                    self.listing.folders.add(name)
                    waiting.append(name)

    def follow(self, name: str) -> list[str]:
        """Lists what a link leads to; returns the folder, if it is a new one."""
        path = os.path.join(self.root, name)
        try:
            status = os.stat(path)
        except OSError:
            self.listing.add(name, (0, 0))  # a broken link: reading it will fail
            return []
        if not stat.S_ISDIR(status.st_mode):
            if self._known < len(self.listing.images):
                self._identify_images()
            if (status.st_dev, status.st_ino) in self._images:
                self.listing.links.append(name)
            else:
                self._add_linked(name, status)
        elif (status.st_dev, status.st_ino) in self._folders:
            self.listing.links.append(name)
        else:
            self.listing.folders.add(name)
            self.below(name)
            return [path]
        return []

    def _add_linked(self, name: str, status: os.stat_result) -> None:
        _add_file(self.listing, name, status)
        # Other files do not matter: a link may give one of them the name of an image.
        if name in self.listing.images:
            _is_new(status, self._images)
            self._known += 1

    def _identify_images(self) -> None:
        """Reads the identity of each image so far, which only links to files need."""
        for name in itertools.islice(self.listing.images, self._known, None):
            with contextlib.suppress(OSError):
                _is_new(os.stat(os.path.join(self.root, name)), self._images)
        self._known = len(self.listing.images)


def _is_new(status: os.stat_result, seen: set[_Identity]) -> bool:
    """Returns whether a file or folder is not among `seen`, after adding it."""
    identity = status.st_dev, status.st_ino
    if identity in seen:
        return False
    if status.st_ino:  # Windows does not always tell
        seen.add(identity)
    return True


def _add_entry(listing: Listing, name: str, entry: os.DirEntry[str]) -> None:
    try:
        status = entry.stat()
    except OSError:
        listing.add(name, (0, 0))  # deleted meanwhile: reading it will fail
    else:
        _add_file(listing, name, status)


def _add_file(listing: Listing, name: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        listing.add(name, (status.st_size, status.st_mtime_ns))
    else:
        listing.others.append(name)  # opening a pipe would block forever


def encloses(root: str, path: str) -> bool:
    """Returns whether `path` is a directory or lies in it, and is not hidden there."""
    root, path = os.path.realpath(root), os.path.realpath(path)
    try:
        if os.path.commonpath([root, path]) != root:
            return False
    except ValueError:  # on different drives of Windows
        return False
    parts = os.path.relpath(path, root).split(os.sep)
    return parts == ["."] or not any(map(_is_left_out, parts))


class Zip:
    """The members of a zip file, read in place."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._opened = _open_zip(root)

    def __reduce__(self) -> tuple[Any, ...]:
        return Zip, (self.root,)

    def list(self) -> Listing:
        """Returns all members without a hidden part in their name."""
        listing = Listing()
        for name, info in self._zip().members.items():
            *parents, last = name.removesuffix("/").split("/")
            parts = (*parents, last)
            if not last:
                continue  # the zip itself
            if ".." in parts:
                listing.others.append(name)  # it points out of the zip
                continue
            if any(map(_is_left_out, parts)):
                listing.system |= _system_folders(parts)
                continue
            if name.endswith("/"):
                parents.append(last)
            else:
                listing.add(name, (info.file_size, info.CRC))
            while parents and (folder := "/".join(parents)) not in listing.folders:
                listing.folders.add(folder)
                parents.pop()
        return listing

    def read(self, name: str) -> bytes:
        """Returns the bytes of a member and verifies its checksum."""
        opened = self._zip()
        info = opened.members[name]
        return _read(lambda: opened.archive.read(info), info.file_size)

    def encloses(self, path: str) -> bool:
        """Returns False: nothing is ever added to a zip file."""
        return False

    def _zip(self) -> "_Opened":
        # One for each process: after a fork, two would share one position in the file.
        # If two threads open it at once, one of the two objects is soon discarded.
        if self._opened.owner != os.getpid():
            self._opened = _open_zip(self.root)
        return self._opened


class _Opened(NamedTuple):
    owner: int  # process
    archive: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo]


def _open_zip(root: str) -> _Opened:
    archive = zipfile.ZipFile(root)
    # Of several members of one name the last counts: it was added later.
    members = {_plain(info.filename): info for info in archive.infolist()}
    return _Opened(os.getpid(), archive, members)


def _plain(name: str) -> str:
    """Returns a member's name without what only spells the same name differently.

    Some programs write back-slashes, './cat/0.png' or '/cat/0.png'.
    """
    name = name.replace("\\", "/")
    if name.startswith(("/", ".")) or "//" in name or "/." in name:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        name = "/".join(parts) + ("/" if name.endswith(("/", "/.")) else "")
    return name


def _read(read: Callable[[], bytes], size: int) -> bytes:
    if size == 0:
        raise ValueError("it is empty")
    if size > MAX_BYTES:
        raise ValueError(f"it has {size} bytes, more than {MAX_BYTES}")
    return read()


_SYSTEM_FOLDERS = {
    "__macosx",  # macOS, in its zip files
    "@eadir",  # Synology: thumbnails
    "#recycle",  # Synology: deleted files
    "#snapshot",
    "@recycle",  # QNAP: deleted files
    "@recently-snapshot",
    "$recycle.bin",  # Windows: deleted files
    "system volume information",
    "lost+found",  # Linux
}


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_of_system(name: str) -> bool:
    return name.lower() in _SYSTEM_FOLDERS


def _is_left_out(name: str) -> bool:
    return _is_hidden(name) or _is_of_system(name)


def _system_folders(parts: tuple[str, ...]) -> set[str]:
    """Returns the outermost system folder of a path, if no hidden one is above it."""
    for depth, part in enumerate(parts):
        if _is_hidden(part):
            break
        if _is_of_system(part):
            return {"/".join(parts[: depth + 1])}
    return set()
