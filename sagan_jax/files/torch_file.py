"""Reads the tensors of a file written by torch.save, without PyTorch.

Unpickling executes a program, which is unsafe for a file from somebody else. Nothing is
unpickled here: `pickletools` lists the opcodes, and a small interpreter executes those
that make dicts, lists, tuples and tensors. Any other opcode raises an error.

Both formats are supported: the zip file of PyTorch 1.6 and later, and the older
sequence of pickles (`pytorch/pytorch:torch/serialization.py`).
"""

import hashlib
import io
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from sagan_jax.errors import UserError

MAX_BYTES = 2**30
"""Maximum size of a file."""

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MOST_AXES = 8
_BFLOAT16 = "BFloat16Storage"  # NumPy has no such type; read as its upper 16 bits
_TYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    _BFLOAT16: "<u2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_FUNCTIONS = (
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
)
_GLOBALS = {*_FUNCTIONS, *(f"torch {name}" for name in _TYPES)}


class TorchFile(NamedTuple):
    """The tensors of a file, by name, and the SHA-256 of the file."""

    tensors: dict[str, NDArray[Any]]
    sha256: str


class _Global(NamedTuple):
    name: str  # 'module name'; it is never imported


class _Storage(NamedTuple):
    key: str
    type: str
    numel: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read(path: str | os.PathLike[str]) -> TorchFile:
    """Returns a saved dict of tensors; arrays are read-only views of the file's bytes.

    Raises:
      UserError: the file is unreadable, truncated or damaged, or holds anything but
        tensors.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise ValueError(f"it has {size} bytes, more than {MAX_BYTES}")
            content = file.read()
        return TorchFile(_tensors(content), hashlib.sha256(content).hexdigest())
    # Damaged files raise nearly anything.
    except Exception as error:
        cause = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            cause = error.strerror
        raise UserError(
            f"weights={os.fspath(path)!r} is not a readable file of torch.save "
            f"({cause[:200]}); copy or download it again."
        ) from error


def _tensors(content: bytes) -> dict[str, NDArray[Any]]:
    if content.startswith(b"PK"):
        tree, storage = _open_zip(content)
    else:
        tree, storage = _open_legacy(content)
    if not isinstance(tree, dict):
        raise ValueError("it holds no dict of tensors")
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise ValueError(f"{name!r} is not a tensor")
    needed = {value.storage for value in tree.values()}
    if sum(map(_length, needed)) > len(content):
        raise ValueError("its storages are longer than the file")
    storages = {each: storage(each) for each in needed}
    return {name: _view(value, storages[value.storage]) for name, value in tree.items()}


def _view(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    """Returns the elements of a tensor as a view of its storage."""
    return as_strided(
        storage[tensor.offset :],
        tensor.size,
        [step * storage.itemsize for step in tensor.stride],
        writeable=False,
    )


def _open_zip(content: bytes) -> tuple[Any, Callable[[_Storage], NDArray[Any]]]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    roots = [n[: -len("data.pkl")] for n in archive.namelist() if _is_root(n)]
    if len(roots) != 1:
        raise ValueError("it is a different kind of zip file")

    def member(name: str) -> bytes:
        info = archive.getinfo(roots[0] + name)
        # torch.save never compresses. Refusing compression also stops zip bombs.
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{info.filename!r} is compressed")
        return archive.read(info)

    if (
        roots[0] + "byteorder" in archive.namelist()
        and member("byteorder") != b"little"
    ):
        raise ValueError("its numbers are big-endian")
    tree = _follow(io.BytesIO(member("data.pkl")), len(content))
    return tree, lambda storage: _numbers(member(f"data/{storage.key}"), storage)


def _is_root(name: str) -> bool:
    return name.endswith("/data.pkl") and name.count("/") == 1


def _open_legacy(content: bytes) -> tuple[Any, Callable[[_Storage], NDArray[Any]]]:
    file = io.BytesIO(content)
    try:
        magic = _follow(file, 0)
    except Exception as error:
        raise ValueError("it has a different format") from error
    if magic != _MAGIC or _follow(file, 0) != _PROTOCOL:
        raise ValueError("it has a different format")
    if _follow(file, 0)["little_endian"] is not True:
        raise ValueError("its numbers are big-endian")
    tree = _follow(file, len(content))
    keys = _follow(file, 0)
    place, where = file.tell(), {}
    values = tree.values() if isinstance(tree, dict) else ()
    used = [value.storage for value in values if isinstance(value, _Tensor)]
    storages = {storage.key: storage for storage in used}
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
        place += 8 + _length(storage)

    def numbers(storage: _Storage) -> NDArray[Any]:
        begin = where[storage.key]
        return _numbers(memoryview(content)[begin : begin + _length(storage)], storage)

    return tree, numbers


def _numbers(content: bytes | memoryview, storage: _Storage) -> NDArray[Any]:
    if len(content) != _length(storage):
        raise ValueError(f"storage {storage.key!r} is truncated")
    array = np.frombuffer(content, _TYPES[storage.type])
    if storage.type == _BFLOAT16:
        return (array.astype("<u4") << 16).view("<f4")
    return array


def _length(storage: _Storage) -> int:
    """Returns the size of a storage in bytes."""
    return storage.numel * np.dtype(_TYPES[storage.type]).itemsize


def _follow(file: BinaryIO, most: int) -> Any:
    """Returns the object that the next pickle in a file describes.

    A storage of more than `most` bytes raises ValueError.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        begin = marks.pop()
        values = stack[begin:]
        del stack[begin:]
        return values

    argument: Any
    for opcode, argument, _ in pickletools.genops(file):
        match opcode.name:
            case "PROTO":
                pass
            case "STOP":
                break
            case "MARK":
                marks.append(len(stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NEWTRUE": True, "NEWFALSE": False}.get(opcode.name))
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "BINSTRING" | "SHORT_BINSTRING":
                stack.append(argument)
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                kinds = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
                stack.append(kinds[opcode.name]())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "APPEND":
                value = stack.pop()
                _list(stack[-1]).append(value)
            case "APPENDS":
                values = since_mark()
                _list(stack[-1]).extend(values)
            case "SETITEM":
                key, value = stack.pop(-2), stack.pop()
                _set(stack[-1], [key, value])
            case "SETITEMS":
                values = since_mark()
                _set(stack[-1], values)
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                if argument not in _GLOBALS:
                    raise ValueError(
                        f"it uses {argument!r}, which is not part of a tensor"
                    )
                stack.append(_Global(argument))
            case "BINPERSID":
                stack.append(_storage(stack.pop(), most))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_call(stack.pop(), arguments))
            case "BUILD":
                stack.pop()  # attributes of an OrderedDict, such as its metadata
                _dict(stack[-1])
            case other:
                raise ValueError(f"it uses {other}, which a file of tensors never does")
    return stack.pop()


def _dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError("it sets items of something that is not a dict")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("it appends to something that is not a list")
    return value


def _set(target: Any, values: list[Any]) -> None:
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str | int):  # hashing nested tuples may take forever
            raise ValueError("it has a dict whose keys are not names")
        _dict(target)[key] = value


