"""Files of torch.save, valid, damaged and malicious, read without PyTorch."""

import argparse
import collections
import io
import os
import pathlib
import pickle
import re
import sys
import tracemalloc
import types
import zipfile

import numpy as np
import pytest
import torch_files
from image_files import put
from torch_files import CONTAINERS, Storage, Tensor, legacy, tensor, zipped

from sagan_jax.errors import UserError
from sagan_jax.files import torch_file, torch_pickle

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
both = pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)


def read(folder, content):
    return torch_file.read(put(folder / "a.pth", content)).tensors


def refusal(folder, content):
    """Returns the cause in the error message."""
    with pytest.raises(UserError) as caught:
        read(folder, content)
    message = str(caught.value)
    assert message.startswith(f"weights='{folder}/a.pth' ")
    assert "download it again" in message
    return re.search(r"\((.*)\); ", message)[1]


@both
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_axes_may_have_any_order_in_memory(tmp_path, container, order):
    found = read(tmp_path, container({"a": tensor(CUBE, "0", order)}))
    np.testing.assert_array_equal(found["a"], CUBE)


@both
def test_views_share_a_storage_at_their_offsets(tmp_path, container):
    storage = Storage(CUBE.ravel())
    tree = {
        "column": Tensor(storage, (6,), (4,), 2),
        "end": Tensor(storage, (4,), (1,), 20),
        "repeated": Tensor(storage, (3, 2), (0, 1), 1),
        "one": Tensor(storage, (), (), 5),
    }
    found = read(tmp_path, container(tree))
    np.testing.assert_array_equal(found["column"], [2, 6, 10, 14, 18, 22])
    np.testing.assert_array_equal(found["end"], [20, 21, 22, 23])
    np.testing.assert_array_equal(found["repeated"], [[1, 2]] * 3)
    np.testing.assert_array_equal(found["one"], 5)


@both
@pytest.mark.parametrize("kind", sorted(torch_files.STORAGES.keys() - {"u2"}))
def test_every_numeric_type_is_supported(tmp_path, container, kind):
    values = np.array([0, 1, 1, 0, 1]).astype(kind)
    found = read(tmp_path, container({"a": tensor(values, "0")}))["a"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@both
def test_bfloat16_becomes_float32(tmp_path, container):
    upper = np.array([0x3F80, 0xC049, 0x0000], np.uint16)  # 1, -3.140625, 0
    found = read(tmp_path, container({"a": tensor(upper, "0")}))["a"]
    np.testing.assert_array_equal(found, np.float32([1, -3.140625, 0]))


@both
def test_an_ordered_dict_with_versions_and_parameters_is_a_dict(tmp_path, container):
    tree = collections.OrderedDict(
        a=Tensor(Storage(CUBE.ravel()), (24,), (1,), parameter=True),
        b=tensor(CUBE[0], "1"),
    )
    tree._metadata = collections.OrderedDict({"": {"version": 1}})
    found = read(tmp_path, container(tree))
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], CUBE.ravel())


@both
def test_a_file_truncated_anywhere_is_refused(tmp_path, container):
    content = container({"a": tensor(CUBE, "0"), "b": tensor(CUBE[0], "1")})
    for length in range(0, len(content) - 1, 7):
        assert refusal(tmp_path, content[:length])


@both
def test_damage_anywhere_is_refused_or_harmless(tmp_path, container):
    content = container({"a": tensor(CUBE, "0"), "b": tensor(CUBE[0], "1")})
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x55
        try:
            found = read(tmp_path, bytes(damaged))
        except UserError:
            continue
        assert sum(array.size for array in found.values()) <= len(content)


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@both
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call(os.system, "mkdir evil"), "posix system"),
        (Call(os.mkdir, "evil"), "posix mkdir"),
        (Call(eval, "__import__('os').mkdir('evil')"), "__builtin__ eval"),
        (Call(getattr, "os", "mkdir"), "__builtin__ getattr"),
        (Call(pathlib.Path, "evil"), "pathlib Path"),
    ],
)
def test_other_calls_are_refused_and_not_executed(
    tmp_path, container, call, name, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    cause = refusal(tmp_path, container({"a": call}))
    assert cause == f"it uses '{name}', which is not part of a tensor"
    assert os.listdir(tmp_path) == ["a.pth"]


def raw(*parts):
    """Returns a zip with a hand-written pickle."""
    return zipped({}, content=b"\x80\x02" + b"".join(parts) + b".")


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (
            raw(b"(S'ls'\nios\nsystem\n"),
            "it uses STRING, which a file of tensors",
        ),
        (raw(b"(ios\nsystem\n"), "it uses INST, which a file of tensors never"),
        (
            raw(b"\x8c\x02os\x8c\x06system\x93"),
            "it uses SHORT_BINUNICODE, which a",
        ),
        (raw(b"\x82\x01"), "it uses EXT1, which a file of tensors never"),
        (raw(b"ccollections\nOrderedDict\n)\x81"), "it uses NEWOBJ, which a file"),
        (raw(REBUILD, b"}b"), "it sets items of something that is not a dict"),
        (raw(REBUILD, b"K\x01K\x02s"), "it sets items of something that is not a dict"),
        (raw(REBUILD, b"K\x01a"), "it appends to something that is not a list"),
        (raw(REBUILD, b")R"), "it calls a function in an unknown way"),
        (raw(b"ctorch\nFloatStorage\n)R"), "it calls a function in an unknown way"),
        (raw(b"})K\x01s"), "it has a dict whose keys are not names"),
        (raw(b"]"), "it holds no dict of tensors"),
        (raw(b"}X\x01\x00\x00\x00aK\x01s"), "'a' is not a tensor"),
        (raw(b"}j\xff\xff\xff\xff"), "4294967295"),
        (raw(b"K\x01Q"), "cannot unpack non-iterable int object"),
        (raw(b""), "pop from empty list"),
    ],
)
def test_a_pickle_of_anything_but_tensors_is_refused(tmp_path, content, cause):
    assert refusal(tmp_path, content).startswith(cause)


