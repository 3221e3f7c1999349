"""The cached results of the image check, and when they are not valid."""

import concurrent.futures
import errno
import itertools
import json
import os
import pathlib
import re

import pytest
from image_files import DAMAGE, DOT, FORMS, assert_says, pack, put

from sagan_jax.data import archive, readable, transforms
from sagan_jax.data.folder import FolderSource
from sagan_jax.errors import UserError


@pytest.fixture
def checked(monkeypatch):
    """The names of the images that a start has read."""
    names = []
    for kind in (archive.Directory, archive.Zip):
        read = kind.read
        monkeypatch.setattr(
            kind, "read", lambda s, name, read=read: names.append(name) or read(s, name)
        )
    return names


def start(path, checked, **options):
    checked.clear()
    source = FolderSource(str(path), resolution=8, **options)
    return source, sorted(checked)


@pytest.mark.parametrize("form", FORMS)
def test_a_second_start_reads_no_image(damaged, checked, form):
    path, options = pack(damaged, form), {"max_unreadable": len(DAMAGE)}
    first, read = start(path, checked, **options)
    assert len(read) == 14
    second, read = start(path, checked, **options)
    assert read == []
    assert len(second) == len(first) == 6
    assert second.messages() == first.messages()


def test_a_file_that_is_new_changed_or_touched_is_checked_again(folder, checked):
    start(folder, checked)
    put(folder / "cat" / "2.png", DOT)
    assert start(folder, checked)[1] == ["cat/2.png"]
    put(folder / "cat" / "0.png", b"hello")
    with pytest.raises(UserError, match=re.escape("cat/0.png' cannot be read")):
        start(folder, checked)
    assert checked == ["cat/0.png"]
    put(folder / "cat" / "0.png", DOT)
    assert start(folder, checked)[1] == ["cat/0.png"]
    os.utime(folder / "dog" / "0.png", ns=(1, 1))
    assert start(folder, checked)[1] == ["dog/0.png"]
    assert start(folder, checked)[1] == []


def test_a_deleted_file_is_removed_from_the_cache(folder, checked):
    start(folder, checked)
    content = (folder / "cat" / "0.png").read_bytes()
    os.utime(folder / "cat" / "0.png", ns=(1, 1))
    start(folder, checked)
    (folder / "cat" / "0.png").unlink()
    source, read = start(folder, checked)
    assert (len(source), read) == (5, [])
    put(folder / "cat" / "0.png", content)
    os.utime(folder / "cat" / "0.png", ns=(1, 1))
    assert start(folder, checked)[1] == ["cat/0.png"]


def test_only_the_changed_members_of_a_new_zip_are_checked(folder, checked):
    start(pack(folder, "zip"), checked)
    put(folder / "cat" / "0.png", DOT)
    assert start(pack(folder, "zip"), checked)[1] == ["cat/0.png"]


def test_another_pillow_checks_everything_again(folder, checked, monkeypatch):
    start(folder, checked)
    monkeypatch.setattr(readable, "_MADE_BY", "1, Pillow 99")
    assert len(start(folder, checked)[1]) == 6


def spoilt(kind, whole):
    content = json.loads(whole)
    name = next(iter(content["images"]))
    entry = {"short": [1], "text": ["a", "b", "c"], "number": 3}.get(kind)
    content["images"][name] = entry
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "kind", ["empty", "half", "bytes", "list", "short", "text", "number", "deep"]
)
def test_a_damaged_cache_is_ignored_and_replaced(folder, checked, kind):
    start(folder, checked)
    place = readable.cache_file(str(folder))
    whole = place.read_bytes()
    broken = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "bytes": b"\xff\xfe\x00",
        "list": b"[]",
        "deep": b"[" * 100_000,
    }
    place.write_bytes(broken[kind] if kind in broken else spoilt(kind, whole))
    source, read = start(folder, checked)
    assert (len(source), len(read)) == (6, 6)
    assert start(folder, checked)[1] == []


def test_a_cache_that_cannot_be_written_is_reported_and_does_no_harm(
    folder, checked, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", put(tmp_path / "file", b"mine"))
    for _ in range(2):
        source, read = start(folder, checked)
        assert (len(source), len(read)) == (6, 6)
        assert_says(
            source.messages()[-1],
            "warning: ",
            "cached",
            f"('{tmp_path}/file/sagan_jax/folders': Not a directory)",
            "next start",
        )


def test_without_a_home_nothing_is_cached(folder, checked, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    source, _ = start(folder, checked)
    assert "(there is no home directory)" in source.messages()[-1]


def test_the_cache_is_in_the_users_directory_and_not_in_the_data(
    folder, checked, cache_home, monkeypatch
):
    before = sorted(folder.rglob("*"))
    start(folder, checked)
    assert sorted(folder.rglob("*")) == before
    place = readable.cache_file(str(folder))
    assert place.parent == cache_home / "sagan_jax" / "folders"
    assert [place] == list(place.parent.iterdir())
    home = pathlib.Path("~/.cache/sagan_jax/folders").expanduser()
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert readable.cache_file(str(folder)).parent == home


def test_a_folder_is_recognised_by_another_name(folder, checked, tmp_path):
    start(folder, checked)
    (tmp_path / "link").symlink_to(folder)
    assert start(tmp_path / "link", checked)[1] == []


def test_names_in_any_encoding_are_cached(tmp_path, checked):
    put(tmp_path / "only" / os.fsdecode(b"caf\xe9.png"), DOT)
    put(tmp_path / "only" / "café.png", DOT)
    assert len(start(tmp_path, checked)[1]) == 2
    assert start(tmp_path, checked)[1] == []


def test_many_may_start_at_once(folder):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = pool.map(
            lambda _: len(FolderSource(str(folder), resolution=8)), range(16)
        )
        assert list(found) == [6] * 16
    place = readable.cache_file(str(folder))
    assert list(place.parent.iterdir()) == [place]
    assert len(json.loads(place.read_bytes())["images"]) == 6


def test_an_interrupted_check_is_resumed(folder, checked, monkeypatch):
    check, seen = transforms.check, itertools.count()

    def interrupted(file):
        if next(seen) == 4:
            raise KeyboardInterrupt
        check(file)

    monkeypatch.setattr(readable.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(transforms, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(folder, checked)
    monkeypatch.setattr(transforms, "check", check)
    assert start(folder, checked)[1] == ["owl/0.png", "owl/1.png"]


def test_an_error_of_the_system_is_not_cached(folder, checked, monkeypatch):
    read = archive.Directory.read

    def failing(self, name):
        if name == "dog/1.png":
            raise OSError(errno.EIO, "Input/output error")
        return read(self, name)

    monkeypatch.setattr(archive.Directory, "read", failing)
    source, _ = start(folder, checked, max_unreadable=1)
    assert len(source) == 5
    assert_says(source.messages()[0], "(Input/output error)", "left out")
    monkeypatch.setattr(archive.Directory, "read", read)
    source, read_again = start(folder, checked)
    assert (len(source), read_again) == (6, ["dog/1.png"])


def test_ten_thousand_images_are_read_from_their_zip(shared, checked):
    path = str(shared / "data" / "tiny-imagenet-20class.zip")
    source, read = start(path, checked)
    assert len(read) == 10_000
    assert source.messages()[0].endswith("10000 images of 20 classes, 500 per class.")
    assert source[9_999]["label"] == 19
    assert start(path, checked)[1] == []
