"""Means and covariances: streaming, merging, and errors."""

import dataclasses

import golden_features
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.fid import frechet_distance
from sagan_jax.metrics.statistics import Provenance, Statistics, check_same_pipeline

ROWS = np.random.default_rng(0).standard_normal((50, 4))
ROWS += [0, 10, 1e3, 0]
KNOWN = Provenance("cifar10", "train", "none", "tensorflow", "2048", "6726825d")


def streamed(rows, sizes, order=None):
    rows = rows if order is None else rows[order]
    result = Statistics.empty(rows.shape[1])
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        result = result.add(part)
    return result


def assert_same(found, rows):
    assert found.n == len(rows)
    # Float64 sums of 50 values; the largest entries determine the rounding.
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
    cov = np.cov(rows, rowvar=False)
    np.testing.assert_allclose(found.cov, cov, atol=1e-12 * np.abs(cov).max())


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [7, 0, 42, 1], [0, 50]])
def test_batches_do_not_matter(sizes):
    assert_same(streamed(ROWS, sizes), ROWS)


def test_blocks_do_not_matter(monkeypatch):
    monkeypatch.setattr(rows_lib.blocks, "__defaults__", (8,))
    assert_same(Statistics.of(ROWS), ROWS)


def test_merging_equals_adding():
    parts = [Statistics.of(part) for part in np.split(ROWS, [3, 4, 30])]
    left = parts[0].merge(parts[1]).merge(parts[2]).merge(parts[3])
    right = parts[0].merge(parts[1].merge(parts[2].merge(parts[3])))
    for merged in (left, right, Statistics.empty(4).merge(left)):
        assert_same(merged, ROWS)


def test_nothing_changes_in_place():
    first = Statistics.of(ROWS)
    mean, m2 = first.mean.copy(), first.m2.copy()
    first.add(ROWS + 5)
    first.merge(first)
    np.testing.assert_array_equal(first.mean, mean)
    np.testing.assert_array_equal(first.m2, m2)


@pytest.mark.parametrize("case", golden_features.CASES)
def test_distances_do_not_depend_on_order_batches_or_merges(case):
    real, fake = golden_features.features(case)
    expected = frechet_distance(Statistics.of(real), Statistics.of(fake))
    order = np.random.default_rng(1).permutation(len(fake))
    half = len(fake) // 2
    batches = streamed(fake, [64] * (len(fake) // 64) + [len(fake) % 64], order)
    merged = Statistics.of(fake[half:]).merge(Statistics.of(fake[:half]))
    for statistics in (batches, merged):
        distance = frechet_distance(Statistics.of(real), statistics)
        np.testing.assert_allclose(distance, expected, rtol=1e-9)


def test_a_small_variance_far_from_the_origin_is_exact():
    # Sums of squares would have an error of 1e6^2 * 1e-16 = 1e-4 in a variance of 1.
    # The features themselves are rounded to 1e-10, and 1e4 rows are summed.
    rows = np.random.default_rng(2).standard_normal((10_000, 3))
    found = streamed(rows + 1e6, [100] * 100)
    np.testing.assert_allclose(found.cov, np.cov(rows, rowvar=False), atol=1e-9)


def test_float32_features_are_summed_in_float64():
    rows = ROWS.astype(np.float32)
    assert_same(Statistics.of(rows), rows.astype(np.float64))


def test_features_can_be_memory_maps(tmp_path):
    np.save(tmp_path / "features.npy", ROWS)
    assert_same(Statistics.of(np.load(tmp_path / "features.npy", mmap_mode="r")), ROWS)


def test_the_covariance_is_exactly_symmetric():
    rows = np.random.default_rng(3).standard_normal((300, 40))
    cov = streamed(rows, [100, 7, 193]).cov
    np.testing.assert_array_equal(cov, cov.T)


def test_adding_and_merging_keep_the_provenance():
    assert Statistics.empty(4, KNOWN).add(ROWS).provenance == KNOWN
    parts = (Statistics.of(ROWS, KNOWN) for _ in range(2))
    assert next(parts).merge(next(parts)).provenance == KNOWN


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ROWS[:, 1:],
            r"features of shape \(50, 3\) cannot be added to statistics with d=4",
        ),
        (ROWS + np.nan, "features hold NaN or infinite values in 50 of 50 rows"),
        (
            ROWS[0],
            r"features of shape \(4,\) are not \[N, d\]; pass one row",
        ),
        (ROWS.astype(str), "features of type <U32 are not real numbers; pass float32"),
    ],
)
def test_invalid_features_are_refused(rows, message):
    with pytest.raises(UserError, match=message):
        Statistics.of(ROWS).add(rows)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_have_no_covariance(n):
    with pytest.raises(UserError, match=f"n={n} images have no covariance; pass at"):
        _ = Statistics.empty(4).add(ROWS[:n]).cov


def test_statistics_of_none_are_refused():
    with pytest.raises(UserError, match="features of 0 images are too few; pass at le"):
        Statistics.of(ROWS[:0])


def test_different_statistics_are_not_merged():
    ours = Statistics.of(ROWS, KNOWN)
    with pytest.raises(UserError, match=r"d=4 cannot be compared with .* d=3"):
        ours.merge(Statistics.of(ROWS[:, 1:], KNOWN))
    other = dataclasses.replace(KNOWN, split="test")
    with pytest.raises(
        UserError, match=r"provenance=.* differs from .*dataclasses.replace"
    ):
        ours.merge(Statistics.of(ROWS, other))


def test_statistics_without_a_count_are_not_extended():
    unknown = Statistics(None, np.zeros(4), np.eye(4))
    for change in (lambda: unknown.add(ROWS), lambda: unknown.merge(unknown)):
        with pytest.raises(UserError, match="n=None: statistics from a file without"):
            change()


@pytest.mark.parametrize("field", ["pipeline", "tap", "weights"])
def test_statistics_measured_differently_are_not_compared(field):
    ours = Statistics.of(ROWS, KNOWN)
    theirs = Statistics.of(ROWS, dataclasses.replace(KNOWN, **{field: "another"}))
    message = (
        f"{field}={getattr(KNOWN, field)!r} of the real .*{field}='another' of the gen"
    )
    with pytest.raises(UserError, match=message):
        check_same_pipeline(ours, theirs)
    with pytest.raises(UserError, match=message):
        frechet_distance(ours, theirs)


def test_other_images_measured_in_the_same_way_are_compared():
    other = Provenance("samples", "10k", "none", "tensorflow", "2048", "6726825d")
    check_same_pipeline(Statistics.of(ROWS, KNOWN), Statistics.of(ROWS, other))


@pytest.mark.parametrize("unknown", ["real", "fake"])
def test_only_two_unknown_provenances_are_compared(unknown):
    pair = {"real": Statistics.of(ROWS, KNOWN), "fake": Statistics.of(ROWS, KNOWN)}
    pair[unknown] = Statistics.of(ROWS)
    with pytest.raises(
        UserError, match=f"^{unknown} statistics have no provenance.*load"
    ):
        check_same_pipeline(**pair)
    check_same_pipeline(Statistics.of(ROWS), Statistics.of(ROWS))
