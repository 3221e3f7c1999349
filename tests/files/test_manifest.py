"""A manifest detects every kind of change in its directory."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest

from sagan_jax.files import manifest

FILES = {"a": b"alpha", "folder/b": bytes(range(256)), "folder/deep/c": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with FILES and their manifest."""
    for name, content in FILES.items():
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_bytes(content)
    manifest.write(tmp_path / "run")
    return tmp_path / "run"


def _assert_damage(folder: Path, *words: str) -> None:
    damage = manifest.damage(folder)
    assert [word for word in words if word not in damage] == [], damage


def _bare(folder: Path) -> Path:
    (folder / "manifest.json").unlink()
    return folder


def test_a_manifest_has_size_and_hash_of_every_file(folder: Path) -> None:
    assert json.loads((folder / "manifest.json").read_text()) == {
        "files": {
            name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in FILES.items()
        }
    }


def test_writing_a_manifest_leaves_no_other_file(folder: Path) -> None:
    assert sorted(p.name for p in folder.iterdir()) == ["a", "folder", "manifest.json"]


def test_an_unchanged_directory_is_undamaged(folder: Path) -> None:
    assert manifest.damage(folder) == ""


def test_a_copy_and_a_moved_directory_are_undamaged(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    folder.rename(tmp_path / "moved")
    assert manifest.damage(tmp_path / "copy") == ""
    assert manifest.damage(tmp_path / "moved") == ""


def test_a_second_manifest_replaces_the_first(folder: Path) -> None:
    (folder / "a").write_bytes(b"omega")
    manifest.write(folder)
    assert manifest.damage(folder) == ""


def test_an_additional_file_is_ignored(folder: Path) -> None:
    (folder / ".DS_Store").write_text("")
    assert manifest.damage(folder) == ""


def test_a_directory_without_a_manifest_counts_as_undamaged(folder: Path) -> None:
    assert manifest.damage(_bare(folder)) == ""


def test_an_empty_directory_is_damaged(tmp_path: Path) -> None:
    _assert_damage(tmp_path, "empty")


@pytest.mark.parametrize("bit", range(0, 256 * 8, 331))
def test_a_flipped_bit_is_damage(folder: Path, bit: int) -> None:
    content = bytearray(FILES["folder/b"])
    content[bit // 8] ^= 1 << bit % 8
    (folder / "folder" / "b").write_bytes(content)
    _assert_damage(folder, "folder/b ", "changed")


@pytest.mark.parametrize("size", [0, 100, 255, 257])
def test_a_file_of_another_size_is_damage(folder: Path, size: int) -> None:
    (folder / "folder" / "b").write_bytes(bytes(size))
    _assert_damage(folder, "folder/b ", f" {size} bytes", " 256")


def test_a_missing_file_is_damage(folder: Path) -> None:
    (folder / "folder" / "deep" / "c").unlink()
    _assert_damage(folder, "folder/deep/c ", "missing")


def test_a_missing_folder_is_damage(folder: Path) -> None:
    shutil.rmtree(folder / "folder")
    _assert_damage(folder, "folder/b ", "missing")


def test_a_missing_directory_is_damage(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    _assert_damage(gone, "No such file or directory", str(gone))


def test_an_unreadable_file_is_damage(folder: Path) -> None:
    error = OSError(5, "Input/output error", str(folder / "a"))
    with mock.patch.object(manifest.hashlib, "file_digest", side_effect=error):
        _assert_damage(folder, "Input/output error", str(folder / "a"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}",
        "3",
        "[]",
        '{"files": {}}',
        '{"files": 3}',
        '{"files": {"a": 3}}',
        '{"files": {"a": {"size": 5}}}',
        '{"files": {"a": {"size": "?", "sha256": ""}}}',
        "\0\0\0\0",
    ],
)
def test_a_damaged_manifest_is_damage(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    _assert_damage(folder, "manifest.json ", "damaged")


def test_a_manifest_that_is_not_text_is_damage(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\xff")
    _assert_damage(folder, "manifest.json ", "damaged")


def test_a_failed_write_leaves_no_manifest(folder: Path) -> None:
    _bare(folder)
    with (
        mock.patch.object(os, "fsync", side_effect=OSError(28, "full")),
        pytest.raises(OSError, match="full"),
    ):
        manifest.write(folder)
    assert manifest.damage(folder) == ""
    manifest.write(folder)
    assert manifest.damage(folder) == ""
    assert sorted(p.name for p in folder.iterdir()) == ["a", "folder", "manifest.json"]
