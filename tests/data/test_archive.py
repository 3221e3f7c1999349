"""Files in a directory and in a zip, with everything unusual about them."""

import concurrent.futures
import os
import pathlib
import pickle
import re
import zipfile

import numpy as np
import pytest
from image_files import (
    DOT,
    FORMS,
    assert_says,
    configure,
    encoded,
    levels,
    pack,
    put,
    sentence,
    write,
)
from PIL import Image

from sagan_jax.data import archive, sources
from sagan_jax.data.folder import FolderSource
from sagan_jax.errors import UserError


def test_a_file_that_is_too_large_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 50)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    said = sentence(configure(pack(folder, "zip")))
    assert re.search(r"\(it has \d+ bytes, more than 50\)", said)


def test_broken_links_circular_links_and_pipes_do_no_harm(folder):
    (folder / "cat" / "circle").symlink_to(folder)
    os.mkfifo(folder / "cat" / "pipe.png")
    (folder / "dog" / "gone.png").symlink_to(folder / "nowhere")
    assert_says(
        sentence(configure(folder)),
        f"data.path: '{folder}/dog/gone.png'",
        "(No such file or directory)",
    )
    (folder / "dog" / "gone.png").unlink()
    source = sources.make_source(configure(folder))
    assert len(source) == 6


def test_a_link_to_a_folder_elsewhere_is_followed(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "felines").symlink_to(folder / "cat")
    source = sources.make_source(configure(links, num_classes=1))
    assert (len(source), source.class_names) == (2, ("felines",))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(UserError) as caught:
        archive.Directory(str(tmp_path / "gone")).list()
    assert_says(
        str(caught.value),
        f"'{tmp_path}/gone' cannot be listed (No such file or directory)",
        "permissions",
    )


def test_files_are_found_at_any_depth_in_any_case_and_sorted(tmp_path):
    for level, name in enumerate(["b.PNG", "c.webp", "deep/a.jpeg", "z.JPG"]):
        write(tmp_path / "only" / name, np.full((8, 8, 3), 60 * level, np.uint8))
    (tmp_path / "only" / "notes.txt").write_text("not an image")
    (tmp_path / "README.md").write_text("not an image")
    source = FolderSource(str(tmp_path), resolution=8)
    levels = [round(source[index]["image"].mean() / 60) for index in range(len(source))]
    assert levels == [0, 1, 2, 3]


def test_hidden_files_and_folders_are_left_out(folder):
    write(folder / ".thumbnails" / "a.png", np.zeros((8, 8, 3), np.uint8))
    write(folder / "cat" / ".cache" / "a.png", np.zeros((8, 8, 3), np.uint8))
    (folder / "cat" / "._0.png").write_bytes(b"written by another system")
    source = sources.make_source(configure(folder))
    assert (len(source), source.class_names) == (6, ("cat", "dog", "owl"))


# Zip files.


def encoded_level(level):
    return encoded(Image.new("RGB", (8, 8), (level, 0, 0)))


def members(path, **contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return str(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(40)])
def test_a_bad_zip_is_named(tmp_path, content):
    path = put(tmp_path / "a.zip", content)
    assert_says(
        sentence(configure(path)),
        f"data.path='{path}'",
        "(File is not a zip file)",
        "copy",
    )


