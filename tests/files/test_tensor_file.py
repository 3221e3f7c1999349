"""Safetensors files with a digest: what they hold, and what harms them."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from sagan_jax.errors import UserError
from sagan_jax.files import tensor_file

ARRAYS = {
    "b.kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.step": np.array(7, np.int32),
    "c.wide": np.array([0.1, -0.2], np.float64),
    "d.none": np.zeros((0, 4), np.float32),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns a file of every type of array."""
    tensor_file.write(tmp_path / "x.safetensors", ARRAYS, {"who": "me"})
    return tmp_path / "x.safetensors"


def test_the_format_is_that_of_the_library(path: Path) -> None:
    found = safetensors.numpy.load_file(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_the_digest_is_of_notes_names_types_shapes_and_values(path: Path) -> None:
    listed = [
        ["a.step", "I32", []],
        ["b.kernel", "F32", [2, 3]],
        ["c.wide", "F64", [2]],
        ["d.none", "F32", [0, 4]],
    ]
    sha = hashlib.sha256(json.dumps([[["who", "me"]], listed]).encode())
    sha.update(struct.pack("<i", 7) + struct.pack("<6f", *range(6)))
    sha.update(struct.pack("<2d", 0.1, -0.2))
    assert tensor_file.read_header(path).notes == {
        "who": "me",
        "sha256": sha.hexdigest(),
    }


def test_arrays_are_read_back_as_they_were(path: Path) -> None:
    found = tensor_file.read(path)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_a_part_of_the_arrays_can_be_read(path: Path) -> None:
    assert tensor_file.read(path, lambda name: name < "b").keys() == {"a.step"}


@pytest.mark.parametrize("wanted", ["a.step", "b.kernel"])
def test_one_other_bit_is_found_whatever_is_wanted(path: Path, wanted: str) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of b.kernel: wide types come first
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.safetensors.* changed.*download it again"):
        tensor_file.read(path, lambda name: name == wanted)


def test_a_changed_note_is_found(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"me"', b'"us"'))
    assert tensor_file.read_header(path).notes["who"] == "us"
    with pytest.raises(UserError, match="was changed"):
        tensor_file.read(path)


def test_a_file_without_a_digest_is_refused(tmp_path: Path) -> None:
    safetensors.numpy.save_file(ARRAYS, tmp_path / "x")
    with pytest.raises(UserError, match=r"not none\.\.\."):
        tensor_file.read(tmp_path / "x")


def _unreadable(path: Path) -> str:
    with pytest.raises(UserError, match="not a readable safetensors file") as caught:
        tensor_file.read_header(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_file_cut_short_is_one_sentence(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    assert str(path) in _unreadable(path)


def test_a_pointer_of_git_lfs_is_named(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    assert "pointer of Git LFS" in _unreadable(path)


def test_a_header_that_would_fill_the_memory_is_not_read(path: Path) -> None:
    path.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    assert "header is longer than" in _unreadable(path)


@pytest.mark.parametrize("dtype", [np.float16, np.int64])
def test_other_types_are_not_written(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(UserError, match=r"dtype=.*float32, float64, int32"):
        tensor_file.write(tmp_path / "x", {"a": np.zeros(2, dtype)}, {})
    assert not (tmp_path / "x").exists()
