"""The folder source: order, labels, unreadable images and messages."""

import concurrent.futures
import io
import zipfile

import numpy as np
import pytest
from image_files import (
    DAMAGE,
    DOT,
    FORMS,
    KINDS,
    TOO_LARGE,
    assert_says,
    configure,
    levels,
    pack,
    png,
    put,
    sentence,
    without_counts,
    write,
)
from PIL import Image

from sagan_jax.data import pipeline, sources, transforms
from sagan_jax.data.folder import FolderSource
from sagan_jax.data.formats import SUFFIXES
from sagan_jax.errors import UserError

# Names, labels and order.


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
    assert_says(
        sentence(configure(tmp_path / "gone")),
        f"data.path='{tmp_path}/gone' does not exist",
        "directory",
    )


def test_a_file_is_not_a_directory(tmp_path):
    (tmp_path / "a.tar").touch()
    assert_says(
        sentence(configure(tmp_path / "a.tar")),
        f"data.path='{tmp_path}/a.tar'",
        "neither a directory nor a .zip",
        "choose",
    )


@pytest.mark.parametrize("num_classes", [0, 3])
def test_an_empty_folder_is_named(tmp_path, num_classes):
    assert_says(
        sentence(configure(tmp_path, num_classes)),
        f"data.path='{tmp_path}'",
        f"no images ({', '.join(SUFFIXES)})",
        "sub-folder",
    )


def test_a_class_folder_without_images_is_named(folder):
    (folder / "bat").mkdir()
    (folder / "bat" / "notes.txt").touch()
    assert_says(
        sentence(configure(folder)),
        f"data.path='{folder}': ",
        "'bat'",
        f"no images ({', '.join(SUFFIXES)})",
        "remove",
    )


def test_images_outside_the_class_folders_are_named(folder):
    write(folder / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert_says(
        sentence(configure(folder)),
        f"data.path='{folder}'",
        "outside the class folders",
        "'a.png'",
        "move",
        "--config.model.num_classes=0",
    )


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


def test_the_image_with_the_wrong_checksum_has_no_other_fault():
    with Image.open(io.BytesIO(png(2, 2, bytes(6)))) as image:
        image.load()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DAMAGE)
def test_an_unreadable_image_is_named_with_its_cause(tmp_path, name, form):
    content, cause = DAMAGE[name]
    put(tmp_path / "images" / "only" / name, content)
    write(tmp_path / "images" / "only" / "good.png", np.zeros((8, 8, 3), np.uint8))
    path = pack(tmp_path / "images", form)
    assert_says(
        without_counts(sentence(configure(path, num_classes=1))),
        f"data.path: '{path}/only/{name}' cannot be read as an image ({cause})",
        "replace",
        "--config.data.max_unreadable=1",
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_large_header_is_refused_where_warnings_are_only_warnings():
    with pytest.raises(ValueError, match=TOO_LARGE):
        transforms.decode(io.BytesIO(png(10_000, 9_000)))


@pytest.mark.parametrize("form", FORMS)
def test_unreadable_images_are_left_out_and_reported_up_to_a_number(damaged, form):
    path = pack(damaged, form)
    source = sources.make_source(configure(path, max_unreadable=len(DAMAGE)))
    assert levels(source, range(6)) == [0, 1, 10, 11, 20, 21]
    assert len(source) == 6
    listed = [line for line in source.messages() if line.startswith("warning")]
    for line, name in zip(listed, sorted(DAMAGE), strict=True):
        cause = f"({DAMAGE[name][1]})"
        assert_says(without_counts(line), f"'{path}/dog/{name}'", cause, "left out")


def test_more_than_that_number_are_refused_with_examples(damaged):
    first, *rest = sorted(DAMAGE)
    said = without_counts(sentence(configure(damaged, max_unreadable=len(DAMAGE) - 1)))
    assert_says(
        said,
        f"data.path='{damaged}': 8 of 14 images cannot be read",
        "max_unreadable is 7",
        f"'{damaged}/dog/{first}' ({DAMAGE[first][1]}), ",
        f"({DAMAGE[rest[3]][1]}) and 3 more",
        "replace",
        "--config.data.max_unreadable=8",
    )


def test_a_folder_without_one_readable_image_is_refused(tmp_path):
    for name in ("a.png", "b.png"):
        put(tmp_path / "only" / name, b"")
    config = configure(tmp_path, num_classes=1, max_unreadable=9)
    text = sentence(config)
    assert_says(
        text,
        f"data.path='{tmp_path}': 2 of 2 images cannot be read",
        "max_unreadable is 9",
        f"'{tmp_path}/only/a.png' (it is empty), '{tmp_path}/only/b.png' (it is empty)",
        "replace",
    )
    assert "--config" not in text  # more may not be left out


# Images that fail after the start.


def test_an_image_that_fails_later_is_replaced_by_the_next_and_reported_once(folder):
    source = sources.make_source(configure(folder))
    source.messages()
    (folder / "cat" / "1.png").write_bytes(b"")
    (folder / "dog" / "0.png").unlink()
    for _ in range(2):
        assert levels(source, range(6)) == [0, 11, 11, 11, 20, 21]
        assert [int(source[i]["label"]) for i in range(3)] == [0, 1, 1]
    assert source.replaced == 2
    first, second = source.messages()
    replacement = f"'{folder}/dog/1.png'"
    assert_says(
        first, f"warning: '{folder}/cat/1.png'", "(it is empty)", replacement, "(1 "
    )
    assert_says(
        second,
        f"warning: '{folder}/dog/0.png'",
        "(No such file or directory)",
        replacement,
        "(2 ",
    )
    assert source.messages() == []


def test_the_last_image_is_replaced_by_the_first(folder):
    source = sources.make_source(configure(folder))
    (folder / "owl" / "1.png").unlink()
    assert levels(source, [5]) == [0]


def test_every_process_and_thread_uses_the_same_replacement(folder):
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
    source.messages()
    (folder / "cat" / "0.png").unlink()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: levels(source, [0])[0], range(64))) == {1}
    assert (source.replaced, len(source.messages())) == (1, 1)


