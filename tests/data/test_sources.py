"""What sources hold and in which order, and the sentence for each that cannot work."""

import numpy as np
import pytest
from PIL import Image

from sagan_jax import config as config_lib
from sagan_jax.data import far_pairs, sources
from sagan_jax.errors import UserError


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path):
    """Three classes whose images, 8 x 8, have one level each: 10 * class + number."""
    root = tmp_path / "images"
    for label, name in enumerate(["cat", "dog", "owl"]):
        for number in range(2):
            level = np.full((8, 8, 3), 10 * label + number, np.uint8)
            write(root / name / f"{number}.png", level)
    return root


def configure(path="", num_classes=3, resolution=8, channels=3):
    config = config_lib.Config()
    config.data.source, config.data.path = "folder", str(path)
    config.model.resolution, config.model.channels = resolution, channels
    config.model.num_classes = num_classes
    return config


def sentence(config):
    with pytest.raises(UserError) as caught:
        sources.make_source(config)
    return str(caught.value)


def test_every_source_that_config_allows_is_in_the_table():
    assert set(sources.SOURCES) == set(config_lib.CHOICES["data.source"])


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
    source = sources.FolderSource(str(tmp_path), resolution=16, channels=channels)
    np.testing.assert_array_equal(source[0]["image"], pixels)


def test_other_sizes_are_cropped_to_the_middle_and_resized(tmp_path):
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = [10, 120, 250]  # the middle third is what remains
    write(tmp_path / "only" / "a.png", pixels)
    image = sources.FolderSource(str(tmp_path), resolution=8)[0]["image"]
    np.testing.assert_array_equal(image, np.broadcast_to([10, 120, 250], (8, 8, 3)))


def test_files_are_found_at_any_depth_in_any_case_and_sorted(tmp_path):
    for level, name in enumerate(["b.PNG", "c.webp", "deep/a.jpeg", "z.JPG"]):
        write(tmp_path / "only" / name, np.full((8, 8, 3), 60 * level, np.uint8))
    (tmp_path / "only" / "notes.txt").write_text("not an image")
    (tmp_path / "README.md").write_text("not an image")
    source = sources.FolderSource(str(tmp_path), resolution=8)
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


@pytest.mark.parametrize("num_classes", [4, 6])
@pytest.mark.parametrize("difficulty", ["full", "easy"])
def test_synthetic_records_are_rendered_far_pairs(num_classes, difficulty):
    config = config_lib.Config()
    config.model.resolution, config.model.num_classes = 32, num_classes
    config.data.num_images, config.data.seed = 5, 7
    config.data.difficulty = difficulty
    source = sources.make_source(config)
    images, labels = far_pairs.render_many(
        7, range(5), resolution=32, num_classes=num_classes, difficulty=difficulty
    )
    assert (len(source), source.num_classes) == (5, num_classes)
    assert source.class_names == far_pairs.RECIPES[difficulty].shapes[:num_classes]
    for index in range(5):
        np.testing.assert_array_equal(source[index]["image"], images[index])
        assert source[index]["label"] == labels[index]
        assert source[index]["label"].dtype == np.int32


def test_synthetic_without_labels_has_the_images_of_four_classes():
    options = {"num_images": 6, "resolution": 32}
    source = sources.SyntheticSource(num_classes=0, **options)
    labelled = sources.SyntheticSource(num_classes=4, **options)
    assert (source.num_classes, source.class_names) == (0, ())
    for index in range(6):
        assert source[index]["label"] == 0
        np.testing.assert_array_equal(source[index]["image"], labelled[index]["image"])


def test_synthetic_images_cannot_be_written_to_by_accident():
    record = sources.SyntheticSource(num_images=1, resolution=32)[0]
    with pytest.raises(ValueError, match="read-only"):
        record["image"][0] = 0


def test_a_missing_path_is_named(tmp_path):
    assert sentence(configure(tmp_path / "gone")) == (
        f"data.path='{tmp_path}/gone' does not exist; set --config.data.path=DIR to a "
        "directory of images."
    )


def test_a_file_is_not_a_directory(tmp_path):
    (tmp_path / "a.zip").touch()
    assert sentence(configure(tmp_path / "a.zip")) == (
        f"data.path='{tmp_path}/a.zip' is not a directory; set --config.data.path=DIR "
        "to a directory of images."
    )


@pytest.mark.parametrize("num_classes", [0, 3])
def test_an_empty_folder_is_named(tmp_path, num_classes):
    assert sentence(configure(tmp_path, num_classes)) == (
        f"data.path='{tmp_path}' holds no images (.png, .jpg, .jpeg, .webp); set "
        "--config.data.path=DIR to a directory with one sub-folder of images for each "
        "class."
    )


def test_a_class_folder_without_images_is_named(folder):
    (folder / "bat").mkdir()
    (folder / "bat" / "notes.txt").touch()
    assert sentence(configure(folder)) == (
        f"data.path='{folder}': the class folder 'bat' holds no images (.png, .jpg, "
        ".jpeg, .webp); fill it or remove it."
    )


def test_images_outside_of_class_folders_are_not_left_out_silently(folder):
    write(folder / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert sentence(configure(folder)) == (
        f"data.path='{folder}' holds images outside of class folders, such as 'a.png'; "
        "move them into a sub-folder for each class, or set "
        "--config.model.num_classes=0 to train without labels."
    )


def test_another_number_of_classes_names_both_numbers_and_the_flag(folder):
    assert sentence(configure(folder, num_classes=10)) == (
        f"model.num_classes=10, but data.path='{folder}' holds 3 classes (cat, dog, "
        "owl); set --config.model.num_classes=3."
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_named(label):
    with pytest.raises(UserError) as caught:
        sources.check_labels(np.array([0, 2, label]), 3)
    assert str(caught.value) == (
        f"label={label} does not fit model.num_classes=3, whose labels are 0 to 2; "
        "mend the labels of the data, or set --config.model.num_classes to their "
        "number."
    )


def test_labels_in_range_pass_and_without_classes_any_label_does():
    sources.check_labels(np.array([0, 2]), 3)
    sources.check_labels(np.array([0, 2]), 0)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("text", "its format is not known"),
        ("empty", "its format is not known"),
        ("truncated", "image file is truncated"),
    ],
)
def test_an_unreadable_file_is_named(tmp_path, kind, cause):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    file = tmp_path / "cat" / "a.png"
    write(file, pixels)
    whole = file.read_bytes()
    content = {"text": b"hello", "empty": b"", "truncated": whole[: len(whole) // 2]}
    file.write_bytes(content[kind])
    assert sentence(configure(tmp_path, num_classes=1)) == (
        f"data.path: '{file}' cannot be read as an image ({cause}); replace or remove "
        "it."
    )


def test_a_folder_that_cannot_be_listed_is_not_left_out_silently(tmp_path):
    with pytest.raises(UserError) as caught:
        sources._images_below(tmp_path / "gone")
    assert str(caught.value) == (
        f"data.path: '{tmp_path}/gone' cannot be listed (No such file or directory); "
        "mend its permissions or remove it."
    )
