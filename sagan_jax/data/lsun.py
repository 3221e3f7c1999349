"""LSUN as its authors publish it: LMDB files of encoded images, one per class."""

import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from sagan_jax.data import lmdb_pages
from sagan_jax.errors import UserError

_FILE = "data.mdb"


def find(path: str) -> dict[str, str]:
    """Returns the LMDB directories in `path`, {class name: directory}, sorted.

    If `path` itself is an LMDB directory, the class name is ''. Otherwise it may
    contain one per class: bridge_train_lmdb and tower_train_lmdb are the classes bridge
    and tower. The result is empty if there are none.

    Raises:
      UserError: there are other directories next to the LMDB directories, or both
        training and validation parts, which would be separate classes.
    """
    root = pathlib.Path(path)
    if (root / _FILE).is_file():
        return {"": str(root)}
    folders = [p for p in root.iterdir() if p.is_dir() and p.name[0] != "."]
    names = [p.name.removesuffix("_lmdb") for p in folders if _is_lmdb(p)]
    rest = sorted(p.name for p in folders if not _is_lmdb(p))
    if names and rest:
        raise UserError(
            f"{path!r} contains LMDB directories, but {rest[0]!r} has no {_FILE}; move "
            "it elsewhere."
        )
    if len({end for end in ("_train", "_val") for n in names if n.endswith(end)}) > 1:
        raise UserError(
            f"{path!r} contains LMDB directories for training and for validation; "
            "move the latter elsewhere, or they would become separate classes."
        )
    found = {p.name.removesuffix("_lmdb"): str(p) for p in folders if _is_lmdb(p)}
    return {n.removesuffix("_train"): found[n] for n in sorted(found)}


class Lmdb:
    """The images of LMDB directories by (class, key).

    LMDB must not be opened twice in a process or used after a fork: each process opens
    it at its first read, and a pickle contains only the paths.
    """

    def __init__(self, folders: list[str]) -> None:
        self._folders = folders
        self._opened: dict[int, Any] = {}
        self._owner = os.getpid()

    def __reduce__(self) -> tuple[Any, ...]:
        return Lmdb, (self._folders,)

    def keys(self, label: int) -> Iterator[bytes]:
        """Yields the keys of a class, sorted.

        Raises:
          UserError: the file is damaged, or the package lmdb is missing. `read` must
            not be called then: lmdb would end the process.
        """
        _import(self._folders[label])
        file = os.path.join(self._folders[label], _FILE)
        try:
            yield from lmdb_pages.keys(file)
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or error
            raise _unreadable(file, cause) from None

    def read(self, key: tuple[int, bytes]) -> tuple[bytes, int]:
        """Returns the encoded image of (label, key) and the label."""
        label, name = key
        with self._environment(label).begin() as transaction:
            content = transaction.get(name)
        if content is None:
            raise ValueError("no such key")
        return content, label

    def name(self, key: tuple[int, bytes]) -> str:
        """Returns the name of an image, for messages."""
        label, name = key
        folder = os.path.basename(self._folders[label])
        return f"{folder}, key {name.decode(errors='replace')}"

    def stamp(self) -> str:
        """Returns a hash that changes when one of the files does."""
        digest = hashlib.sha256()
        for folder in self._folders:
            status = os.stat(os.path.join(folder, _FILE))
            digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def close(self) -> None:
        """Closes the files that this process has opened."""
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


def _import(folder: str) -> Any:
    try:
        import lmdb
    except ModuleNotFoundError:
        raise UserError(
            f"{folder!r} is an LMDB directory, which needs the package lmdb; run "
            "pip install lmdb."
        ) from None
    return lmdb


def _unreadable(file: str, cause: object) -> UserError:
    return UserError(
        f"{file!r} cannot be read as LMDB ({cause}); download or unpack it again."
    )


def _open(folder: str) -> Any:
    lmdb = _import(folder)
    try:
        return lmdb.open(
            folder, readonly=True, lock=False, readahead=False, meminit=False
        )
    except lmdb.Error as error:
        raise _unreadable(os.path.join(folder, _FILE), error) from None
