"""The memorisation check on planted copies, and on images that are new."""

import pathlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import inception_recipe
import numpy as np
import pytest
import tiny_gan

from sagan_jax.data import far_pairs
from sagan_jax.evaluation import memorisation, sampling
from sagan_jax.evaluation.memorisation import Memorisation
from sagan_jax.extractors import inception_weights
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.pictures import captions, grid, neighbours

TRAINED, COUNT = 300, 200
FEW = 40
COPIED = np.arange(12) * 7 % FEW  # training images, in another order


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _images(indices: np.ndarray) -> np.ndarray:
    images, _ = far_pairs.render_many(1, indices, resolution=32, difficulty="easy")
    return images


def _measured(samples: np.ndarray, **changes: Any) -> Memorisation:
    data = {"data__num_images": TRAINED, "data__difficulty": "easy"}
    run = tiny_gan.build(**data | changes)

    def drawn(*args: Any, **options: Any) -> Iterator[np.ndarray]:
        yield from np.array_split(samples, 3)

    labels = np.arange(len(samples)) % 4
    with mock.patch.object(sampling, "sample_in_all_processes", drawn):
        return memorisation.measure(run.config, run.generator, {}, labels)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Memorisation:
    """Samples that are training images, measured with two spaces."""
    path = tmp_path_factory.mktemp("weights") / "partial.safetensors"
    inception_weights.save(Weights(inception_recipe.arrays("64")), path)
    changes = {"data__num_images": FEW, "evaluation__weights": str(path)}
    return _measured(_images(COPIED), **changes)


def test_copies_are_found_in_pixels_and_in_features(copies: Memorisation) -> None:
    assert [space.name for space in copies.spaces] == ["pixels", "features"]
    for space in copies.spaces:
        np.testing.assert_array_equal(space.samples.indices, COPIED)
        np.testing.assert_array_equal(space.samples.distances, np.zeros(12))
        assert space.held_out is not None
        assert space.held_out.distances.min() > 0
        assert space.closer is not None
        assert space.closer.share == 1
    assert copies.remark == ""


def test_the_numbers_name_the_copies(copies: Memorisation) -> None:
    found = neighbours.numbers(copies)
    assert found["held_out"] == f"far pairs {FEW} to {FEW + 11}"
    pixels = found["spaces"]["pixels"]
    assert pixels["share_closer"] == 1
    assert (pixels["samples"]["copies"], pixels["held_out"]["copies"]) == (12, 0)
    assert pixels["closest"][1] == {
        "sample": 1,
        "label": 1,
        "training_image": 7,
        "distance": 0.0,
    }
    assert len(pixels["closest"]) == 10


def test_the_picture_shows_samples_above_their_training_images(
    copies: Memorisation,
) -> None:
    picture = neighbours.picture(copies)
    threshold = copies.spaces[0].closer.threshold
    words = (
        "pixels: the 10 samples closest to training images, which are below; distances "
        "0 to 0; 100.0% of samples, and 5% of held-out images, are closer than "
        f"{threshold:.4g}"
    )
    top = len(captions.strip(words, picture.shape[1])) + 2
    for column in range(10):
        left = 2 + 130 * column
        for row in (0, 1):
            y = top + row * 132
            shown = picture[y : y + 128 : 4, left : left + 128 : 4]
            np.testing.assert_array_equal(shown, copies.samples[column])


@pytest.fixture(scope="module")
def honest() -> Memorisation:
    """Samples of the same kind as the training images, and new; without weights."""
    return _measured(_images(np.arange(5000, 5000 + COUNT)))


def test_about_5_percent_of_new_images_are_closer(honest: Memorisation) -> None:
    (space,) = honest.spaces
    assert space.closer is not None
    assert abs(space.closer.share - 0.05) < 3 * space.closer.standard_error
    assert space.samples.distances.min() > 0


def test_pixel_distances_are_those_of_brute_force(honest: Memorisation) -> None:
    training = _images(np.arange(TRAINED)).astype(np.float64)
    for sample, distance, index in zip(
        honest.samples[:9],
        honest.spaces[0].samples.distances,
        honest.spaces[0].samples.indices,
        strict=False,
    ):
        rms = np.sqrt(((training - sample) ** 2).mean((1, 2, 3)))
        np.testing.assert_allclose(distance, rms.min(), rtol=1e-12)
        assert index == rms.argmin()


def test_a_part_of_the_training_images_can_be_searched() -> None:
    found = _measured(_images(np.arange(3)), evaluation__reference_samples=10)
    assert neighbours.numbers(found)["training_images_searched"] == 10
    searched = np.random.default_rng(0).permutation(TRAINED)[:10]
    assert set(found.spaces[0].samples.indices) <= set(searched)


def test_without_weights_one_sentence_says_so(honest: Memorisation) -> None:
    first, note = neighbours.sentences(honest)
    assert first.startswith("pixels: ")
    assert "of 200 samples are closer" in first
    assert "--evaluation.weights" in note


def test_without_held_out_images_there_is_no_share(tmp_path: pathlib.Path) -> None:
    for index, image in enumerate(_images(np.arange(6))):
        grid.save_png(image, tmp_path / f"{index}.png")
    where = {"data__source": "folder", "data__path": str(tmp_path)}
    found = _measured(_images(np.arange(4)), model__num_classes=0, **where)
    numbers = neighbours.numbers(found)
    assert "share_closer" not in numbers["spaces"]["pixels"]
    assert numbers["held_out_images"] == 0
    assert any("--evaluation.held_out" in said for said in neighbours.sentences(found))
    assert neighbours.picture(found).shape[1] == 2 + 4 * 130


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("inception", ("the Inception weights are not", "which downloads them.")),
        ("dinov2-l", ("the weights of dinov2-l are not", "which says where to get")),
    ],
)
def test_without_the_weights_of_the_encoder_a_remark_names_it(
    encoder: str,
    words: tuple[str, ...],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = _measured(_images(COPIED), evaluation__encoder=encoder)
    assert [space.name for space in found.spaces] == ["pixels"]
    for word in words:
        assert word in found.remark


def test_distances_are_in_the_space_of_the_encoder(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "encoder_of_the_neighbours_test"
    text = "def rows(images):\n    return images.reshape(len(images), -1)\n"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    changes = {"data__num_images": FEW, "evaluation__encoder": f"{name}:rows"}
    found = _measured(_images(COPIED), **changes)
    assert found.spaces[1].unit == f"Euclidean distance of {name}:rows features"
    np.testing.assert_array_equal(found.spaces[1].samples.indices, COPIED)
