"""What sources hold and in which order, and the sentence for each that cannot work."""

import numpy as np
import pytest
from image_files import configure, sentence

from sagan_jax import config as config_lib
from sagan_jax.data import far_pairs, sources, synthetic
from sagan_jax.data import source as source_lib
from sagan_jax.errors import UserError


def test_every_source_that_config_allows_is_in_the_table():
    assert set(sources.SOURCES) == set(config_lib.CHOICES["data.source"])


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
    source = synthetic.SyntheticSource(num_classes=0, **options)
    labelled = synthetic.SyntheticSource(num_classes=4, **options)
    assert (source.num_classes, source.class_names) == (0, ())
    for index in range(6):
        assert source[index]["label"] == 0
        np.testing.assert_array_equal(source[index]["image"], labelled[index]["image"])


def test_synthetic_images_cannot_be_written_to_by_accident():
    record = synthetic.SyntheticSource(num_images=1, resolution=32)[0]
    with pytest.raises(ValueError, match="read-only"):
        record["image"][0] = 0


def test_another_number_of_classes_names_both_numbers_and_the_flag(folder):
    assert sentence(configure(folder, num_classes=10)) == (
        f"model.num_classes=10, but data.path='{folder}' holds 3 classes (cat, dog, "
        "owl); set --config.model.num_classes=3."
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_named(label):
    with pytest.raises(UserError) as caught:
        source_lib.check_labels(np.array([0, 2, label]), 3)
    assert str(caught.value) == (
        f"label={label} does not fit model.num_classes=3, whose labels are 0 to 2; "
        "mend the labels of the data, or set --config.model.num_classes to their "
        "number."
    )


def test_labels_in_range_pass_and_without_classes_any_label_does():
    source_lib.check_labels(np.array([0, 2]), 3)
    source_lib.check_labels(np.array([0, 2]), 0)
