"""Executes the pickle of a file of torch.save, as far as it describes tensors.

Unpickling executes a program, which is unsafe for a file from somebody else. Nothing is
unpickled here: `pickletools` lists the opcodes, and a small interpreter executes those
that make dicts, lists, tuples and tensors. Any other opcode raises ValueError.
"""

import pickletools
from typing import Any, BinaryIO, NamedTuple

import numpy as np

BFLOAT16 = "BFloat16Storage"  # NumPy has no such type; read as its upper 16 bits
TYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    BFLOAT16: "<u2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""The types of storages, and NumPy's name of each."""

_FUNCTIONS = (
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "collections OrderedDict",
)
_GLOBALS = {*_FUNCTIONS, *(f"torch {name}" for name in TYPES)}
# What trainings of the known repositories store beside tensors. An object made by one
# of these is replaced by OPAQUE; nothing of it is imported, called or kept.
_BESIDE = {
    "_codecs encode",
    "argparse Namespace",
    "collections Counter",
    "collections defaultdict",
    "mmengine.logging.history_buffer HistoryBuffer",
    "torch Size",
    "torch device",
    *(f"torch {name}" for name in ("bfloat16", "float16", "float32", "float64")),
    *(
        f"{module} {name}"
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    ),
    *(f"numpy {name}" for name in ("dtype", "ndarray")),
    *(f"{module} _reconstructor" for module in ("copy_reg", "copyreg")),
    *(
        f"{module} {name}"
        for module in ("__builtin__", "builtins")
        for name in ("bool", "dict", "float", "int", "list", "object", "set", "str")
    ),
}
_MOST_AXES = 8
_MOST_OPCODES = 2_000_000  # some seconds; a file of tensors has a few for each


class Storage(NamedTuple):
    """A flat array in the file."""

    key: str
    type: str
    numel: int

    @property
    def length(self) -> int:
        """Its size in bytes."""
        return self.numel * np.dtype(TYPES[self.type]).itemsize


class Tensor(NamedTuple):
    """A view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Global(NamedTuple):
    name: str  # 'module name'; it is never imported


class _Opaque:
    """Stands for an object that is not a tensor, and is not made."""


OPAQUE = _Opaque()


def follow(
    file: BinaryIO,
    most: int,
    *,
    beside: bool = False,
    storages: dict[str, Storage] | None = None,
) -> Any:
    """Returns the object that the next pickle in a file describes.

    Args:
      file: the file, at the beginning of the pickle.
      most: size in bytes that no storage exceeds.
      beside: whether what trainings store beside tensors, such as arrays of NumPy, is
        skipped: it becomes OPAQUE.
      storages: gets every storage that is mentioned, by key.

    Raises:
      ValueError: the pickle describes anything else, or a storage of more than `most`
        bytes. A damaged pickle raises nearly anything.
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
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if count > _MOST_OPCODES:
            raise ValueError("its pickle has more steps than tensors need")
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
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "APPEND":
                value = stack.pop()
                _extend(stack[-1], [value])
            case "APPENDS":
                values = since_mark()
                _extend(stack[-1], values)
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
                stack.append(_global(argument, beside))
            case "BINPERSID":
                found = _storage(stack.pop(), most)
                stack.append(found)
                if storages is not None:
                    storages[found.key] = found
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_call(stack.pop(), arguments))
            case "NEWOBJ" if len(stack) > 1 and stack[-2] is OPAQUE:
                stack.pop()  # its arguments
            case "BUILD":
                stack.pop()  # attributes of an OrderedDict, such as its metadata
                if stack[-1] is not OPAQUE:
                    _dict(stack[-1])
            case other:
                raise ValueError(f"it uses {other}, which a file of tensors never does")
    return stack.pop()


def _dict(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError("it sets items of something that is not a dict")
    return value


def _global(name: str, beside: bool) -> _Global | _Opaque:
    if name in _GLOBALS:
        return _Global(name)
    if beside and name in _BESIDE:
        return OPAQUE
    raise ValueError(f"it uses {name!r}, which is not part of a tensor")


def _extend(target: Any, values: list[Any]) -> None:
    if target is OPAQUE:
        return
    if not isinstance(target, list):
        raise ValueError("it appends to something that is not a list")
    target.extend(values)


def _set(target: Any, values: list[Any]) -> None:
    if target is OPAQUE:
        return
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str | int):  # hashing nested tuples may take forever
            raise ValueError("it has a dict whose keys are not names")
        _dict(target)[key] = value


def _storage(reference: Any, most: int) -> Storage:
    # ('storage', class, key, device, numel), and before 1.6 an unused view
    kind, group, key, _, numel, *view = reference
    if kind != "storage" or not isinstance(group, _Global) or not isinstance(key, str):
        raise ValueError("it refers to something other than a storage")
    type_ = group.name.removeprefix("torch ")
    if type_ not in TYPES or view not in ([], [None]) or not _is_count(numel):
        raise ValueError(f"storage {key!r} has an unknown type")
    storage = Storage(key, type_, numel)
    if storage.length > most:
        raise ValueError(f"storage {key!r} with {numel} values is longer than the file")
    return storage


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    if function is OPAQUE:
        return OPAQUE
    match function, arguments:
        case _Global("collections OrderedDict"), ():
            return {}
        case _Global("torch._utils _rebuild_parameter"), (Tensor() as tensor, *_):
            return tensor
        case (
            _Global("torch._utils _rebuild_tensor_v2"),
            (Storage() as storage, offset, tuple() as size, tuple() as stride, *_),
        ):
            return _checked(Tensor(storage, offset, size, stride))
    raise ValueError("it calls a function in an unknown way")


def _checked(tensor: Tensor) -> Tensor:
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
