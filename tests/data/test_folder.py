"""The folder source: every kind of file, every kind of damage, what is remembered."""

import concurrent.futures
import errno
import io
import itertools
import json
import os
import pathlib
import pickle
import re
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from sagan_jax import config as config_lib
from sagan_jax.data import archive, pipeline, sources, transforms, verdicts
from sagan_jax.data.folder import FolderSource
from sagan_jax.errors import UserError

FORMS = ("folder", "zip")


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def pack(root, form, method=zipfile.ZIP_DEFLATED):
    """Returns the path of a directory, or of a zip of it made beside."""
    if form == "folder":
        return str(root)
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", method) as file:
        for found in sorted(root.rglob("*")):
            file.write(found, found.relative_to(root).as_posix())
    return str(path)


def configure(path="", num_classes=3, resolution=8, channels=3, max_unreadable=0):
    config = config_lib.Config()
    config.data.source, config.data.path = "folder", str(path)
    config.data.max_unreadable = max_unreadable
    config.model.resolution, config.model.channels = resolution, channels
    config.model.num_classes = num_classes
    return config


def sentence(config):
    with pytest.raises(UserError) as caught:
        sources.make_source(config)
    return str(caught.value)


def levels(source, indices):
    return [int(source[index]["image"][0, 0, 0]) for index in indices]


# Names, labels and order.


@pytest.fixture
def folder(tmp_path):
    """Three classes whose images, 8 x 8, have one level each: 10 * class + number."""
    root = tmp_path / "images"
    for label, name in enumerate(["cat", "dog", "owl"]):
        for number in range(2):
            level = np.full((8, 8, 3), 10 * label + number, np.uint8)
            write(root / name / f"{number}.png", level)
    return root


def test_labels_follow_the_sorted_names_of_the_class_folders(folder):
    source = sources.make_source(configure(folder))
    assert (source.num_classes, source.class_names) == (3, ("cat", "dog", "owl"))
    assert len(source) == 6
    found = [
        (int(r["label"]), int(r["image"][0, 0, 0]))
        for r in map(source.__getitem__, range(6))
    ]
    assert found == [(0, 0), (0, 1), (1, 10), (1, 11), (2, 20), (2, 21)]


def test_records_are_uint8_images_and_int32_labels(folder):
    record = sources.make_source(configure(folder))[5]
    assert set(record) == {"image", "label"}
    assert record["image"].dtype == np.uint8
    assert record["label"].dtype == np.int32
    assert record["label"].shape == ()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_of_the_right_size_pass_bit_for_bit(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, channels), np.uint8)
    write(tmp_path / "only" / "a.png", pixels.squeeze())
    source = FolderSource(str(tmp_path), resolution=16, channels=channels)
    np.testing.assert_array_equal(source[0]["image"], pixels)


def test_other_sizes_are_cropped_to_the_middle_and_resized(tmp_path):
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = [10, 120, 250]  # the middle third is what remains
    write(tmp_path / "only" / "a.png", pixels)
    image = FolderSource(str(tmp_path), resolution=8)[0]["image"]
    np.testing.assert_array_equal(image, np.broadcast_to([10, 120, 250], (8, 8, 3)))


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


