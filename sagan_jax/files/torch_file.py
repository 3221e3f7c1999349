"""Reads the tensors of a file written by torch.save, without PyTorch.

Nothing of the file is executed: see torch_pickle. Both formats are supported: the zip
file of PyTorch 1.6 and later, and the older sequence of pickles
(`pytorch/pytorch:torch/serialization.py`).
"""

import contextlib
import dataclasses
import hashlib
import io
import math
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.files.torch_pickle import BFLOAT16, TYPES, Storage, Tensor, follow

MAX_BYTES = 2**30
"""Maximum size of a file that `read` takes into memory."""

MAX_BYTES_NESTED = 5 * 2**30
"""Maximum size of a file that `open_nested` maps into memory."""

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_PICKLED = 2**28  # bytes of a pickle; those of tensors are small
_PIECE = 2**24  # bytes that are checked at a time
_DEEPEST = 8  # dicts in dicts that are searched for tensors


class TorchFile(NamedTuple):
    """The tensors of a file, by name, and the SHA-256 of the file."""

    tensors: dict[str, NDArray[Any]]
    sha256: str


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """A tensor of a file that is open.

    Attributes:
      shape: its axes.
      nbytes: its size in the file.
      read: returns the values, as a view of the file where the type allows that.
    """

    shape: tuple[int, ...]
    nbytes: int
    read: Callable[[], NDArray[Any]]


class Nested(NamedTuple):
    """The dicts of a file that hold tensors.

    Attributes:
      groups: the tensors of each such dict, under the keys that lead to it, joined by
        slashes; '' is the outermost.
      size: size of the file in bytes.
    """

    groups: dict[str, dict[str, Stored]]
    size: int


def read(path: str | os.PathLike[str]) -> TorchFile:
    """Returns a saved dict of tensors; arrays are read-only views of the file's bytes.

    Raises:
      UserError: the file is unreadable, truncated or damaged, or holds anything but
        tensors.
    """
    with _naming(path, "copy or download it again"), open(path, "rb") as file:
        _check_size(file, MAX_BYTES)
        content = file.read()
        tensors = _tensors(content)
        return TorchFile(tensors, hashlib.sha256(content).hexdigest())


def open_nested(path: str | os.PathLike[str]) -> Nested:
    """Returns the tensors of a training's file, in whichever dicts they lie.

    Whatever the file holds beside tensors is left out. Values are read when they are
    asked for, so that the memory in use does not depend on the size of the file.

    Raises:
      UserError: the file is unreadable, truncated or damaged, or holds objects of an
        unknown kind; also when a tensor is read.
    """
    remedy = "download it again, or save the state_dict alone by torch.save"
    with _naming(path, remedy), open(path, "rb") as file:
        size = _check_size(file, MAX_BYTES_NESTED)
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        tree, storage = _opened(content, file, beside=True)

        def stored(tensor: Tensor) -> Stored:
            def values() -> NDArray[Any]:
                with _naming(path, remedy):
                    return _view(tensor, storage(tensor.storage))

            item = np.dtype(TYPES[tensor.storage.type]).itemsize
            return Stored(tensor.size, math.prod(tensor.size) * item, values)

        groups = {
            name: {key: stored(tensor) for key, tensor in tensors.items()}
            for name, tensors in _groups(tree)
        }
        return Nested(groups, size)


