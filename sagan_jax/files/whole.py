"""Writes files and directories whole: under a temporary name, synced, then renamed.

Whoever reads the final name sees the earlier content or the new one, never a part, also
after a kill or a power cut. Permissions are those of any new file: 0666 less the umask.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sagan_jax.errors import UserError

SUFFIX = ".tmp"
"""Ends every temporary name."""


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces the file `path` by one that holds `content`.

    Raises:
      OSError: the file cannot be written; the earlier one is left as it was.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replaces the file `path` by one that holds `text` in UTF-8; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`; what the block makes there replaces it.

    The block makes a file or a directory. If it raises, what it made is removed and
    `path` is left as it was. Missing parent directories are made.

    Args:
      path: the final name. A directory can replace an empty directory only.

    Raises:
      OSError: the place cannot be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    owner = f"{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f"{path.name}.{owner}{SUFFIX}")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync_one(path.parent)  # the rename itself
    finally:
        _remove(temporary)


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file by one that only this user can read and write.

    Raises:
      OSError: the place cannot be written to.
    """
    with replacing(path) as temporary:
        # Never open to others, not even before its mode could be changed.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)


def cut(path: Path, size: int) -> None:
    """Shortens a file to its first `size` bytes, in place.

    Raises:
      OSError: the file cannot be written.
    """
    os.truncate(path, size)
    _sync_one(path)


def make_directory(path: Path) -> None:
    """Makes a directory that files can be written into, if it is not there.

    Raises:
      OSError: it cannot be made, or no file can be written into it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass


def check_writable(path: Path, *, append: bool = False) -> None:
    """Raises UserError if `path` cannot be written; call it before long work.

    Nothing is left behind, and no directory is made: a missing one could be made if a
    file can be written into the nearest one that exists.

    Args:
      path: the file to write.
      append: whether lines will be added to the file. Otherwise it will be replaced,
        for which its directory must be writable.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if append and path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND))
            return
        parent = path.absolute().parent
        while not os.path.lexists(parent):
            parent = parent.parent
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be written ({error.strerror}); make the place "
            "writable, or choose another one."
        ) from None


_HOST = re.sub(r"\W", "_", socket.gethostname())


def _remove_abandoned(path: Path) -> None:
    """Removes what processes of this host began for `path` before they were killed."""
    pattern = re.compile(
        rf"{re.escape(path.name)}\.{_HOST}-(\d+)-[0-9a-f]{{8}}{re.escape(SUFFIX)}"
    )
    for other in path.parent.iterdir():
        match = pattern.fullmatch(other.name)
        if match and not _is_running(int(match[1])):
            _remove(other)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it runs, as another user
    return True


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file, or everything below a directory, has reached the disk."""
    if path.is_dir():
        for child in path.iterdir():
            _sync(child)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return  # systems on which a directory cannot be opened
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems sync no directories; a file that fails is not on the disk.
        if not path.is_dir():
            raise error
    finally:
        os.close(handle)
