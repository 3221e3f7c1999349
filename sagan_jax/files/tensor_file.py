"""Arrays by name in a safetensors file that tells whether it is as it was written.

The file is written and read one array at a time, so that memory holds no second copy of
a model. Its notes, which are text by name, contain a digest of the names, types, shapes
and values of all arrays, and of the other notes.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
from numpy.typing import NDArray

from sagan_jax.errors import UserError

TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I32": np.dtype("<i4"),
}
"""The types of arrays that are kept, by their names in the file."""

DIGEST = "sha256"
"""The note with the digest."""

_LONGEST = 2**24  # bytes of a header; those of our largest networks have 2**17
_POINTER = b"version https://git-lfs"


class Entry(NamedTuple):
    """The type and the shape of an array, in the words of the file."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"[:200]  # of any file, of any length


class Header(NamedTuple):
    """What a file says of its content."""

    entries: dict[str, Entry]
    notes: dict[str, str]


def entry(array: Any) -> Entry:
    """Returns the type and the shape of an array, or of what describes one.

    Raises:
      UserError: a type that is not in TYPES.
    """
    name = np.dtype(array.dtype).name
    known = {dtype.name: key for key, dtype in TYPES.items()}
    if name not in known:
        raise UserError(
            f"dtype={name} is not kept in a safetensors file; convert the array to one "
            f"of {', '.join(known)}."
        )
    return Entry(known[name], tuple(map(int, array.shape)))


def write(path: Path, arrays: Mapping[str, Any], notes: Mapping[str, str]) -> None:
    """Writes arrays, which may lie on devices, and notes; adds the digest.

    Raises:
      UserError: an array of a type that is not in TYPES.
      OSError: the file cannot be written.
    """
    entries = {name: entry(arrays[name]) for name in sorted(arrays)}
    digest = _digest(entries, notes)
    for name in entries:
        digest.update(_little_endian(arrays[name]).data)
    header: dict[str, Any] = {"__metadata__": {**notes, DIGEST: digest.hexdigest()}}
    # Wide types first, so that each array begins at a multiple of its item size.
    order = sorted(entries, key=lambda name: -TYPES[entries[name].dtype].itemsize)
    end = 0
    for name in order:
        begin, end = end, end + _bytes(entries[name])
        header[name] = entries[name]._asdict() | {"data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(_little_endian(arrays[name]).data)


def read_header(path: Path) -> Header:
    """Returns the header of a safetensors file, and reads no array.

    Raises:
      UserError: the file is damaged, or none of safetensors.
    """
    with _opened(path) as file:
        return _header(file)


def read(
    path: Path, is_wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, NDArray[Any]]:
    """Returns arrays of a file by name, after all of it has been found unchanged.

    Args:
      path: the file.
      is_wanted: whether the array of a name is returned.

    Raises:
      UserError: the file is damaged, was changed after it was written, or has no
        digest.
    """
    found = {}
    with _opened(path) as file:
        entries, notes = _header(file)
        expected = notes.pop(DIGEST, "")
        digest = _digest(entries, notes)
        for name in entries:
            array = _tensor(path, file, name)
            digest.update(_little_endian(array).data)
            if is_wanted(name):
                found[name] = array
    if digest.hexdigest() != expected:
        raise UserError(
            f"{str(path)!r} is damaged or was changed: its content has sha256 "
            f"{digest.hexdigest()[:12]}..., not {expected[:12] or 'none'}...; copy or "
            "download it again."
        )
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yields the open file; what is wrong with it is one sentence."""
    with path.open("rb") as file:
        start = file.read(len(_POINTER))
    if start == _POINTER:
        raise _unreadable(path, "it is a pointer of Git LFS, not the file itself")
    if int.from_bytes(start[:8], "little") > _LONGEST:
        raise _unreadable(path, f"its header is longer than {_LONGEST} bytes")
    try:
        opened = safetensors.safe_open(path, framework="numpy")
    except Exception as error:  # its own, and others for a file that is cut short
        raise _unreadable(path, error) from None
    with opened as reader:
        yield reader


def _header(file: Any) -> Header:
    entries = {}
    for name in sorted(file.keys()):
        part = file.get_slice(name)
        entries[name] = Entry(str(part.get_dtype()), tuple(part.get_shape()))
    return Header(entries, dict(file.metadata() or {}))


def _tensor(path: Path, file: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(file.get_tensor(name))
    except Exception as error:  # of types that NumPy does not have
        raise _unreadable(path, error) from None


def _unreadable(path: Path, reason: object) -> UserError:
    words = " ".join(str(reason).split())[:200].rstrip(".")
    return UserError(
        f"{str(path)!r} is not a readable safetensors file ({words}); copy or download "
        "it again."
    )


def _digest(entries: Mapping[str, Entry], notes: Mapping[str, str]) -> Any:
    """Returns the digest of a header; those of the arrays follow, in order of names."""
    listed = [[name, *entry] for name, entry in sorted(entries.items())]
    return hashlib.sha256(json.dumps([sorted(notes.items()), listed]).encode())


def _little_endian(array: Any) -> NDArray[Any]:
    array = np.asarray(array)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)


def _bytes(entry: Entry) -> int:
    return int(np.prod(entry.shape, dtype=np.int64)) * TYPES[entry.dtype].itemsize
