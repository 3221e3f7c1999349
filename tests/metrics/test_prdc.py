"""Precision, recall, density and coverage against stored values and explicit sums."""

import golden_features
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.prdc import density_coverage, precision_recall

GOLDEN = golden_features.values()
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def by_differences(real, fake, k):
    """Returns precision, recall, density and coverage from a matrix of distances."""

    def distances(a, b):
        return np.linalg.norm(a[:, None] - b, axis=2)

    reals, fakes = (np.sort(distances(rows, rows))[:, k] for rows in (real, fake))
    apart = distances(fake, real)
    precision = (apart <= reals).any(axis=1).mean()
    recall = (apart <= fakes[:, None]).any(axis=0).mean()
    density = (apart < reals).sum(axis=1).mean() / k
    coverage = (apart.min(axis=0) < reals).mean()
    return precision, recall, density, coverage


def all_four(real, fake, k):
    return *precision_recall(real, fake, k), *density_coverage(real, fake, k)


# Shares are equal up to the last bit of a division.
def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-15)


@DTYPES
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("case", golden_features.CASES)
def test_stored_shares_are_reproduced_exactly(case, k, dtype):
    found = all_four(*golden_features.features(case, dtype), k)
    assert_same(found, GOLDEN[f"{case}_exact_k{k}_p_r_d_c_margin"][:4])
    bits = f"f{8 * np.dtype(dtype).itemsize}"
    names = ("precision", "recall", "density", "coverage")
    assert_same(found, [GOLDEN[f"{case}_{bits}_prdc{k}_{name}"] for name in names])
    if k == 3:
        oracle = [GOLDEN[f"{case}_{bits}_prc_{name}"] for name in names[:2]]
        np.testing.assert_allclose(found[:2], oracle, rtol=1e-7)  # it returns float32


@pytest.mark.parametrize("k", [2, 4])
def test_another_k_changes_the_shares(k):
    found = precision_recall(*golden_features.features("A"), k)
    stored = GOLDEN["A_exact_k3_p_r_d_c_margin"][:2]
    assert (np.abs(found / stored - 1) > 0.1).all()


@pytest.mark.parametrize("k", [1, 3, 5])
def test_a_set_covers_itself_and_ties_do_not_count_for_density(k):
    real, fake = golden_features.features("F")
    # Each ball contains its centre and k - 1 neighbours; the k-th is on its surface.
    assert all_four(real, fake, k) == (1, 1, 1, 1)
    order = np.random.default_rng(0).permutation(len(fake))
    assert all_four(real, fake[order], k) == (1, 1, 1, 1)


@pytest.mark.parametrize("seed", range(3))
def test_distances_within_rounding_are_ties(seed):
    # The corners of a rotated simplex: all distances are equal.
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((60, 60)))
    real, fake = turn[:30], turn[30:]
    assert all_four(real, fake, 3) == (1, 1, 0, 0)


def test_repeated_images_are_ties_too():
    point = np.random.default_rng(0).standard_normal((1, 40)).astype(np.float32)
    same = np.repeat(100 * point, 10, axis=0)
    assert all_four(same, same, 3) == (
        1,
        1,
        0,
        0,
    )  # the radius is 0, and no distance is below it


@pytest.mark.parametrize("block", [3, 2048])
def test_blocks_change_nothing(block, monkeypatch):
    rng = np.random.default_rng(1)
    real, fake = rng.standard_normal((23, 4)), 0.7 * rng.standard_normal((31, 4)) + 0.5
    monkeypatch.setattr(rows_lib.blocks, "__defaults__", (block,))
    assert_same(all_four(real, fake, 2), by_differences(real, fake, 2))


def test_a_tight_cluster_has_high_precision_and_no_recall():
    rng = np.random.default_rng(2)
    real, fake = rng.standard_normal((500, 8)), 0.05 * rng.standard_normal((400, 8))
    precision, recall = precision_recall(real, fake)
    assert precision == 1
    assert recall < 0.02
    density, coverage = density_coverage(real, fake)
    assert density > 2
    assert coverage < 0.5


def test_a_wide_cloud_has_low_precision_and_full_recall():
    rng = np.random.default_rng(3)
    real, fake = rng.standard_normal((500, 8)), 3 * rng.standard_normal((500, 8))
    precision, recall = precision_recall(real, fake)
    assert precision < 0.2
    assert recall > 0.8


def test_samples_of_one_distribution_have_density_one():
    rng = np.random.default_rng(4)
    densities, coverages = zip(
        *[density_coverage(*rng.standard_normal((2, 300, 4))) for _ in range(20)],
        strict=True,
    )
    error = np.std(densities) / np.sqrt(20)
    assert abs(np.mean(densities) - 1) < 4 * error
    # A ball contains no fake if the nearest k points of both sets are all real.
    missed = np.prod([(300 - i) / (600 - i) for i in range(1, 6)])
    assert abs(np.mean(coverages) - 1 + missed) < 4 * np.std(coverages) / np.sqrt(20)


def test_a_large_offset_changes_nothing():
    real, fake = golden_features.features("C")
    moved = real + 1e5, fake + 1e5  # float64 resolves 1e-11 there, and 1e-3 of squares
    assert all_four(*moved, 5) == all_four(real, fake, 5)


@pytest.mark.parametrize("metric", [precision_recall, density_coverage])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        ((4, 2), (9, 2), "real features of 4 images are too few; pass at least 5"),
        ((9, 2), (4, 2), "fake features of 4 images are too few; pass at least 5"),
        ((9, 2), (0, 2), "fake features of 0 images are too few; pass at least 5"),
        (
            (9, 2),
            (9, 3),
            "real features with d=2 cannot be compared with .* d=3",
        ),
        ((9, 2, 1), (9, 2), r"real features of shape \(9, 2, 1\) are not \[N, d\]"),
    ],
)
def test_sets_that_cannot_be_compared(metric, real, fake, message):
    with pytest.raises(UserError, match=message):
        metric(np.zeros(real), np.zeros(fake), 3)


@pytest.mark.parametrize("metric", [precision_recall, density_coverage])
def test_k_of_zero_and_nan_features_are_refused(metric):
    rows = np.zeros((9, 2))
    with pytest.raises(UserError, match=r"k=0 .*set it to 1 or more"):
        metric(rows, rows, 0)
    with pytest.raises(
        UserError, match="real features hold NaN or infinite values in 9"
    ):
        metric(rows + np.nan, rows, 3)