def test_a_zip_that_was_cut_short_is_named(folder, tmp_path):
    whole = pathlib.Path(pack(folder, "zip")).read_bytes()
    path = put(tmp_path / "half.zip", whole[: len(whole) // 2])
    assert_says(sentence(configure(path)), f"data.path='{path}'", "zip", "copy")


def test_an_empty_zip_holds_no_images(tmp_path):
    said = sentence(configure(members(tmp_path / "a.zip")))
    assert_says(said, f"data.path='{tmp_path}/a.zip'", "no images (", ".bmp, ")


def test_a_zip_gives_the_records_of_its_folder(folder):
    ours = sources.make_source(configure(pack(folder, "zip")))
    theirs = sources.make_source(configure(folder))
    assert (len(ours), ours.class_names) == (len(theirs), theirs.class_names)
    for index in range(len(theirs)):
        np.testing.assert_array_equal(ours[index]["image"], theirs[index]["image"])
        assert ours[index]["label"] == theirs[index]["label"]


def test_without_labels_a_flat_zip_will_do(tmp_path):
    path = members(tmp_path / "a.zip", **{"a.png": DOT, "b/c.png": DOT})
    source = sources.make_source(configure(path, num_classes=0))
    assert (len(source), source.num_classes) == (2, 0)


@pytest.mark.parametrize("form", FORMS)
def test_the_class_folders_may_be_inside_other_folders(tmp_path, form):
    for name in ("cat", "dog"):
        put(tmp_path / "images" / "outer" / "train" / name / "0.png", DOT)
    source = sources.make_source(configure(pack(tmp_path / "images", form), 2))
    assert source.class_names == ("cat", "dog")


def test_members_that_point_out_of_a_zip_are_ignored(tmp_path):
    names = ["../evil.png", "/../evil.png", "cat/../../evil.png", "..\\evil.png"]
    path = members(tmp_path / "a.zip", **dict.fromkeys([*names, "cat/0.png"], DOT))
    source = sources.make_source(configure(path, num_classes=1))
    assert (len(source), source.class_names) == (1, ("cat",))
    _, ignored, *_ = source.messages()
    assert_says(ignored, "2 files", "'../evil.png'")
    source[0]
    assert list(tmp_path.rglob("*")) == [tmp_path / "a.zip"]
    assert not (tmp_path.parent / "evil.png").exists()


def test_files_that_systems_add_to_a_zip_are_ignored(tmp_path):
    names = ["cat/0.png", "__MACOSX/cat/._0.png", "__MACOSX/x.png", ".git/a.png"]
    path = members(tmp_path / "a.zip", **dict.fromkeys(names, DOT))
    source = sources.make_source(configure(path, num_classes=1))
    assert (len(source), source.class_names) == (1, ("cat",))


def test_a_class_folder_without_images_in_a_zip_is_named(tmp_path):
    path = members(tmp_path / "a.zip", **{"cat/0.png": DOT, "dog/": b""})
    assert_says(
        sentence(configure(path, 2)), f"data.path='{path}'", "'dog'", "no images ("
    )


def test_a_member_whose_bytes_changed_is_named(folder):
    path = pathlib.Path(pack(folder, "zip", zipfile.ZIP_STORED))
    first = (folder / "cat" / "0.png").read_bytes()
    content = bytearray(path.read_bytes())
    content[content.index(first) + len(first) - 20] ^= 1
    path.write_bytes(content)
    assert_says(
        sentence(configure(path)),
        f"data.path: '{path}/cat/0.png'",
        "(Bad CRC-32 for file 'cat/0.png')",
    )


@pytest.mark.parametrize("form", FORMS)
def test_threads_read_the_same_as_one(folder, form):
    for number in range(2, 20):
        level = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        write(folder / "owl" / f"{number}.png", level)
    source = sources.make_source(configure(pack(folder, form)))
    order = list(range(len(source))) * 5
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: source[index]["image"], order))
    for index, image in zip(order, found, strict=True):
        np.testing.assert_array_equal(image, source[index]["image"])


@pytest.mark.parametrize("form", FORMS)
def test_a_source_can_be_sent_to_a_worker(folder, form):
    source = sources.make_source(configure(pack(folder, form)))
    sent = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(sent[3]["image"], source[3]["image"])


def test_a_forked_worker_opens_the_zip_for_itself(folder, monkeypatch):
    ours = archive.Zip(pack(folder, "zip"))
    here = ours._zip()
    assert ours._zip() is here
    monkeypatch.setattr(archive.os, "getpid", lambda: -1)
    there = ours._zip()
    assert there is not here
    assert ours._zip() is there
    here.archive.close()
    there.archive.close()


# Other spellings of names in a zip.


@pytest.mark.parametrize(
    "form",
    ["./{}/{}.png", "/{}/{}.png", "pets/./{}/{}.png", "{}\\{}.png", ".\\{}\\{}.png"],
)
def test_names_are_understood_however_a_program_spells_them(tmp_path, form):
    names = [form.format(c, n) for c in ("cat", "dog") for n in range(2)]
    images = {name: encoded_level(10 * i) for i, name in enumerate(names)}
    path = members(tmp_path / "a.zip", **images)
    source = sources.make_source(configure(path, num_classes=2))
    assert source.class_names == ("cat", "dog")
    assert levels(source, range(4)) == [0, 10, 20, 30]
    assert source.labels.tolist() == [0, 0, 1, 1]


def test_a_folder_that_is_a_member_may_be_spelt_so_too(tmp_path):
    names = dict.fromkeys(["./", "./cat/", "dog\\"], b"")
    path = members(tmp_path / "a.zip", **names, **{"./cat/0.png": DOT})
    listing = archive.open_archive(path).list()
    assert (listing.folders, list(listing.images)) == ({"cat", "dog"}, ["cat/0.png"])


