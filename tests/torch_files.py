"""Files in the format of torch.save, made without PyTorch, valid and malicious."""

import collections
import io
import pickle
import sys
import types
import zipfile
from unittest import mock

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "f4": "FloatStorage",
    "f2": "HalfStorage",
    "f8": "DoubleStorage",
    "i8": "LongStorage",
    "i4": "IntStorage",
    "i2": "ShortStorage",
    "i1": "CharStorage",
    "u1": "ByteStorage",
    "b1": "BoolStorage",
    "u2": "BFloat16Storage",  # the upper halves of float32
}


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("only pickled, never called")


def _rebuild_parameter(*arguments):
    raise AssertionError("only pickled, never called")


TORCH, UTILS = types.ModuleType("torch"), types.ModuleType("torch._utils")
TORCH._utils = UTILS
for function in (_rebuild_tensor_v2, _rebuild_parameter):
    function.__module__ = "torch._utils"
    setattr(UTILS, function.__name__, function)
for storage_name in STORAGES.values():
    kind = type(storage_name, (), {"__module__": "torch"})
    setattr(TORCH, storage_name, kind)


class Storage:
    """A flat array; `numel` is the length that the file states."""

    def __init__(self, values, key="0", numel=None):
        self.values, self.key = np.asarray(values), key
        self.numel = len(self.values) if numel is None else numel


class Tensor:
    """A view of a storage."""

    def __init__(self, storage, size, stride, offset=0, parameter=False):
        self.view = storage, offset, size, stride
        self.parameter = parameter

    def __reduce__(self):
        if self.parameter:
            inner = Tensor(self.view[0], *self.view[2:], self.view[1])
            return _rebuild_parameter, (inner, True, collections.OrderedDict())
        return _rebuild_tensor_v2, (*self.view, False, collections.OrderedDict())


def tensor(array, key, order=None):
    """Returns a tensor with the given order of axes in memory."""
    array = np.asarray(array)
    order = tuple(range(array.ndim)) if order is None else order
    flat = array.transpose(order).ravel()
    stride = [0] * array.ndim
    step = 1
    for axis in reversed(order):
        stride[axis] = step
        step *= array.shape[axis]
    return Tensor(Storage(flat, key), array.shape, tuple(stride))


class Pickler(pickle.Pickler):
    def __init__(self, file, legacy):
        super().__init__(file, protocol=2)
        self.legacy, self.storages = legacy, {}

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value
        kind = getattr(TORCH, STORAGES[value.values.dtype.str[1:]])
        reference = ("storage", kind, value.key, "cpu", value.numel)
        return (*reference, None) if self.legacy else reference


def pickled(tree, legacy):
    file = io.BytesIO()
    with mock.patch.dict(sys.modules, {"torch": TORCH, "torch._utils": UTILS}):
        pickler = Pickler(file, legacy)
        pickler.dump(tree)
    return file.getvalue(), pickler.storages


def legacy(tree, little_endian=True):
    content, storages = pickled(tree, legacy=True)
    system = {"protocol_version": PROTOCOL, "little_endian": little_endian}
    heads = [
        MAGIC,
        PROTOCOL,
        system | {"type_sizes": {"short": 2, "int": 4, "long": 4}},
    ]
    parts = [pickle.dumps(head, protocol=2) for head in heads]
    parts += [content, pickle.dumps(list(storages), protocol=2)]
    for storage in storages.values():
        parts += [np.int64(storage.numel).tobytes(), storage.values.tobytes()]
    return b"".join(parts)


def zipped(tree, method=zipfile.ZIP_STORED, byteorder=b"little", content=None):
    made, storages = pickled(tree, legacy=False)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("any name/data.pkl", content or made)
        archive.writestr("any name/.format_version", b"1")
        archive.writestr("any name/byteorder", byteorder)
        for key, storage in storages.items():
            archive.writestr(f"any name/data/{key}", storage.values.tobytes())
        archive.writestr("any name/version", b"3\n")
    return file.getvalue()


CONTAINERS = {"legacy": legacy, "zip": zipped}


def state_dict(arrays, counters=True):
    """Returns a tree like that of the public file, with TensorFlow's order of axes."""
    tree = {}
    for index, (name, array) in enumerate(arrays.items()):
        order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim)
        tree[name] = tensor(array, str(index), order)
        if counters and name.endswith("running_var"):
            counter = name.replace("running_var", "num_batches_tracked")
            tree[counter] = tensor(np.int64(0), f"c{index}")
    return tree