def test_missing_data_ends_a_run(folder):
    source = sources.make_source(configure(folder))
    for file in folder.rglob("*.png"):
        file.unlink()
    with pytest.raises(UserError) as caught:
        source[1]
    assert_says(
        str(caught.value),
        f"'{folder}/cat/1.png'",
        "(No such file or directory)",
        "the next 5",
        f"check that '{folder}'",
    )


def test_an_index_beyond_the_end_is_an_error(folder):
    source = sources.make_source(configure(folder))
    assert len(list(source)) == 6
    with pytest.raises(IndexError):
        source[6]


# Messages at the start.


def said(path, **options):
    return FolderSource(str(path), resolution=8, **options).messages()


def test_the_number_of_images_of_each_class_is_reported(folder):
    put(folder / "owl" / "2.png", DOT)
    (line,) = said(folder)
    assert_says(line, f"'{folder}'", "7 images of 3 classes: cat 2, dog 2, owl 3.")


def test_without_labels_the_number_of_images_is_reported(folder):
    (line,) = said(folder, labelled=False)
    assert_says(line, f"'{folder}'", "6 images.")


def test_many_classes_are_summarised_by_the_smallest_and_the_largest(tmp_path):
    for number in range(12):
        for image in range(1 + (number == 3) + 2 * (number == 5)):
            put(tmp_path / f"class {number:02d}" / f"{image}.png", DOT)
    (first, *rest) = said(tmp_path)
    assert_says(first, "15 images of 12 classes: from 1 (class 00) to 3 (class 05)")
    assert rest == []


def test_classes_of_equal_size_are_summarised_by_one_number(tmp_path):
    for number in range(12):
        put(tmp_path / f"n{number:02d}" / "0.png", DOT)
    assert said(tmp_path)[0].endswith(" 12 images of 12 classes, 1 per class.")


def test_ignored_files_are_counted(folder):
    (folder / "notes.txt").touch()
    (folder / "cat" / "a.heic").touch()
    (line,) = said(folder)[1:]
    assert_says(line, "ignored", "2 files", "'cat/a.heic'")


def test_a_class_without_a_readable_image_is_reported(folder):
    for number in range(2):
        put(folder / "dog" / f"{number}.png", b"")
    *_, last = said(folder, max_unreadable=2)
    assert_says(last, "warning: ", "'dog'", "never")


def test_a_gap_in_numbered_classes_is_reported(tmp_path):
    for number in (0, 1, 2, 4, 5):
        put(tmp_path / str(number) / "0.png", DOT)
    (line,) = said(tmp_path)[1:]
    assert_says(line, "warning: the class folders", "3 is missing", "sorted names")


@pytest.mark.parametrize("names", [["1", "2", "3"], ["00", "01"], ["1201", "7744"]])
def test_numbered_classes_without_a_gap_are_not(tmp_path, names):
    for name in names:
        put(tmp_path / name / "0.png", DOT)
    assert len(said(tmp_path)) == 1


def test_a_single_class_folder_is_reported(tmp_path):
    put(tmp_path / "all" / "0.png", DOT)
    (line,) = said(tmp_path)[1:]
    assert_says(line, "warning: ", "class folder", "'all'", "num_classes=0")


# Real images.


def test_photographs_are_read_from_their_zip(shared):
    path = str(shared / "data" / "photos.zip")
    source = FolderSource(path, resolution=64)
    first, second = source.messages()
    assert_says(
        first,
        f"'{path}'",
        "55 images of 5 classes: animal 15, food 10, scene 5, special 7, thing 18.",
    )
    assert_says(second, "1 file ", "'SOURCES.tsv'")
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
        transforms.crop_square(light).mean((0, 1)),
        atol=2,
    )
    # The same portrait three times, twice stored on its side: upright, they agree.
    upright = of("hopper_gray.jpg").mean(-1)
    for number in (6, 8):
        turned = of(f"hopper_orientation_{number}.jpg").mean(-1)
        assert np.corrcoef(upright.flat, turned.flat)[0, 1] > 0.95
        for quarter in (1, 2, 3):
            other = np.rot90(turned, quarter)
            assert np.corrcoef(upright.flat, other.flat)[0, 1] < 0.8
