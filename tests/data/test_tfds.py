"""Data sets of tensorflow-datasets: what is read, and the sentences where none is."""

import os
import pickle
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from image_files import sentence
from tiny_data_sets import builders

from sagan_jax import config as config_lib
from sagan_jax.data import source as source_lib
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
    """Returns the number of each record, which its level tells."""
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


def test_a_split_may_be_another_one_or_a_part(data_dir):
    whole = numbers(sources.make_source(configure(data_dir)))
    half = sources.make_source(configure(data_dir, split="train[50%:]"))
    assert numbers(half) == whole[6:]
    assert len(sources.make_source(configure(data_dir, split="test"))) == 5
    assert len(sources.make_source(configure(data_dir, split="train+test"))) == 17


def test_the_square_can_be_cut_anywhere(data_dir):
    source = sources.make_source(configure(data_dir, random_crop=True))
    left = source.read(0, 0.0)["image"]
    assert left[:, 0].min() == 255  # the first column is in it
    assert source.read(0, 0.5)["image"][:, 0].max() < 255


def test_without_labels_each_label_is_0(data_dir):
    source = sources.make_source(configure(data_dir, num_classes=0))
    assert (source.num_classes, source.class_names) == (0, ())
    assert {int(source[index]["label"]) for index in range(12)} == {0}


def test_the_image_may_have_another_name_and_no_label(data_dir):
    source = TfdsSource("tiny_plain", path=data_dir, resolution=8, labelled=False)
    assert (len(source), source.num_classes) == (12, 0)


def test_a_start_says_how_many_images_there_are(data_dir):
    source = sources.make_source(configure(data_dir))
    assert source_lib.news(source) == [
        "data.dataset='tiny_pictures/1.0.0', split 'train', holds 12 images of 3 "
        "classes."
    ]
    assert source_lib.news(source) == []


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


# What cannot be.


def test_labels_that_are_not_there_are_not_made_up(data_dir):
    assert sentence(configure(data_dir, "tiny_plain")) == (
        "data.dataset='tiny_plain' has no labels; set --config.model.num_classes=0 to "
        "train without."
    )


def test_another_number_of_classes_names_the_data_set(data_dir):
    assert sentence(configure(data_dir, num_classes=10)) == (
        "model.num_classes=10, but data.dataset='tiny_pictures' holds 3 classes (cat, "
        "dog, owl); set --config.model.num_classes=3."
    )


def test_a_data_set_without_images_is_refused(data_dir):
    assert sentence(configure(data_dir, "tiny_words")) == (
        "data.dataset='tiny_words/1.0.0' holds no images, but text; choose another."
    )


def test_a_record_that_is_no_image_is_named(data_dir):
    source = TfdsSource("tiny_plain", path=data_dir, resolution=8, labelled=False)
    said = []
    for index in range(len(source)):
        try:
            source[index]
        except ValueError as error:
            said.append((index, str(error)))
    ((index, words),) = said
    assert words.startswith(
        f"data.dataset='tiny_plain/1.0.0': record {index} cannot be read as an image ("
    )
    assert words.endswith("python -m sagan_jax.data.prepare --max_unreadable N.")


def test_an_unknown_name_is_answered_with_close_ones():
    assert sentence(configure("", "imagenet2021", 0)) == (
        "data.dataset='imagenet2021': 'imagenet2021' is no name that "
        "tensorflow-datasets knows; did you mean imagenet2012 or imagenet_v2 or "
        "imagenet2012_real or imagenette?"
    )


def test_a_name_like_no_other_is_answered_with_some_that_are_known():
    said = sentence(configure("", "zzzz", 0))
    assert said.startswith(
        "data.dataset='zzzz': 'zzzz' is no name that tensorflow-datasets knows; choose "
        "among its "
    )
    assert said.endswith(", such as celeb_a, cifar10, imagenet2012, lsun, mnist.")


def test_an_unknown_config_is_answered_with_close_ones():
    assert sentence(configure("", "lsun/church", 0)) == (
        "data.dataset='lsun/church': 'church' is no config of lsun that "
        "tensorflow-datasets knows; did you mean church_outdoor?"
    )


@pytest.mark.parametrize("dataset", ["tiny_pictures:9.9.9", "two words", "a:b:c"])
def test_a_name_that_cannot_be_opened_is_one_sentence(data_dir, dataset):
    said = sentence(configure(data_dir, dataset))
    assert said.startswith(f"data.dataset={dataset!r} cannot be opened (")
    assert said.endswith("NAME:VERSION as tensorflow-datasets lists them.")
    assert "\n" not in said


@pytest.mark.parametrize("split", ["valid", "train[:200%]", "train[", "train[:0]"])
def test_a_split_that_is_not_there_is_answered_with_those_that_are(data_dir, split):
    said = sentence(configure(data_dir, split=split))
    assert said.startswith(
        f"data.split={split!r} cannot be taken of tiny_pictures/1.0.0 ("
    )
    known, _, rest = said.partition("; choose among ")[2].partition(", or a part ")
    assert (sorted(known.split(", ")), rest) == (
        ["secret", "test", "train"],
        "such as train[:50%].",
    )


def test_files_that_are_put_there_by_hand_are_named(tmp_path):
    said = sentence(configure(str(tmp_path), "imagenet2012", 0))
    assert (
        f"put its files into '{tmp_path}/downloads/manual' (manual_dir should" in said
    )
    assert "ILSVRC2012_img_train.tar" in said


def run_as_told(said):
    """Runs the program that a sentence names, as far as the data set is known here."""
    words = shlex.split(said[said.index("pip install") :])
    assert words[:6] == ["pip", "install", "tensorflow-cpu", "&&", "python", "-c"]
    (program,) = words[6:]
    exec(program)


def test_what_is_not_prepared_is_prepared_by_the_program_that_is_named(tmp_path):
    config = configure(str(tmp_path))
    said = sentence(config)
    assert said == (
        f"data.dataset='tiny_pictures' is not prepared in '{tmp_path}'; prepare it by: "
        'pip install tensorflow-cpu && python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('tiny_pictures', data_dir='{tmp_path}', "
        "file_format='array_record').download_and_prepare()\""
    )
    run_as_told(said)
    assert len(sources.make_source(config)) == 12


def test_the_directory_of_tensorflow_datasets_need_not_be_named():
    # Never prepared there: the name is known in these tests alone.
    said = sentence(configure(""))
    assert "tfds.builder('tiny_pictures', file_format='array_record')" in said


def test_another_file_format_is_prepared_anew_beside_it(
    tmp_path, data_dir, monkeypatch
):
    # Writing tfrecord needs TensorFlow; its description is enough to be refused.
    source = tfds.builder("tiny_pictures", data_dir=data_dir)
    there = tmp_path / "tiny_pictures" / "1.0.0"
    there.mkdir(parents=True)
    for file in source.data_path.iterdir():
        if file.suffix == ".json":
            text = file.read_text().replace("array_record", "tfrecord")
            (there / file.name).write_text(text)
    config = configure(str(tmp_path))
    said = sentence(config)
    assert said.startswith(
        f"data.dataset='tiny_pictures' is prepared in '{tmp_path}', but as tfrecord, "
        "and only array_record can be read in any order; give "
        f"--config.data.path={tmp_path}/array_record after preparing it there by: "
    )
    run_as_told(said)
    config.data.path += "/array_record"
    assert len(sources.make_source(config)) == 12


def test_labels_that_are_not_given_out_are_no_classes(data_dir):
    said = sentence(configure(data_dir, split="secret"))
    assert said.startswith("label=-1 does not fit model.num_classes=3, ")
