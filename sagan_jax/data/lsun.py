"""LSUN as its authors give it out: LMDB files of encoded images, one for each class."""

import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from sagan_jax.errors import UserError

_FILE = "data.mdb"


def find(path: str) -> dict[str, str]:
    """Returns the LMDB directories in `path`: {class name: directory}, sorted.

    `path` is one itself, whose class has the name '', or holds one for each class:
    bridge_train_lmdb and tower_train_lmdb are the classes bridge and tower. Empty if
    there is none.

    Raises:
      UserError: LMDB directories beside which there are others; training and
        validation parts, which would be classes of their own.
    """
    root = pathlib.Path(path)
    if (root / _FILE).is_file():
        return {"": str(root)}
    folders = [p for p in root.iterdir() if p.is_dir() and p.name[0] != "."]
    names = [p.name.removesuffix("_lmdb") for p in folders if _is_lmdb(p)]
    rest = sorted(p.name for p in folders if not _is_lmdb(p))
    if names and rest:
        raise UserError(
            f"IN={path!r} holds LMDB directories, but {rest[0]!r} has no {_FILE}; move "
            "it elsewhere."
        )
    if len({end for end in ("_train", "_val") for n in names if n.endswith(end)}) > 1:
        raise UserError(
            f"IN={path!r} holds LMDB directories for training and for validation; move "
            "the latter elsewhere, or they would be classes of their own."
        )
    found = {p.name.removesuffix("_lmdb"): str(p) for p in folders if _is_lmdb(p)}
    return {n.removesuffix("_train"): found[n] for n in sorted(found)}


class Lmdb:
    """The images of LMDB directories by (class, key).

    LMDB must not be opened twice in a process, nor be used after a fork: each process
    opens it when it first reads, and a pickle holds the paths only.
    """

    def __init__(self, folders: list[str]) -> None:
        self._folders = folders
        self._opened: dict[int, Any] = {}
        self._owner = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return Lmdb, (self._folders,)

    def keys(self, label: int) -> Iterator[bytes]:
        """Yields all keys of a class, sorted."""
        with self._environment(label).begin() as transaction:
            yield from transaction.cursor().iternext(keys=True, values=False)

    def read(self, key: tuple[int, bytes]) -> tuple[bytes, int]:
        """Returns the encoded image of (label, key), and its label."""
        label, name = key
        with self._environment(label).begin() as transaction:
            content = transaction.get(name)
        if content is None:
            raise ValueError("it is not there")
        return content, label

    def name(self, key: tuple[int, bytes]) -> str:
        """Returns what a person calls an image."""
        label, name = key
        folder = os.path.basename(self._folders[label])
        return f"{folder}, key {name.decode(errors='replace')}"

    def stamp(self) -> str:
        """Returns a hash of what tells that one of the files changed."""
        digest = hashlib.sha256()
        for folder in self._folders:
            status = os.stat(os.path.join(folder, _FILE))
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Closes what this process has opened."""
        for environment in self._opened.values():
            environment.close()
        self._opened = {}

    def _environment(self, label: int) -> Any:
        if self._owner != os.getpid():
            self._owner, self._opened = os.getpid(), {}
        if label not in self._opened:
            self._opened[label] = _open(self._folders[label])
        return self._opened[label]


def _is_lmdb(path: pathlib.Path) -> bool:
    return (path / _FILE).is_file()


def _open(folder: str) -> Any:
    try:
        import lmdb
    except ModuleNotFoundError:
        raise UserError(
            f"IN={folder!r} is an LMDB directory, and reading it needs the package "
            "lmdb; install it: pip install lmdb."
        ) from None
    try:
        return lmdb.open(
            folder, readonly=True, lock=False, readahead=False, meminit=False
        )
    except lmdb.Error as error:
        raise UserError(
            f"IN: '{folder}/{_FILE}' cannot be read as LMDB ({error}); get it again."
        ) from None