def test_without_labels_a_flat_folder_will_do(tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.png", np.full((8, 8, 3), number, np.uint8))
    source = sources.make_source(configure(tmp_path, num_classes=0))
    assert (len(source), source.num_classes, source.class_names) == (3, 0, ())
    assert [int(source[index]["image"][0, 0, 0]) for index in range(3)] == [0, 1, 2]
    assert [int(source[index]["label"]) for index in range(3)] == [0, 0, 0]


def test_without_labels_class_folders_are_only_folders(folder):
    source = sources.make_source(configure(folder, num_classes=0))
    assert (len(source), source.num_classes) == (6, 0)
    assert {int(source[index]["label"]) for index in range(6)} == {0}


def test_a_missing_path_is_named(tmp_path):
    assert sentence(configure(tmp_path / "gone")) == (
        f"data.path='{tmp_path}/gone' does not exist; set --config.data.path=DIR to a "
        "directory of images."
    )


def test_a_file_is_not_a_directory(tmp_path):
    (tmp_path / "a.tar").touch()
    assert sentence(configure(tmp_path / "a.tar")) == (
        f"data.path='{tmp_path}/a.tar' is neither a directory nor a .zip file; set "
        "--config.data.path to one that holds images."
    )


@pytest.mark.parametrize("num_classes", [0, 3])
def test_an_empty_folder_is_named(tmp_path, num_classes):
    assert sentence(configure(tmp_path, num_classes)) == (
        f"data.path='{tmp_path}' holds no images (.bmp, .gif, .jpeg, .jpg, .png, .tif, "
        ".tiff, .webp); set --config.data.path=DIR to a directory with one sub-folder "
        "of images for each class."
    )


def test_a_class_folder_without_images_is_named(folder):
    (folder / "bat").mkdir()
    (folder / "bat" / "notes.txt").touch()
    assert sentence(configure(folder)) == (
        f"data.path='{folder}': the class folder 'bat' holds no images (.bmp, .gif, "
        ".jpeg, .jpg, .png, .tif, .tiff, .webp); fill it or remove it."
    )


def test_images_outside_of_class_folders_are_not_left_out_silently(folder):
    write(folder / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert sentence(configure(folder)) == (
        f"data.path='{folder}' holds images outside of class folders, such as 'a.png'; "
        "move them into a sub-folder for each class, or set "
        "--config.model.num_classes=0 to train without labels."
    )


def test_a_folder_that_cannot_be_listed_is_not_left_out_silently(tmp_path):
    with pytest.raises(UserError) as caught:
        archive.Directory(str(tmp_path / "gone")).list()
    assert str(caught.value) == (
        f"data.path: '{tmp_path}/gone' cannot be listed (No such file or directory); "
        "mend its permissions or remove it."
    )


# Every kind of file. All show four colours, 24 pixels high and 40 wide, of which the
# centre is cut out: [top left, top right, bottom left, bottom right].

COLOURS = np.array([[200, 30, 40], [20, 180, 60], [30, 50, 210], [240, 230, 20]])
LEVELS = np.array([10, 90, 170, 250])
ALPHA = np.array([255, 0, 128, 255])
ENTRIES = np.arange(4)


def quadrants(values, dtype=np.uint8):
    """[24, 40] or [24, 40, C], each quadrant of one value."""
    where = np.repeat([[0, 1], [2, 3]], 12, axis=0).repeat(20, axis=1)
    return np.asarray(values, dtype)[where]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(values, mode=None):
    pixels = quadrants(values)
    return Image.fromarray(pixels) if mode is None else Image.fromarray(pixels, mode)


def over_white(colours):
    share = ALPHA[:, None] / 255
    return colours * share + 255 * (1 - share)


def grey(levels):
    return np.repeat(np.asarray(levels)[:, None], 3, axis=1)


def palette():
    image = Image.new("P", (40, 24))
    image.putpalette(COLOURS.flatten().tolist())
    image.putdata(quadrants(ENTRIES).flatten().tolist())
    return image


def cmyk():
    inks = [[0, 255, 255, 0], [255, 0, 255, 0], [255, 255, 0, 0], [0, 0, 0, 100]]
    image = Image.frombytes("CMYK", (40, 24), quadrants(inks).tobytes())
    return encoded(image, "JPEG", quality=100, subsampling=0)


def animated(kind, **options):
    first, second = picture(COLOURS), Image.new("RGB", (40, 24))
    return encoded(first, kind, save_all=True, append_images=[second], **options)


def stored_turned(orientation):
    """The standard: which sides the first stored row and column show.

    3: bottom and right; 6: right and top; 8: left and bottom.
    """
    upright = quadrants(COLOURS)
    height, width = upright.shape[:2]
    if orientation == 3:
        stored = [
            [upright[height - 1 - r, width - 1 - c] for c in range(width)]
            for r in range(height)
        ]
    elif orientation == 6:
        stored = [
            [upright[c, width - 1 - r] for c in range(height)] for r in range(width)
        ]
    else:
        stored = [
            [upright[height - 1 - c, r] for c in range(height)] for r in range(width)
        ]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.array(stored, np.uint8))
    return encoded(image, "JPEG", quality=100, subsampling=0, exif=exif)


def lossless_or_close():
    deep = Image.fromarray(quadrants(257 * LEVELS, np.uint16))
    transparent = np.concatenate([COLOURS, ALPHA[:, None]], axis=1)
    levels_alpha = np.stack([LEVELS, ALPHA], axis=1)
    entry_1 = COLOURS.copy()
    entry_1[1] = 255
    return {
        "colour.jpg": (
            encoded(picture(COLOURS), "JPEG", quality=100, subsampling=0),
            COLOURS,
        ),
        "colour.bmp": (encoded(picture(COLOURS), "BMP"), COLOURS),
        "colour.tif": (encoded(picture(COLOURS), "TIFF"), COLOURS),
        "grey.png": (encoded(picture(LEVELS)), grey(LEVELS)),
        "grey.jpeg": (encoded(picture(LEVELS), "JPEG", quality=100), grey(LEVELS)),
        "black_and_white.png": (
            encoded(picture([0, 255, 255, 0]).convert("1")),
            grey([0, 255, 255, 0]),
        ),
        "alpha.png": (encoded(picture(transparent)), over_white(COLOURS)),
        "alpha.webp": (
            encoded(picture(transparent), "WEBP", lossless=True, exact=True),
            over_white(COLOURS),
        ),
        "grey_alpha.png": (encoded(picture(levels_alpha)), over_white(grey(LEVELS))),
        "deep.png": (encoded(deep), grey(LEVELS)),
        "deep.tiff": (encoded(deep, "TIFF"), grey(LEVELS)),
        "cmyk.jpg": (cmyk(), [[255, 0, 0], [0, 255, 0], [0, 0, 255], [155] * 3]),
        "palette.png": (encoded(palette()), COLOURS),
        "palette_alpha.png": (
            encoded(palette(), transparency=bytes(ALPHA.tolist())),
            over_white(COLOURS),
        ),
        "palette_hole.gif": (encoded(palette(), "GIF", transparency=1), entry_1),
        "animated.gif": (animated("GIF"), COLOURS),
        "animated.webp": (animated("WEBP", lossless=True), COLOURS),
        "animated.png": (animated("PNG"), COLOURS),
        **{f"turned_{n}.jpg": (stored_turned(n), COLOURS) for n in (3, 6, 8)},
    }


KINDS = lossless_or_close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_shows_its_colours_where_they_belong(tmp_path, name, form):
    content, expected = KINDS[name]
    put(tmp_path / "images" / "only" / name, content)
    image = FolderSource(pack(tmp_path / "images", form), resolution=16)[0]["image"]
    assert image.shape == (16, 16, 3)
    inner = [image[y : y + 4, x : x + 4] for y in (2, 10) for x in (2, 10)]
    found = [part.mean((0, 1)) for part in inner]
    np.testing.assert_allclose(found, expected, atol=4)  # JPEG, and a palette for GIF


@pytest.mark.parametrize(
    ("size", "kept"), [((90, 30), 30), ((17, 64), 17), ((8, 8), 8)]
)
def test_sizes_may_be_mixed(tmp_path, size, kept):
    edge = np.zeros((size[1], size[0], 3), np.uint8)
    top, left = (size[1] - kept + 1) // 2, (size[0] - kept + 1) // 2
    edge[top : top + kept, left : left + kept] = [90, 160, 250]
    write(tmp_path / "b" / "edge.png", edge)
    write(tmp_path / "a" / "other.png", np.zeros((50, 70, 3), np.uint8))
    image = FolderSource(str(tmp_path), resolution=16)[1]["image"]
    np.testing.assert_array_equal(image, np.broadcast_to([90, 160, 250], (16, 16, 3)))


# Every kind of damage.


def png_chunk(kind, content, checksum=None):
    good = zlib.crc32(kind + content)
    checksum = good if checksum is None else checksum
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    )