@both
@pytest.mark.parametrize(
    ("view", "cause"),
    [
        (((25,), (1,), 0), "reaches past the end of storage '0'"),
        (((24,), (1,), 1), "reaches past the end of storage '0'"),
        (((4, 4), (7, 1), 0), "reaches past the end of storage '0'"),
        (((2**70,), (1,), 0), "reaches past the end of storage '0'"),
        (((0, 2**70), (0, 0), 0), "reaches past the end of storage '0'"),
        (((24,), (1,), -1), "invalid shape"),
        (((24,), (-1,), 23), "invalid shape"),
        (((-24,), (1,), 0), "invalid shape"),
        (((24,), (1, 1), 0), "invalid shape"),
        ((("24",), (1,), 0), "invalid shape"),
        (((1,) * 9, (1,) * 9, 0), "invalid shape"),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, container, view, cause):
    tree = {"a": Tensor(Storage(CUBE.ravel()), *view)}
    assert cause in refusal(tmp_path, container(tree))


@both
@pytest.mark.parametrize("numel", [2**62, 10**5])
def test_a_storage_longer_than_the_file_is_refused(tmp_path, container, numel):
    tree = {"a": Tensor(Storage(CUBE.ravel(), numel=numel), (24,), (1,))}
    assert refusal(tmp_path, container(tree)) == (
        f"storage '0' with {numel} values is longer than the file"
    )


def test_overlapping_storages_cannot_fill_the_memory(tmp_path):
    tree = {str(i): tensor(np.zeros(1000, "u1"), str(i)) for i in range(4)}
    content = zipped(tree)
    made, _ = torch_files.pickled(
        {
            str(i): Tensor(Storage(np.zeros(2000, "u1"), str(i)), (1,), (1,))
            for i in "0123"
        },
        legacy=False,
    )
    assert refusal(tmp_path, zipped(tree, content=made)) == (
        "its storages are longer than the file"
    )
    assert len(content) > 4000


def test_a_storage_of_another_length_is_refused(tmp_path):
    made, _ = torch_files.pickled({"a": tensor(np.zeros(5), "0")}, legacy=False)
    content = zipped({"a": tensor(np.zeros(4), "0")}, content=made)
    assert refusal(tmp_path, content) == "storage '0' is truncated"


def test_a_compressed_zip_is_refused(tmp_path):
    content = zipped({"a": tensor(CUBE, "0")}, zipfile.ZIP_DEFLATED)
    assert refusal(tmp_path, content) == "'any name/byteorder' is compressed"


def test_big_endian_files_are_refused(tmp_path):
    tree = {"a": tensor(CUBE, "0")}
    for content in (zipped(tree, byteorder=b"big"), legacy(tree, little_endian=False)):
        assert refusal(tmp_path, content) == "its numbers are big-endian"


def test_another_kind_of_zip_is_refused(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", b"")
    assert refusal(tmp_path, file.getvalue()) == "it is a different kind of zip file"


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps({"a": 1}, 2)])
def test_another_kind_of_file_is_refused(tmp_path, content):
    assert refusal(tmp_path, content) == "it has a different format"


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_file, "MAX_BYTES", 10)
    assert refusal(tmp_path, b"hello, world") == "it has 12 bytes, more than 10"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"\(No such file or directory\)"):
        torch_file.read(tmp_path / "gone.pth")


@pytest.mark.parametrize("zip_form", [False, True])
def test_files_of_pytorch_are_read(tmp_path, zip_form):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tree = {"a": base.permute(2, 0, 1), "b": base[1, 1:], "c": torch.tensor(7)}
    tree["d"] = torch.nn.Parameter(base.bfloat16())
    path = tmp_path / "a.pth"
    torch.save(tree, path, _use_new_zipfile_serialization=zip_form)
    found = torch_file.read(path).tensors
    for name, value in tree.items():
        np.testing.assert_array_equal(found[name], value.detach().float().numpy())


def nested(folder, content):
    return torch_file.open_nested(put(folder / "a.pth", content))