def _storage(reference: Any, most: int) -> _Storage:
    # ('storage', class, key, device, numel), and before 1.6 an unused view
    kind, group, key, _, numel, *view = reference
    if kind != "storage" or not isinstance(group, _Global) or not isinstance(key, str):
        raise ValueError("it refers to something other than a storage")
    type_ = group.name.removeprefix("torch ")
    if type_ not in _TYPES or view not in ([], [None]) or not _is_count(numel):
        raise ValueError(f"storage {key!r} has an unknown type")
    storage = _Storage(key, type_, numel)
    if _length(storage) > most:
        raise ValueError(f"storage {key!r} with {numel} values is longer than the file")
    return storage


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    match function, arguments:
        case _Global("collections OrderedDict"), ():
            return {}
        case _Global("torch._utils _rebuild_parameter"), (_Tensor() as tensor, *_):
            return tensor
        case (
            _Global("torch._utils _rebuild_tensor_v2"),
            (_Storage() as storage, offset, tuple() as size, tuple() as stride, *_),
        ):
            return _checked(_Tensor(storage, offset, size, stride))
    raise ValueError("it calls a function in an unknown way")


def _checked(tensor: _Tensor) -> _Tensor:
    """Returns the tensor after checking that all elements are inside its storage."""
    storage, offset, size, stride = tensor
    whole = all(map(_is_count, (offset, *size, *stride)))
    if not whole or len(size) != len(stride) or len(size) > _MOST_AXES:
        raise ValueError("it has a tensor with an invalid shape")
    steps = zip(size, stride, strict=True)
    last = offset + sum((length - 1) * step for length, step in steps)
    if 0 in size or last >= storage.numel:
        raise ValueError(f"a tensor reaches past the end of storage {storage.key!r}")
    return tensor


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0