def png(width, height, data=b"", **options):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(data), **options)
    return b"\x89PNG\r\n\x1a\n" + header + body + png_chunk(b"IEND", b"")


NOISE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
)
JPEG = encoded(NOISE, "JPEG")
TOO_LARGE = "its header declares more than 89478485 pixels"
DAMAGE = {
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "image file is truncated"),
    "truncated.png": (encoded(NOISE)[:5000], "image file is truncated"),
    "empty.jpg": (b"", "it is empty"),
    "text.png": (b"hello", "its format is not known"),
    "huge.png": (png(50_000, 50_000), TOO_LARGE),
    "large.png": (png(10_000, 9_000), TOO_LARGE),
    "checksum.png": (
        png(2, 2, bytes(6), checksum=1),
        "broken PNG file (bad header checksum in b'IDAT')",
    ),
    "float.tif": (
        encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"),
        "pixel mode 'F' has no fixed range",
    ),
}  # fmt: skip


def without_counts(line):
    return re.sub(r" \(\d+ bytes not processed\)", "", line)


def test_the_image_with_the_wrong_checksum_has_no_other_fault():
    with Image.open(io.BytesIO(png(2, 2, bytes(6)))) as image:
        image.load()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DAMAGE)
def test_what_cannot_be_read_is_named_with_its_cause(tmp_path, name, form):
    content, cause = DAMAGE[name]
    put(tmp_path / "images" / "only" / name, content)
    write(tmp_path / "images" / "only" / "good.png", np.zeros((8, 8, 3), np.uint8))
    path = pack(tmp_path / "images", form)
    assert without_counts(sentence(configure(path, num_classes=1))) == (
        f"data.path: '{path}/only/{name}' cannot be read as an image ({cause}); "
        "replace or remove it, or set --config.data.max_unreadable=1 to leave such out."
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_header_is_refused_where_warnings_are_only_warnings():
    with pytest.raises(ValueError, match=TOO_LARGE):
        transforms.decode(io.BytesIO(png(10_000, 9_000)))


@pytest.fixture
def damaged(folder):
    """The folder of three classes, and all damage in the middle one."""
    for name, (content, _) in DAMAGE.items():
        put(folder / "dog" / name, content)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_read_is_left_out_and_listed_up_to_a_number(damaged, form):
    path = pack(damaged, form)
    source = sources.make_source(configure(path, max_unreadable=len(DAMAGE)))
    assert levels(source, range(6)) == [0, 1, 10, 11, 20, 21]
    assert len(source) == 6
    listed = [line for line in sources.news(source) if line.startswith("warning")]
    assert [without_counts(line) for line in listed] == [
        f"warning: '{path}/dog/{name}' cannot be read as an image ({DAMAGE[name][1]}) "
        "and is left out."
        for name in sorted(DAMAGE)
    ]


def test_more_than_that_number_are_refused_with_examples(damaged):
    first, *rest = sorted(DAMAGE)
    said = without_counts(sentence(configure(damaged, max_unreadable=len(DAMAGE) - 1)))
    assert said.startswith(
        f"data.path='{damaged}': 8 of 14 images cannot be read, with "
        f"data.max_unreadable=7: '{damaged}/dog/{first}' ({DAMAGE[first][1]}), "
    )
    assert said.endswith(
        f"({DAMAGE[rest[3]][1]}) and 3 more; replace or remove them, or set "
        "--config.data.max_unreadable=8 to leave such out."
    )


def test_a_folder_without_one_readable_image_is_refused(tmp_path):
    for name in ("a.png", "b.png"):
        put(tmp_path / "only" / name, b"")
    config = configure(tmp_path, num_classes=1, max_unreadable=9)
    assert sentence(config) == (
        f"data.path='{tmp_path}': 2 of 2 images cannot be read, with "
        f"data.max_unreadable=9: '{tmp_path}/only/a.png' (it is empty), "
        f"'{tmp_path}/only/b.png' (it is empty); replace or remove them."
    )


def test_a_file_beyond_all_sense_is_not_read(folder, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 50)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)
    said = sentence(configure(pack(folder, "zip")))
    assert re.search(r"\(it has \d+ bytes, more than 50\)", said)


