"""Held-out images are not those of the training, or there are none."""

import pathlib

import numpy as np
import pytest
import tiny_gan
from PIL import Image
from tiny_data_sets import builders

from sagan_jax.config import Config
from sagan_jax.data import far_pairs, sources
from sagan_jax.errors import UserError
from sagan_jax.evaluation import held_out


def _folder(path: pathlib.Path, count: int) -> str:
    path.mkdir()
    for index in range(count):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(path / f"{index}.png")
    return str(path)


def _folder_config(path: pathlib.Path, **changes: str) -> Config:
    where = {"data__source": "folder", "data__path": _folder(path / "train", 3)}
    return tiny_gan.build(model__num_classes=0, **where, **changes).config


def test_far_pairs_beyond_the_training_range_are_held_out() -> None:
    config = tiny_gan.build(data__num_images=5).config
    training = sources.make_source(config)
    found = held_out.find(config, training, 3)
    assert found.source is not None
    assert found.name == "far pairs 5 to 7"
    data = config.data
    expected, _ = far_pairs.render_many(
        data.seed,
        np.array([5, 6, 7]),
        resolution=32,
        num_classes=4,
        distance=data.distance,
        difficulty=data.difficulty,
    )
    images = [found.source[i]["image"] for i in range(len(found.source))]
    np.testing.assert_array_equal(images, expected)
    assert found.source.digest() != training.digest()


def test_a_folder_has_none_and_the_remedy_is_named(tmp_path: pathlib.Path) -> None:
    config = _folder_config(tmp_path)
    found = held_out.find(config, sources.make_source(config), 3)
    assert found.source is None
    assert "--evaluation.held_out" in found.name


def test_a_folder_of_held_out_images_is_used(tmp_path: pathlib.Path) -> None:
    path = _folder(tmp_path / "test", 2)
    config = _folder_config(tmp_path, evaluation__held_out=path)
    found = held_out.find(config, sources.make_source(config), 9)
    assert found.source is not None
    assert (len(found.source), found.name) == (2, path)


def test_the_training_images_are_refused(tmp_path: pathlib.Path) -> None:
    config = _folder_config(tmp_path)
    config.evaluation.held_out = config.data.path
    with pytest.raises(UserError, match=r"evaluation\.held_out=.*training images"):
        held_out.find(config, sources.make_source(config), 3)


@pytest.mark.parametrize(
    ("split", "name", "count"),
    [
        ("train[:50%]", "split test of tiny_pictures", 5),
        ("test", "split train of tiny_pictures", 12),
        ("train+test", "split secret of tiny_pictures", 2),
        ("all", "there are no held-out images", 0),
    ],
)
def test_another_split_is_held_out(
    split: str, name: str, count: int, data_dir: str
) -> None:
    wanted = {"source": "tfds", "dataset": "tiny_pictures", "path": data_dir}
    data = {f"data__{field}": value for field, value in wanted.items()}
    config = tiny_gan.build(**data, data__split=split, model__num_classes=3).config
    found = held_out.find(config, sources.make_source(config), 3)
    assert found.name.startswith(name)
    assert (len(found.source) if found.source else 0) == count


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("tfds")
    builder = builders.TinyPictures(data_dir=root, file_format="array_record")
    builder.download_and_prepare()
    return str(root)