@both
def test_dicts_of_tensors_are_found_wherever_they_lie(tmp_path, container):
    first = Storage(CUBE.ravel(), "0")
    tree = {
        "state_dict": {"a": Tensor(first, (24,), (1,)), "step": 5},
        "optimizer": {"state": {0: {"b": tensor(CUBE[0], "1")}}, "lr": [0.1]},
        "c": Tensor(first, (6,), (4,), 2),
        "meta": {"text": "x", "none": None},
    }
    found = nested(tmp_path, container(tree)).groups
    assert {name: list(group) for name, group in found.items()} == {
        "": ["c"],
        "state_dict": ["a"],
        "optimizer/state/0": ["b"],
    }
    np.testing.assert_array_equal(found["state_dict"]["a"].read(), CUBE.ravel())
    np.testing.assert_array_equal(found["optimizer/state/0"]["b"].read(), CUBE[0])
    assert found[""]["c"].shape == (6,)
    assert found[""]["c"].nbytes == 24
    np.testing.assert_array_equal(found[""]["c"].read(), [2, 6, 10, 14, 18, 22])


@both
def test_what_lies_beside_tensors_is_left_out(tmp_path, container):
    tree = {
        "scalar": np.float64(1.5),
        "array": np.arange(5),
        "counts": collections.defaultdict(list, a=[1]),
        "seen": collections.Counter("abca"),
        "set": {1, 2},
        "arguments": argparse.Namespace(lr=0.1, names=["x"]),
        "empty": Tensor(Storage(CUBE.ravel()), (0,), (1,)),
        "a": tensor(CUBE, "1"),
    }
    found = nested(tmp_path, container(tree)).groups
    assert list(found) == [""]
    assert list(found[""]) == ["a"]


@both
def test_a_log_of_mmengine_is_left_out(tmp_path, container, monkeypatch):
    name = "mmengine.logging.history_buffer"
    kind = type("HistoryBuffer", (), {"__module__": name})
    module = types.ModuleType(name)
    module.HistoryBuffer = kind
    # Pickling by reference imports every package above.
    for part in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)
    log = kind()
    log._log_history, log._methods = np.arange(3.0), {"mean": 1}
    tree = {"message_hub": {"loss": log}, "state_dict": {"a": tensor(CUBE, "0")}}
    found = nested(tmp_path, container(tree)).groups
    assert list(found) == ["state_dict"]


@both
@pytest.mark.parametrize("function", [os.system, eval, getattr, pathlib.Path])
def test_calls_beside_tensors_are_refused_and_not_executed(
    tmp_path, container, function, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    tree = {"meta": {"x": Call(function, "mkdir evil")}, "a": tensor(CUBE, "0")}
    with pytest.raises(UserError, match="is not part of a tensor"):
        nested(tmp_path, container(tree))
    assert os.listdir(tmp_path) == ["a.pth"]


def test_dicts_that_hold_each_other_many_times_take_no_time(tmp_path):
    tree = {"a": tensor(CUBE, "0")}
    for _ in range(100):  # 2**100 ways down
        tree = {"x": tree, "y": tree}
    assert nested(tmp_path, zipped(tree)).groups == {}


def test_a_flipped_bit_is_found_when_its_tensor_is_read(tmp_path):
    content = bytearray(zipped({"a": tensor(CUBE, "0"), "b": tensor(CUBE[0], "1")}))
    content[content.index(CUBE.tobytes()) + 3] ^= 1
    found = nested(tmp_path, bytes(content)).groups[""]
    np.testing.assert_array_equal(found["b"].read(), CUBE[0])
    with pytest.raises(UserError, match=r"Bad CRC-32 .* download it again"):
        found["a"].read()


def test_a_tensor_larger_than_its_storage_is_not_made(tmp_path):
    many = Tensor(Storage(CUBE.ravel()), (2**20, 2**20), (0, 0))
    found = nested(tmp_path, zipped({"a": many})).groups[""]["a"]
    with pytest.raises(UserError, match="repeats values"):
        found.read()


def test_a_huge_nested_file_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_file, "MAX_BYTES_NESTED", 10)
    with pytest.raises(UserError, match="it has 12 bytes, more than 10"):
        nested(tmp_path, b"hello, world")


def test_a_pickle_of_too_many_steps_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_pickle, "_MOST_OPCODES", 20)
    with pytest.raises(UserError, match="more steps than tensors need"):
        nested(tmp_path, zipped({"a": tensor(CUBE, "0")}))


def test_opening_a_large_file_takes_no_memory(tmp_path):
    values = np.zeros(2**25, np.float32)  # 128 MiB
    tree = {"a": tensor(values, "0"), "b": tensor(CUBE, "1")}
    (tmp_path / "a.pth").write_bytes(zipped(tree))
    del values, tree
    tracemalloc.start()
    found = torch_file.open_nested(tmp_path / "a.pth").groups[""]
    assert found["a"].read().sum() == 0
    np.testing.assert_array_equal(found["b"].read(), CUBE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
