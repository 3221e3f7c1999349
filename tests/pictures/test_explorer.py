"""Maps in a page: what a browser decodes is what the network attended to."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.pictures import explorer, packed_maps

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)


def _maps(queries: tuple[int, int], keys: tuple[int, int], count: int = 2) -> LayerMaps:
    """Returns random maps with a maximum at key (7 q) mod K of query q."""
    q, k = queries[0] * queries[1], keys[0] * keys[1]
    weights = np.random.default_rng(0).uniform(0, 1, (count, q, k))
    weights[:, np.arange(q), 7 * np.arange(q) % k] = 1.5
    weights /= weights.sum(axis=-1, keepdims=True)
    return LayerMaps("attention", queries, keys, 0.5, weights.astype(np.float32))


def _embedded(markup: str) -> dict[str, Any]:
    found = re.search(r'id="explorer-data">(.*?)</script>', markup)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def _decoded(layer: dict[str, Any], image: int) -> np.ndarray:
    """Returns the weights [kept rows, kept columns, keys] of the page."""
    levels = np.frombuffer(base64.b64decode(layer["levels"][image]), np.uint8)
    if layer["bits"] == 4:
        levels = np.stack([levels >> 4, levels & 15], axis=1).reshape(-1)
    rows, columns = (len(kept) for kept in layer["kept"])
    keys = layer["keys"][0] * layer["keys"][1]
    peaks = np.frombuffer(base64.b64decode(layer["peaks"][image]), "<f4")
    maps = levels[: rows * columns * keys].reshape(rows, columns, keys)
    return maps / (2 ** layer["bits"] - 1) * peaks.reshape(rows, columns, 1)


@pytest.mark.parametrize(
    ("queries", "keys", "stride", "bits"),
    [
        ((16, 16), (8, 8), 1, 8),  # quickstart
        ((32, 32), (16, 16), 1, 8),  # pooled, 2^18 bytes
        ((32, 32), (32, 32), 2, 8),  # not pooled, 2^20 bytes
        ((64, 64), (16, 32), 2, 4),
        ((64, 64), (32, 32), 4, 8),  # pooled, 2^22 bytes
        ((128, 128), (64, 64), 16, 8),
    ],
)
def test_large_maps_are_stored_more_coarsely(
    queries: tuple[int, int], keys: tuple[int, int], stride: int, bits: int
) -> None:
    found = packed_maps.packing(queries, keys)
    assert found == (stride, bits)
    kept = queries[0] * queries[1] // stride**2
    assert packed_maps.packed_bytes(queries, keys, found) == (
        kept * keys[0] * keys[1] * bits // 8
    )


@pytest.mark.parametrize(
    ("queries", "keys", "step"),
    [((16, 16), (8, 8), 255), ((48, 32), (8, 24), 15), ((6, 4), (3, 3), 255)],
)
def test_the_pages_arrays_are_the_maps(
    queries: tuple[int, int], keys: tuple[int, int], step: int
) -> None:
    maps = _maps(queries, keys)
    layer = _embedded(explorer.markup(IMAGES, [maps], ["a", "b"]))["layers"][0]
    assert 2 ** layer["bits"] - 1 == step
    for image in range(2):
        weights = maps.weights[image].reshape(*queries, -1)
        weights = weights[np.ix_(*layer["kept"])]
        found = _decoded(layer, image)
        np.testing.assert_array_equal(found.argmax(-1), weights.argmax(-1))
        # Half a level of each map's own maximum.
        wrong = np.abs(found - weights) / weights.max(-1, keepdims=True)
        assert wrong.max() <= 0.5 / step + 1e-6


def test_kept_queries_lie_in_the_middle_of_what_they_stand_for() -> None:
    assert list(packed_maps.Packing(4, 8).kept(16)) == [2, 6, 10, 14]
    assert list(packed_maps.Packing(16, 8).kept(4)) == [3]


def test_the_size_of_the_maps_is_known_before_they_are_made() -> None:
    maps = [_maps((16, 16), (8, 8)), _maps((32, 32), (16, 17))]
    layers = _embedded(explorer.markup(IMAGES, maps, ["a", "b"]))["layers"]
    texts = [layer[part][0] for layer in layers for part in ("levels", "peaks")]
    assert packed_maps.text_bytes(maps) == sum(map(len, texts))


def test_maps_of_three_points_are_shown_without_a_script() -> None:
    maps = [_maps((4, 4), (2, 2)), _maps((8, 8), (4, 4))]
    static = explorer.markup(IMAGES, maps, ["a", "b"]).split('id="explorer-static"')[1]
    # Two images; each with itself and three maps of both layers.
    assert static.count("<img") == 2 * (1 + 3 * 2)
