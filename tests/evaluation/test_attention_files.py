"""Attention maps are read back as they were written; a damaged file is one sentence."""

import pathlib

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.evaluation import attention_files
from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.evaluation.attention_files import Maps, NetworkMaps


def _network(count: int, *names: str) -> NetworkMaps:
    random = np.random.default_rng(count)
    weights = random.random((count, 24, 6), np.float32)
    return NetworkMaps(
        images=random.integers(0, 256, (count, 8, 8, 3), np.uint8),
        labels=np.arange(count, dtype=np.int32),
        points=random.integers(0, 8, (count, 5, 2)),
        layers=[
            LayerMaps(name, (4, 6), (2, 3), 0.25 * i, weights + i)
            for i, name in enumerate(names)
        ],
    )


BOTH = Maps(
    300, 7, _network(2, "attention32", "attention16"), _network(1, "attention8")
)


@pytest.mark.parametrize("maps", [BOTH, BOTH._replace(discriminator=None)], ids=len)
def test_maps_are_read_back_as_they_were_written(
    maps: Maps, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "maps.npz"
    attention_files.save_maps(path, maps)
    found = attention_files.load_maps(path)
    assert (found.step, found.seed) == (300, 7)
    assert (found.discriminator is None) == (maps.discriminator is None)
    for one, other in zip(found[2:], maps[2:], strict=True):
        if other is None:
            continue
        for array, expected in zip(one[:3], other[:3], strict=True):
            np.testing.assert_array_equal(array, expected)
            assert array.dtype == expected.dtype
        for layer, wanted in zip(one.layers, other.layers, strict=True):
            assert layer[:4] == wanted[:4]
            np.testing.assert_array_equal(layer.weights, wanted.weights)


def test_arrays_have_names_that_say_what_they_are(tmp_path: pathlib.Path) -> None:
    attention_files.save_maps(tmp_path / "maps.npz", BOTH)
    with np.load(tmp_path / "maps.npz") as arrays:
        assert arrays["generator/attention16/weights"].shape == (2, 24, 6)
        assert arrays["discriminator/attention8/keys"].tolist() == [2, 3]
        assert arrays["generator/layers"].tolist() == ["attention32", "attention16"]


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"maps.npz does not exist.*--mode attention"):
        attention_files.load_maps(tmp_path / "maps.npz")


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.999], ids=str)
def test_a_shortened_file_is_damaged(kept: float, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "maps.npz"
    attention_files.save_maps(path, BOTH)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(UserError, match=r"maps.npz is damaged.*--mode attention"):
        attention_files.load_maps(path)


def test_grids_that_do_not_fit_the_weights_are_damage(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "maps.npz"
    layer = BOTH.generator.layers[0]._replace(keys=(4, 6))
    wrong = BOTH._replace(generator=BOTH.generator._replace(layers=[layer]))
    attention_files.save_maps(path, wrong)
    with pytest.raises(UserError, match="is damaged"):
        attention_files.load_maps(path)
