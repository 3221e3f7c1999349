"""Features that are remembered: measured once, and again when anything is different."""

import dataclasses
import os

import numpy as np
import pytest

from sagan_jax.evaluation import references
from sagan_jax.metrics import statistics_files
from sagan_jax.metrics.statistics import Provenance

MADE = Provenance("a", "train", "centre square, 32 px", "tf", "192", "w")
ROWS = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
LABELS = np.arange(20, dtype=np.int32) % 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


class Measure:
    """Counts how often it is called."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return ROWS, LABELS


def remembered(measure, images="i", provenance=MADE):
    rows, labels = references.remembered(images, provenance, measure)
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(labels, LABELS)


def test_a_set_is_measured_once():
    measure = Measure()
    remembered(measure)
    remembered(measure)
    assert measure.calls == 1


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Provenance)])
def test_it_is_measured_again_by_another(field):
    measure = Measure()
    remembered(measure)
    remembered(measure, provenance=dataclasses.replace(MADE, **{field: "other"}))
    assert measure.calls == 2


def test_other_images_are_measured_too():
    measure = Measure()
    remembered(measure)
    remembered(measure, images="j")
    assert measure.calls == 2


def test_images_that_are_not_known_are_never_remembered(cache):
    measure = Measure()
    for _ in range(2):
        remembered(measure, images="")
    assert measure.calls == 2
    assert not list(cache.rglob("*.npz"))


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".labels.npy"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_what_is_not_whole_is_measured_again(suffix, damage, cache):
    measure = Measure()
    remembered(measure)
    (path,) = (p for p in cache.rglob("*") if p.name.partition(".")[2] == suffix[1:])
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    remembered(measure)
    assert measure.calls == 2


def test_the_statistics_beside_are_those_of_the_features():
    remembered(Measure())
    found = statistics_files.load(references.statistics_file("i", MADE))
    assert (found.n, found.provenance) == (20, MADE)
    np.testing.assert_allclose(found.cov, np.cov(ROWS.T, dtype=float), rtol=1e-12)


def test_a_place_that_cannot_be_written_only_costs_time(cache, monkeypatch):
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    measure = Measure()
    for _ in range(2):
        remembered(measure)
    assert measure.calls == 2