def test_links_that_lead_nowhere_or_in_a_circle_and_pipes_do_no_harm(folder):
    (folder / "cat" / "circle").symlink_to(folder)
    os.mkfifo(folder / "cat" / "pipe.png")
    (folder / "dog" / "gone.png").symlink_to(folder / "nowhere")
    assert sentence(configure(folder)).startswith(
        f"data.path: '{folder}/dog/gone.png' cannot be read as an image (No such file "
        "or directory); "
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


# Zip files.


def members(path, **contents):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return str(path)


DOT = encoded(Image.new("RGB", (8, 8), (1, 2, 3)))


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(40)])
def test_a_bad_zip_is_named(tmp_path, content):
    path = put(tmp_path / "a.zip", content)
    assert sentence(configure(path)) == (
        f"data.path='{path}' cannot be read as a zip file (File is not a zip file); "
        "copy or make it again."
    )


def test_a_zip_that_was_cut_short_is_named(folder, tmp_path):
    whole = pathlib.Path(pack(folder, "zip")).read_bytes()
    path = put(tmp_path / "half.zip", whole[: len(whole) // 2])
    assert sentence(configure(path)).startswith(f"data.path='{path}' cannot be read as")


def test_an_empty_zip_holds_no_images(tmp_path):
    said = sentence(configure(members(tmp_path / "a.zip")))
    assert said.startswith(f"data.path='{tmp_path}/a.zip' holds no images (.bmp, ")


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
def test_a_folder_around_the_class_folders_is_seen_through(tmp_path, form):
    for name in ("cat", "dog"):
        put(tmp_path / "images" / "outer" / "train" / name / "0.png", DOT)
    source = sources.make_source(configure(pack(tmp_path / "images", form), 2))
    assert source.class_names == ("cat", "dog")


def test_names_that_lead_out_of_a_zip_are_only_names(tmp_path):
    names = ["../evil.png", "/evil.png", "cat/../../evil.png", "cat//evil.png"]
    path = members(tmp_path / "a.zip", **dict.fromkeys([*names, "cat/0.png"], DOT))
    source = sources.make_source(configure(path, num_classes=1))
    assert (len(source), source.class_names) == (1, ("cat",))
    assert "4 files of other kinds left alone, such as '../evil.png'." in source.news()
    source[0]
    assert list(tmp_path.rglob("*")) == [tmp_path / "a.zip"]
    assert not (tmp_path.parent / "evil.png").exists()


def test_what_systems_add_to_a_zip_is_left_out(tmp_path):
    names = ["cat/0.png", "__MACOSX/cat/._0.png", "__MACOSX/x.png", ".git/a.png"]
    path = members(tmp_path / "a.zip", **dict.fromkeys(names, DOT))
    source = sources.make_source(configure(path, num_classes=1))
    assert (len(source), source.class_names) == (1, ("cat",))


def test_a_class_folder_without_images_in_a_zip_is_named(tmp_path):
    path = members(tmp_path / "a.zip", **{"cat/0.png": DOT, "dog/": b""})
    assert sentence(configure(path, 2)).startswith(
        f"data.path='{path}': the class folder 'dog' holds no images ("
    )


def test_a_member_whose_bytes_changed_is_named(folder):
    path = pathlib.Path(pack(folder, "zip", zipfile.ZIP_STORED))
    first = (folder / "cat" / "0.png").read_bytes()
    content = bytearray(path.read_bytes())
    content[content.index(first) + len(first) - 20] ^= 1
    path.write_bytes(content)
    assert sentence(configure(path)).startswith(
        f"data.path: '{path}/cat/0.png' cannot be read as an image (Bad CRC-32 for "
        "file 'cat/0.png'); "
    )


@pytest.mark.parametrize("form", FORMS)
def test_threads_read_what_one_reads(folder, form):
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
    here.close()
    there.close()


# What is remembered between starts.


@pytest.fixture
def tried(monkeypatch):
    """The names of the images that a start has tried."""
    names = []
    for kind in (archive.Directory, archive.Zip):
        read = kind.read
        monkeypatch.setattr(
            kind, "read", lambda s, name, read=read: names.append(name) or read(s, name)
        )
    return names


def start(path, tried, **options):
    tried.clear()
    source = FolderSource(str(path), resolution=8, **options)
    return source, sorted(tried)


@pytest.mark.parametrize("form", FORMS)
def test_a_second_start_reads_no_image(damaged, tried, form):
    path, options = pack(damaged, form), {"max_unreadable": len(DAMAGE)}
    first, read = start(path, tried, **options)
    assert len(read) == 14
    second, read = start(path, tried, **options)
    assert read == []
    assert len(second) == len(first) == 6
    assert second.news() == first.news()


def test_a_file_that_is_new_changed_or_touched_is_tried_again(folder, tried):
    start(folder, tried)
    put(folder / "cat" / "2.png", DOT)
    assert start(folder, tried)[1] == ["cat/2.png"]
    put(folder / "cat" / "0.png", b"hello")
    with pytest.raises(UserError, match=re.escape("cat/0.png' cannot be read")):
        start(folder, tried)
    assert tried == ["cat/0.png"]
    put(folder / "cat" / "0.png", DOT)
    assert start(folder, tried)[1] == ["cat/0.png"]
    os.utime(folder / "dog" / "0.png", ns=(1, 1))
    assert start(folder, tried)[1] == ["dog/0.png"]
    assert start(folder, tried)[1] == []


def test_a_file_that_is_gone_is_forgotten(folder, tried):
    start(folder, tried)
    content = (folder / "cat" / "0.png").read_bytes()
    os.utime(folder / "cat" / "0.png", ns=(1, 1))
    start(folder, tried)
    (folder / "cat" / "0.png").unlink()
    source, read = start(folder, tried)
    assert (len(source), read) == (5, [])
    put(folder / "cat" / "0.png", content)
    os.utime(folder / "cat" / "0.png", ns=(1, 1))
    assert start(folder, tried)[1] == ["cat/0.png"]


def test_a_zip_that_was_made_again_is_tried_where_it_differs(folder, tried):
    start(pack(folder, "zip"), tried)
    put(folder / "cat" / "0.png", DOT)
    assert start(pack(folder, "zip"), tried)[1] == ["cat/0.png"]


def test_another_pillow_tries_everything_again(folder, tried, monkeypatch):
    start(folder, tried)
    monkeypatch.setattr(verdicts, "_MADE_BY", "1, Pillow 99")
    assert len(start(folder, tried)[1]) == 6


def spoilt(kind, whole):
    content = json.loads(whole)
    name = next(iter(content["images"]))
    entry = {"short": [1], "text": ["a", "b", "c"], "number": 3}.get(kind)
    content["images"][name] = entry
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "kind", ["empty", "half", "bytes", "list", "short", "text", "number", "deep"]
)
def test_a_damaged_memory_is_ignored_and_mended(folder, tried, kind):
    start(folder, tried)
    place = verdicts.cache_file(str(folder))
    whole = place.read_bytes()
    broken = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "bytes": b"\xff\xfe\x00",
        "list": b"[]",
        "deep": b"[" * 100_000,
    }
    place.write_bytes(broken[kind] if kind in broken else spoilt(kind, whole))
    source, read = start(folder, tried)
    assert (len(source), len(read)) == (6, 6)
    assert start(folder, tried)[1] == []


