"""The table of sources, synthetic records, and the checks against a config."""

import numpy as np
import pytest
from image_files import DOT, assert_says, configure, put, sentence

from sagan_jax import config as config_lib
from sagan_jax.data import far_pairs, sources, synthetic
from sagan_jax.data import source as source_lib
from sagan_jax.errors import UserError


def test_the_table_and_the_config_have_the_same_sources():
    assert set(sources.SOURCES) == set(config_lib.CHOICES["data.source"])


class Two(source_lib.Source):
    """A source of two records that sets only what is required."""

    def __len__(self):
        return 2

    def read(self, index, place=0.5):
        return {"image": np.full((1, 1, 3), place, float), "label": np.int32(index)}


def test_a_source_has_defaults():
    source = Two()
    assert (source.num_classes, source.class_names, source.can_crop) == (0, (), False)
    assert (source.labels, source.identity, source.digest()) == (None, "", "")
    assert (source.replaced, source.messages()) == (0, [])


def test_an_index_reads_the_central_square():
    record = Two()[1]
    assert (record["image"][0, 0, 0], record["label"]) == (0.5, 1)


def test_a_source_must_define_how_to_read():
    with pytest.raises(TypeError, match="abstract"):
        source_lib.Source()


def test_the_digest_follows_the_identity():
    ours, same, other = Two(), Two(), Two()
    ours.identity, same.identity, other.identity = "a\udce9", "a\udce9", "b"
    assert len(ours.digest()) == 64
    assert ours.digest() == same.digest() != other.digest()


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
    assert_says(
        sentence(configure(folder, num_classes=10)),
        "model.num_classes=10",
        f"data.path='{folder}'",
        "3 classes (cat, dog, owl)",
        "--config.model.num_classes=3",
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_named(label):
    with pytest.raises(UserError) as caught:
        source_lib.check_labels(np.array([0, 2, label]), 3)
    assert_says(
        str(caught.value),
        f"label={label}",
        "model.num_classes=3",
        "0 to 2",
        "--config.model.num_classes",
    )


def test_labels_in_range_pass_and_without_classes_any_label_does():
    source_lib.check_labels(np.array([0, 2]), 3)
    source_lib.check_labels(np.array([0, 2]), 0)


def test_a_workdir_among_the_images_is_refused(tmp_path):
    config = configure(tmp_path / "own", num_classes=0)
    for number in range(3):
        put(tmp_path / "own" / f"{number}.png", DOT)
    (tmp_path / "more").mkdir()
    (tmp_path / "own" / "link").symlink_to(tmp_path / "more")
    (tmp_path / "name").symlink_to("own")
    source = sources.make_source(config)
    for place in ("own", "own/run", "own/a/b", "more/run", "name/run"):
        with pytest.raises(UserError) as caught:
            sources.check_apart(source, config, tmp_path / place)
        assert_says(
            str(caught.value), f"workdir='{tmp_path}/{place}'", "data.path=", "outside"
        )
    for place in ("run", "own2", "own/.run"):
        sources.check_apart(source, config, tmp_path / place)