@contextlib.contextmanager
def _naming(path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    """Turns what a damaged file raises, which is nearly anything, into a UserError."""
    try:
        yield
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            cause = error.strerror
        raise UserError(
            f"weights={os.fspath(path)!r} is not a readable file of torch.save "
            f"({cause[:200]}); {remedy}."
        ) from error


def _check_size(file: BinaryIO, most: int) -> int:
    size = os.fstat(file.fileno()).st_size
    if size > most:
        raise ValueError(f"it has {size} bytes, more than {most}")
    return size


def _groups(tree: Any) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yields every dict that holds tensors, with the keys that lead to it."""
    # A dict may be in many places; that of the fewest keys counts, and a file cannot
    # take longer than its length.
    seen: set[int] = set()
    level = [("", tree)]
    for _ in range(_DEEPEST):
        below = []
        for name, value in level:
            if not isinstance(value, dict) or id(value) in seen:
                continue
            seen.add(id(value))
            tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
            if tensors:
                yield name, tensors
            prefix = f"{name}/" if name else ""
            below += [(f"{prefix}{key}"[:200], v) for key, v in value.items()]
        level = below


def _tensors(content: bytes) -> dict[str, NDArray[Any]]:
    tree, storage = _opened(memoryview(content), io.BytesIO(content))
    if not isinstance(tree, dict):
        raise ValueError("it holds no dict of tensors")
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name!r} is not a tensor")
    needed = {value.storage for value in tree.values()}
    if sum(each.length for each in needed) > len(content):
        raise ValueError("its storages are longer than the file")
    storages = {each: storage(each) for each in needed}
    return {name: _view(value, storages[value.storage]) for name, value in tree.items()}


def _view(tensor: Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """Returns the elements of a tensor, as a view of its storage if possible."""
    if math.prod(tensor.size) > len(storage):
        raise ValueError("a tensor repeats values of its storage too often")
    values = as_strided(
        storage[tensor.offset :],
        tensor.size,
        [step * storage.itemsize for step in tensor.stride],
        writeable=False,
    )
    if tensor.storage.type == BFLOAT16:
        return (values.astype("<u4") << 16).view("<f4")
    return values


def _opened(
    content: memoryview, file: BinaryIO, *, beside: bool = False
) -> tuple[Any, Callable[[Storage], NDArray[Any]]]:
    """Returns what a file describes, and a function that gives a storage's values."""
    if content[:2] == b"PK":
        return _open_zip(content, file, beside)
    return _open_legacy(content, file, beside)


def _open_zip(
    content: memoryview, file: BinaryIO, beside: bool
) -> tuple[Any, Callable[[Storage], NDArray[Any]]]:
    infos = {info.filename: info for info in zipfile.ZipFile(file).infolist()}
    roots = [n[: -len("data.pkl")] for n in infos if _is_root(n)]
    if len(roots) != 1:
        raise ValueError("it is a different kind of zip file")
    checked: set[str] = set()

    def member(name: str) -> memoryview:
        info = infos[roots[0] + name]
        values = _member(content, info)
        if name not in checked:
            _check_crc(values, info)
            checked.add(name)
        return values

    if roots[0] + "byteorder" in infos and member("byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    pickled = member("data.pkl")
    if len(pickled) > _MOST_PICKLED:
        raise ValueError(f"its pickle has more than {_MOST_PICKLED} bytes")
    tree = follow(io.BytesIO(pickled), len(content), beside=beside)
    return tree, lambda storage: _numbers(member(f"data/{storage.key}"), storage)


def _is_root(name: str) -> bool:
    return name.endswith("/data.pkl") and name.count("/") == 1


def _member(content: memoryview, info: zipfile.ZipInfo) -> memoryview:
    """Returns the bytes of a file in a zip, without a copy."""
    # torch.save never compresses. Refusing compression also stops zip bombs.
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename!r} is compressed")
    begin = info.header_offset
    signature, lengths = content[begin : begin + 4], content[begin + 26 : begin + 30]
    if signature != b"PK\3\4" or len(lengths) != 4:
        raise ValueError(f"{info.filename!r} is not where the zip file says")
    begin += 30 + sum(struct.unpack("<2H", lengths))
    values = content[begin : begin + info.file_size]
    if len(values) != info.file_size:
        raise ValueError(f"{info.filename!r} is truncated")
    return values


def _check_crc(values: memoryview, info: zipfile.ZipInfo) -> None:
    crc = 0
    for begin in range(0, len(values), _PIECE):
        crc = zlib.crc32(values[begin : begin + _PIECE], crc)
    if crc != info.CRC:
        raise ValueError(f"Bad CRC-32 for file {info.filename!r}")


def _open_legacy(
    content: memoryview, file: BinaryIO, beside: bool
) -> tuple[Any, Callable[[Storage], NDArray[Any]]]:
    try:
        magic = follow(file, 0)
    except Exception as error:
        raise ValueError("it has a different format") from error
    if magic != _MAGIC or follow(file, 0) != _PROTOCOL:
        raise ValueError("it has a different format")
    if follow(file, 0)["little_endian"] is not True:
        raise ValueError("its numbers are big-endian")
    storages: dict[str, Storage] = {}
    tree = follow(file, len(content), beside=beside, storages=storages)
    keys = follow(file, 0)
    place, where = file.tell(), {}
    for key in keys:
        # A storage that no tensor uses raises KeyError: its type is unknown, so the
        # position of the next storage is too.
        storage = storages[key]
        (numel,) = struct.unpack_from("<q", content, place)
        if numel != storage.numel:
            raise ValueError(
                f"storage {key!r} holds {numel} values, not {storage.numel}"
            )
        where[key] = place + 8
        place += 8 + storage.length

    def numbers(storage: Storage) -> NDArray[Any]:
        begin = where[storage.key]
        return _numbers(content[begin : begin + storage.length], storage)

    return tree, numbers


def _numbers(content: memoryview, storage: Storage) -> NDArray[Any]:
    if len(content) != storage.length:
        raise ValueError(f"storage {storage.key!r} is truncated")
    return np.frombuffer(content, TYPES[storage.type])