def test_a_place_that_cannot_be_written_is_said_and_does_no_harm(
    folder, tried, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", put(tmp_path / "file", b"mine"))
    for _ in range(2):
        source, read = start(folder, tried)
        assert (len(source), len(read)) == (6, 6)
        assert source.news()[-1] == (
            "warning: that every image was tried cannot be remembered "
            f"('{tmp_path}/file/sagan_jax/folders': Not a directory); the next start "
            "tries them again."
        )


def test_without_a_home_nothing_is_remembered(folder, tried, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    source, _ = start(folder, tried)
    assert "(there is no home directory)" in source.news()[-1]


def test_the_memory_lies_in_the_users_cache_and_not_in_the_data(
    folder, tried, cache_home, monkeypatch
):
    before = sorted(folder.rglob("*"))
    start(folder, tried)
    assert sorted(folder.rglob("*")) == before
    place = verdicts.cache_file(str(folder))
    assert place.parent == cache_home / "sagan_jax" / "folders"
    assert [place] == list(place.parent.iterdir())
    home = pathlib.Path("~/.cache/sagan_jax/folders").expanduser()
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert verdicts.cache_file(str(folder)).parent == home


def test_a_folder_by_another_name_is_remembered(folder, tried, tmp_path):
    start(folder, tried)
    (tmp_path / "link").symlink_to(folder)
    assert start(tmp_path / "link", tried)[1] == []


def test_names_in_any_encoding_are_remembered(tmp_path, tried):
    put(tmp_path / "only" / os.fsdecode(b"caf\xe9.png"), DOT)
    put(tmp_path / "only" / "café.png", DOT)
    assert len(start(tmp_path, tried)[1]) == 2
    assert start(tmp_path, tried)[1] == []


def test_many_may_start_at_once(folder):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = pool.map(
            lambda _: len(FolderSource(str(folder), resolution=8)), range(16)
        )
        assert list(found) == [6] * 16
    place = verdicts.cache_file(str(folder))
    assert list(place.parent.iterdir()) == [place]
    assert len(json.loads(place.read_bytes())["images"]) == 6


def test_an_interrupted_start_is_gone_on_with(folder, tried, monkeypatch):
    check, seen = transforms.check, itertools.count()

    def interrupted(file):
        if next(seen) == 4:
            raise KeyboardInterrupt
        check(file)

    monkeypatch.setattr(verdicts.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(transforms, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(folder, tried)
    monkeypatch.setattr(transforms, "check", check)
    assert start(folder, tried)[1] == ["owl/0.png", "owl/1.png"]


def test_a_fault_of_the_system_is_not_remembered(folder, tried, monkeypatch):
    read = archive.Directory.read

    def failing(self, name):
        if name == "dog/1.png":
            raise OSError(errno.EIO, "Input/output error")
        return read(self, name)

    monkeypatch.setattr(archive.Directory, "read", failing)
    source, _ = start(folder, tried, max_unreadable=1)
    assert len(source) == 5
    assert "(Input/output error) and is left out." in source.news()[0]
    monkeypatch.setattr(archive.Directory, "read", read)
    source, read_again = start(folder, tried)
    assert (len(source), read_again) == (6, ["dog/1.png"])


# Images that fail once a run is under way.


def test_an_image_that_fails_later_is_replaced_by_the_next_and_told_once(folder):
    source = sources.make_source(configure(folder))
    sources.news(source)
    (folder / "cat" / "1.png").write_bytes(b"")
    (folder / "dog" / "0.png").unlink()
    for _ in range(2):
        assert levels(source, range(6)) == [0, 11, 11, 11, 20, 21]
        assert [int(source[i]["label"]) for i in range(3)] == [0, 1, 1]
    assert source.replaced == 2
    assert sources.news(source) == [
        f"warning: '{folder}/cat/1.png' can no longer be read as an image (it is "
        f"empty); '{folder}/dog/1.png' takes its place (1 replaced so far).",
        f"warning: '{folder}/dog/0.png' can no longer be read as an image (No such "
        f"file or directory); '{folder}/dog/1.png' takes its place (2 replaced so "
        "far).",
    ]
    assert sources.news(source) == []


def test_the_last_image_is_replaced_by_the_first(folder):
    source = sources.make_source(configure(folder))
    (folder / "owl" / "1.png").unlink()
    assert levels(source, [5]) == [0]


def test_every_process_and_thread_replaces_alike(folder):
    path = str(folder)
    shares = [FolderSource(path, resolution=8) for _ in range(3)]
    (folder / "dog" / "0.png").unlink()
    options = {"batch_size": 4, "seed": 0}
    alone = pipeline.batch_dataset(shares[2], **options)
    halves = [
        pipeline.batches(
            shares[p], process_index=p, process_count=2, threads=2 * p, **options
        )
        for p in range(2)
    ]
    for step in range(6):
        joined = [next(half) for half in halves]
        for name in ("image", "label"):
            np.testing.assert_array_equal(
                np.concatenate([part[name] for part in joined]), alone[step][name]
            )
    for half in halves:
        half.close()
    assert [share.replaced for share in shares] == [1, 1, 1]


def test_threads_count_a_replaced_image_once(folder):
    source = FolderSource(str(folder), resolution=8)
    source.news()
    (folder / "cat" / "0.png").unlink()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: levels(source, [0])[0], range(64))) == {1}
    assert (source.replaced, len(source.news())) == (1, 1)


def test_data_that_is_gone_ends_a_run(folder):
    source = sources.make_source(configure(folder))
    for file in folder.rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError) as caught:
        source[1]
    assert str(caught.value) == (
        f"data.path: '{folder}/cat/1.png' can no longer be read as an image (No such "
        f"file or directory), nor can the 5 after it; see that '{folder}' is still "
        "there."
    )


def test_an_index_beyond_the_end_is_an_error(folder):
    source = sources.make_source(configure(folder))
    assert len(list(source)) == 6
    with pytest.raises(IndexError):
        source[6]


# What a start says.


def said(path, **options):
    return FolderSource(str(path), resolution=8, **options).news()


def test_a_start_says_how_many_images_of_each_class_there_are(folder):
    put(folder / "owl" / "2.png", DOT)
    assert said(folder) == [
        f"data.path='{folder}' holds 7 images of 3 classes: cat 2, dog 2, owl 3."
    ]


def test_without_labels_it_says_how_many_images(folder):
    assert said(folder, labelled=False) == [f"data.path='{folder}' holds 6 images."]


def test_many_classes_are_told_by_the_smallest_and_the_largest(tmp_path):
    for number in range(12):
        for image in range(1 + (number == 3) + 2 * (number == 5)):
            put(tmp_path / f"class {number:02d}" / f"{image}.png", DOT)
    (first, *rest) = said(tmp_path)
    assert first == (
        f"data.path='{tmp_path}' holds 15 images of 12 classes: from 1 (class 00) to "
        "3 (class 05) in each."
    )
    assert rest == []


def test_even_classes_are_told_as_such(tmp_path):
    for number in range(12):
        put(tmp_path / f"n{number:02d}" / "0.png", DOT)
    assert said(tmp_path)[0].endswith(" holds 12 images of 12 classes, 1 of each.")


def test_files_that_are_left_alone_are_counted(folder):
    (folder / "notes.txt").touch()
    (folder / "cat" / "a.heic").touch()
    assert said(folder)[1:] == [
        "2 files of other kinds left alone, such as 'cat/a.heic'."
    ]


def test_a_class_that_cannot_be_read_at_all_is_warned_of(folder):
    for number in range(2):
        put(folder / "dog" / f"{number}.png", b"")
    *_, last = said(folder, max_unreadable=2)
    assert last == (
        "warning: no image can be read of 'dog'; the model will never see these "
        "classes."
    )


def test_numbered_classes_with_a_gap_are_warned_of(tmp_path):
    for number in (0, 1, 2, 4, 5):
        put(tmp_path / str(number) / "0.png", DOT)
    assert said(tmp_path)[1:] == [
        "warning: the class folders are numbered, but 3 is missing; labels follow the "
        "sorted names, not the numbers."
    ]


@pytest.mark.parametrize("names", [["1", "2", "3"], ["00", "01"], ["1201", "7744"]])
def test_numbered_classes_without_a_gap_are_not(tmp_path, names):
    for name in names:
        put(tmp_path / name / "0.png", DOT)
    assert len(said(tmp_path)) == 1


def test_one_folder_with_everything_is_warned_of(tmp_path):
    put(tmp_path / "all" / "0.png", DOT)
    assert said(tmp_path)[1:] == [
        "warning: all images are in the one class folder 'all'; to train without "
        "labels set --config.model.num_classes=0."
    ]


# Real images.


def test_photographs_are_read_from_their_zip(shared):
    path = str(shared / "data" / "photos.zip")
    source = FolderSource(path, resolution=64)
    assert source.news() == [
        f"data.path='{path}' holds 55 images of 5 classes: animal 15, food 10, scene "
        "5, special 7, thing 18.",
        "1 file of other kinds left alone, such as 'SOURCES.tsv'.",
    ]
    files = {name: index for index, name in enumerate(source._names)}

    def of(name):
        return source[files[f"photos/special/{name}"]]["image"].astype(float)

    with zipfile.ZipFile(path) as file:
        content = file.read("photos/special/pil_sample_cmyk.jpg")
    inks = np.asarray(Image.open(io.BytesIO(content))).astype(float)
    # A pixel of ink c and black k reflects (1 - c)(1 - k); the picture is a square
    # but for a few lines.
    light = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    np.testing.assert_allclose(
        of("pil_sample_cmyk.jpg").mean((0, 1)),
        transforms.centre_crop(light).mean((0, 1)),
        atol=2,
    )
    # One portrait thrice, twice stored on its side: upright, all are alike.
    upright = of("hopper_gray.jpg").mean(-1)
    for number in (6, 8):
        turned = of(f"hopper_orientation_{number}.jpg").mean(-1)
        assert np.corrcoef(upright.flat, turned.flat)[0, 1] > 0.95
        for quarter in (1, 2, 3):
            other = np.rot90(turned, quarter)
            assert np.corrcoef(upright.flat, other.flat)[0, 1] < 0.8


def test_ten_thousand_images_are_read_from_their_zip(shared, tried):
    path = str(shared / "data" / "tiny-imagenet-20class.zip")
    source, read = start(path, tried)
    assert len(read) == 10_000
    assert source.news()[0].endswith("10000 images of 20 classes, 500 of each.")
    assert source[9_999]["label"] == 19
    assert start(path, tried)[1] == []