def test_of_two_members_of_one_name_the_later_one_counts(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("cat/0.png", encoded_level(10))
        file.writestr("./cat/0.png", encoded_level(20))
    source = sources.make_source(configure(path, num_classes=1))
    assert levels(source, range(len(source))) == [20]


# What systems put beside pictures.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "name",
    ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"],
)
def test_folders_of_the_system_are_left_out_and_counted(tmp_path, form, name):
    for place in (name, f"cat/{name}"):
        put(tmp_path / "a" / place / "0.jpg" / "thumb.png", DOT)
    put(tmp_path / "a" / "cat" / "0.png", DOT)
    source = sources.make_source(configure(pack(tmp_path / "a", form), num_classes=1))
    assert (len(source), source.class_names) == (1, ("cat",))
    (line,) = [m for m in source.messages() if "of the system" in m]
    assert_says(line, "ignored 2 folders", repr(min(name, f"cat/{name}")))


# Links.


@pytest.mark.parametrize("count", [4, 8, 60])
def test_folders_that_are_linked_to_each_other_are_read_once(tmp_path, count):
    for a in range(count):
        put(tmp_path / f"t{a:02}" / "x.png", DOT)
        for b in range(count):
            if a != b:
                (tmp_path / f"t{a:02}" / f"to{b}").symlink_to(f"../t{b:02}")
    source = sources.make_source(configure(tmp_path, num_classes=count))
    assert len(source) == count
    (line,) = [m for m in source.messages() if "symbolic link" in m]
    assert_says(line, f"{count * (count - 1)} symbolic links", "'t00/to1'")


@pytest.mark.parametrize("link", ["latest", "a_latest"])
def test_a_link_to_a_folder_next_to_it_does_not_double_it(tmp_path, link):
    put(tmp_path / "train" / "0.png", DOT)
    put(tmp_path / "train" / "1.png", DOT)
    (tmp_path / link).symlink_to("train")
    (tmp_path / "train" / "best.png").symlink_to("1.png")
    listing = archive.open_archive(str(tmp_path)).list()
    assert sorted(listing.images) == ["train/0.png", "train/1.png"]
    assert sorted(listing.links) == sorted([link, "train/best.png"])
    assert listing.folders == {"train"}


def test_links_that_lead_out_are_followed_once(tmp_path):
    put(tmp_path / "pool" / "deep" / "0.png", DOT)
    put(tmp_path / "pool" / "blob", DOT)
    root = tmp_path / "data"
    root.mkdir()
    for name, target in (("a", "../pool"), ("b", "../pool/deep"), ("c", "a/deep")):
        (root / name).symlink_to(target)
    (root / "x.png").symlink_to("../pool/blob")
    listing = archive.open_archive(str(root)).list()
    assert sorted(listing.images) == ["a/deep/0.png", "x.png"]


def test_a_link_to_a_file_that_is_no_image_by_name_counts(tmp_path):
    put(tmp_path / "blobs" / "0a1b", DOT)
    put(tmp_path / "main" / "note.txt", b"")
    (tmp_path / "main" / "0.png").symlink_to("../blobs/0a1b")
    listing = archive.open_archive(str(tmp_path)).list()
    assert list(listing.images) == ["main/0.png"]


@pytest.fixture
def deep(tmp_path):
    """A folder that is nested deeper than Python's stack."""
    here = os.getcwd()
    os.chdir(tmp_path)
    for _ in range(1100):
        os.mkdir("d")
        os.chdir("d")
    pathlib.Path("0.png").write_bytes(DOT)
    os.chdir(here)
    yield tmp_path
    # pytest's own clean-up is recursive.
    os.chdir(tmp_path)
    for _ in range(1100):
        os.chdir("d")
    os.remove("0.png")
    for _ in range(1100):
        os.chdir("..")
        os.rmdir("d")
    os.chdir(here)


def test_folders_may_be_nested_deeper_than_python_s_stack(deep):
    listing = archive.open_archive(str(deep)).list()
    assert len(listing.images) == 1
    assert len(listing.folders) == 1100
    sources.make_source(configure(deep, num_classes=1))
    path = members(deep / "a.zip", **{"d/" * 1100 + "0.png": DOT})
    assert len(archive.open_archive(path).list().folders) == 1100


def test_what_would_be_listed_is_known(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to("../outside")
    (tmp_path / "other").symlink_to("data")
    ours = archive.open_archive(str(tmp_path / "data"))
    ours.list()
    inside = ["data", "data/run", "data/a/b", "outside/run", "other/run"]
    apart = [".", "run", "data2", "data/.run", "data/a/.b/c", "data/@eaDir/x"]
    assert all(ours.encloses(str(tmp_path / name)) for name in inside)
    assert not any(ours.encloses(str(tmp_path / name)) for name in apart)
