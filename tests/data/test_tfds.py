"""Data sets of tensorflow-datasets: records, and the errors without one."""

import os
import pickle
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import assert_says, sentence
from tiny_data_sets import builders

from sagan_jax import config as config_lib
from sagan_jax.data import sources, transforms
from sagan_jax.data.tfds import TfdsSource


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """All three data sets, prepared as array_record."""
    root = tmp_path_factory.mktemp("tfds")
    for kind in (builders.TinyPictures, builders.TinyPlain, builders.TinyWords):
        kind(data_dir=root, file_format="array_record").download_and_prepare()
    return str(root)


def configure(data_dir, dataset="tiny_pictures", num_classes=3, **data):
    config = config_lib.Config()
    config.data.source, config.data.path = "tfds", data_dir
    config.data.dataset = dataset
    for name, value in data.items():
        setattr(config.data, name, value)
    config.model.resolution, config.model.num_classes = 8, num_classes
    return config


def numbers(source):
    """Returns the number of each record, read from its level."""
    return [int(source[index]["image"][0, 4, 0]) // 10 for index in range(len(source))]


def test_records_are_the_pictures_with_their_labels(data_dir):
    source = sources.make_source(configure(data_dir))
    assert (source.num_classes, source.class_names) == (3, ("cat", "dog", "owl"))
    assert sorted(numbers(source)) == list(range(12))
    for index, number in enumerate(numbers(source)):
        record = source[index]
        np.testing.assert_array_equal(
            record["image"], transforms.crop_square(builders.picture(number))
        )
        assert record["image"].dtype == np.uint8
        assert (record["label"], record["label"].dtype) == (number % 3, np.int32)


def test_other_splits_and_parts_can_be_read(data_dir):
    whole = numbers(sources.make_source(configure(data_dir)))
    half = sources.make_source(configure(data_dir, split="train[50%:]"))
    assert numbers(half) == whole[6:]
    assert len(sources.make_source(configure(data_dir, split="test"))) == 5
    assert len(sources.make_source(configure(data_dir, split="train+test"))) == 17


def test_the_square_can_be_cut_anywhere(data_dir):
    source = sources.make_source(configure(data_dir, random_crop=True))
    left = source.read(0, 0.0)["image"]
    assert left[:, 0].min() == 255  # it contains the first column
    assert source.read(0, 0.5)["image"][:, 0].max() < 255


def test_without_labels_each_label_is_0(data_dir):
    source = sources.make_source(configure(data_dir, num_classes=0))
    assert (source.num_classes, source.class_names) == (0, ())
    assert {int(source[index]["label"]) for index in range(12)} == {0}


def test_the_image_may_have_another_name_and_no_label(data_dir):
    source = TfdsSource("tiny_plain", path=data_dir, resolution=8, labelled=False)
    assert (len(source), source.num_classes) == (12, 0)


def test_the_number_of_images_is_reported(data_dir):
    source = sources.make_source(configure(data_dir))
    (line,) = source.messages()
    assert_says(line, "'train'", "'tiny_pictures/1.0.0'", "12 images of 3 classes.")
    assert source.messages() == []


def test_a_pickle_reads_the_same(data_dir):
    source = TfdsSource("tiny_pictures", path=data_dir, resolution=8)
    assert numbers(pickle.loads(pickle.dumps(source))) == numbers(source)


def test_reading_imports_neither_tensorflow_nor_jax(data_dir):
    program = f"""
import sys
from sagan_jax.data.tfds import TfdsSource
source = TfdsSource("tiny_pictures", path={data_dir!r}, resolution=8)
source[0]
print([name for name in ("tensorflow", "jax", "grain", "cv2") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


# Errors.


def test_missing_labels_are_not_invented(data_dir):
    assert_says(
        sentence(configure(data_dir, "tiny_plain")),
        "data.dataset='tiny_plain'",
        "no labels",
        "--config.model.num_classes=0",
    )


def test_another_number_of_classes_names_the_data_set(data_dir):
    assert_says(
        sentence(configure(data_dir, num_classes=10)),
        "model.num_classes=10",
        "data.dataset='tiny_pictures'",
        "3 classes (cat, dog, owl)",
        "--config.model.num_classes=3",
    )


def test_a_data_set_without_images_is_refused(data_dir):
    assert_says(
        sentence(configure(data_dir, "tiny_words")),
        "data.dataset: 'tiny_words/1.0.0'",
        "no images",
        "text",
        "choose another",
    )


def test_a_damaged_image_is_named(data_dir):
    source = TfdsSource("tiny_plain", path=data_dir, resolution=8, labelled=False)
    said = []
    for index in range(len(source)):
        try:
            source[index]
        except ValueError as error:
            said.append((index, str(error)))
    ((index, words),) = said
    assert_says(
        words,
        f"record {index} of 'tiny_plain/1.0.0'",
        "image (",
        "sagan_jax.data.prepare --max_unreadable N",
    )


def test_an_unknown_name_is_answered_with_close_ones():
    assert_says(
        sentence(configure("", "imagenet2021", 0)),
        "data.dataset='imagenet2021'",
        "imagenet2012 or imagenet_v2 or imagenet2012_real or imagenette?",
    )


def test_a_name_like_no_other_is_answered_with_popular_ones():
    assert_says(
        sentence(configure("", "zzzz", 0)),
        "data.dataset='zzzz'",
        "such as celeb_a, cifar10, imagenet2012, lsun, mnist.",
    )


def test_an_unknown_config_is_answered_with_close_ones():
    assert_says(
        sentence(configure("", "lsun/church", 0)),
        "data.dataset: 'church'",
        "config of lsun",
        "church_outdoor?",
    )


@pytest.mark.parametrize("dataset", ["tiny_pictures:9.9.9", "two words", "a:b:c"])
def test_a_name_that_cannot_be_opened_is_one_sentence(data_dir, dataset):
    said = sentence(configure(data_dir, dataset))
    assert_says(said, f"data.dataset={dataset!r} cannot be opened (", "NAME:VERSION")
    assert "\n" not in said


@pytest.mark.parametrize("split", ["valid", "train[:200%]", "train[", "train[:0]"])
def test_a_split_that_is_not_there_is_answered_with_those_that_are(data_dir, split):
    said = sentence(configure(data_dir, split=split))
    assert_says(said, f"data.split={split!r}", "tiny_pictures/1.0.0 (", "train[:50%]")
    known = said.partition("; choose ")[2].partition(", or a part ")[0]
    assert sorted(known.split(", ")) == ["secret", "test", "train"]


def test_manual_downloads_are_described(tmp_path):
    said = sentence(configure(str(tmp_path), "imagenet2012", 0))
    assert (
        f"put its files into '{tmp_path}/downloads/manual' (manual_dir should" in said
    )
    assert "ILSVRC2012_img_train.tar" in said


def run_as_told(said):
    """Runs the program in a message in this process, which knows the data set."""
    words = shlex.split(said[said.index("pip install") : said.rindex('"') + 1])
    assert words[:6] == ["pip", "install", "tensorflow-cpu", "&&", "python", "-c"]
    (program,) = words[6:]
    exec(program)


def test_the_program_in_the_message_prepares_the_data_set(tmp_path):
    config = configure(str(tmp_path))
    said = sentence(config)
    assert_says(
        said,
        f"data.dataset='tiny_pictures' is not prepared in '{tmp_path}'",
        'pip install tensorflow-cpu && python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('tiny_pictures', data_dir='{tmp_path}', "
        "file_format='array_record').download_and_prepare()\"",
    )
    run_as_told(said)
    assert len(sources.make_source(config)) == 12


def test_the_directory_of_tensorflow_datasets_need_not_be_named():
    # It is never prepared there: only these tests know the name.
    said = sentence(configure(""))
    assert "tfds.builder('tiny_pictures', file_format='array_record')" in said


def test_another_file_format_is_prepared_again_in_another_directory(
    tmp_path, data_dir, monkeypatch
):
    # Writing tfrecord needs TensorFlow; here its description is enough.
    source = tfds.builder("tiny_pictures", data_dir=data_dir)
    there = tmp_path / "tiny_pictures" / "1.0.0"
    there.mkdir(parents=True)
    for file in source.data_path.iterdir():
        if file.suffix == ".json":
            text = file.read_text().replace("array_record", "tfrecord")
            (there / file.name).write_text(text)
    config = configure(str(tmp_path))
    said = sentence(config)
    assert_says(
        said,
        f"data.dataset='tiny_pictures' is prepared in '{tmp_path}' as tfrecord",
        "array_record",
        f"prepare it in '{tmp_path}/array_record'",
        f"--config.data.path={tmp_path}/array_record",
    )
    run_as_told(said)
    config.data.path += "/array_record"
    assert len(sources.make_source(config)) == 12


def test_labels_of_minus_1_are_not_classes(data_dir):
    said = sentence(configure(data_dir, split="secret"))
    assert_says(said, "label=-1", "model.num_classes=3")
