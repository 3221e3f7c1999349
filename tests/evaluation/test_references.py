"""The cache of reference features: measured once, and again if anything differs."""

import dataclasses
import hashlib
import json
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
    """Counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return ROWS, LABELS


def remembered(measure, images="i", provenance=MADE):
    rows, labels = references.remembered(images, provenance, measure)
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(labels, LABELS)


def test_features_are_computed_once():
    measure = Measure()
    remembered(measure)
    remembered(measure)
    assert measure.calls == 1


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Provenance)])
def test_another_provenance_computes_them_again(field):
    measure = Measure()
    remembered(measure)
    remembered(measure, provenance=dataclasses.replace(MADE, **{field: "other"}))
    assert measure.calls == 2


def test_caches_of_versions_that_knew_no_other_encoder_are_found(cache):
    remembered(Measure())
    facts = {
        "data_set": "a",
        "split": "train",
        "preprocessing": "centre square, 32 px",
        "pipeline": "tf",
        "tap": "192",
        "weights": "w",
    }
    key = hashlib.sha256(json.dumps(["i", facts]).encode()).hexdigest()[:32]
    assert list(cache.rglob(f"{key}.npy"))


def test_other_images_have_their_own_entry():
    measure = Measure()
    remembered(measure)
    remembered(measure, images="j")
    assert measure.calls == 2


def test_images_without_a_digest_are_not_cached(cache):
    measure = Measure()
    for _ in range(2):
        remembered(measure, images="")
    assert measure.calls == 2
    assert not list(cache.rglob("*.npz"))


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".labels.npy"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_an_incomplete_entry_is_computed_again(suffix, damage, cache):
    measure = Measure()
    remembered(measure)
    (path,) = (p for p in cache.rglob("*") if p.name.partition(".")[2] == suffix[1:])
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, path.stat().st_size // 2)
    remembered(measure)
    assert measure.calls == 2


def test_pytorch_fid_can_read_the_statistics(cache):
    remembered(Measure())
    (path,) = cache.rglob("*.npz")
    found = statistics_files.load(path)
    assert (found.n, found.provenance) == (20, MADE)
    np.testing.assert_allclose(found.cov, np.cov(ROWS.T, dtype=float), rtol=1e-12)


def test_without_a_home_directory_nothing_is_cached(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "")
    measure = Measure()
    for _ in range(2):
        remembered(measure)
    assert measure.calls == 2


def test_a_cache_that_is_not_writable_is_ignored(cache, monkeypatch):
    (cache / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache / "file"))
    measure = Measure()
    for _ in range(2):
        remembered(measure)
    assert measure.calls == 2
