"""Frechet distances against stored values, closed forms, and known mistakes.

Stored values for float64 features match to 1e-9: the sums are the same, and rounding of
square roots causes about 1e-14. Values for float32 features match to 2e-6, because
torch-fidelity averages float32 rows in float32.
"""

import golden_features
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics.fid import fid_infinity, frechet_distance
from sagan_jax.metrics.statistics import Provenance, Statistics

GOLDEN = golden_features.values()
FORMS = {
    "features": lambda rows: rows,
    "statistics": Statistics.of,
}


def normal(seed, n, d):
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("fake_form", FORMS)
@pytest.mark.parametrize("real_form", FORMS)
@pytest.mark.parametrize("case", golden_features.CASES)
def test_stored_distances_are_reproduced(case, real_form, fake_form):
    real, fake = golden_features.features(case)
    distance = frechet_distance(FORMS[real_form](real), FORMS[fake_form](fake))
    np.testing.assert_allclose(distance, GOLDEN[f"{case}_f64_fid_nuc"], rtol=1e-9)
    if case != "D":  # square roots of rounding errors affect both
        np.testing.assert_allclose(distance, GOLDEN[f"{case}_f64_fid_tf"], rtol=1e-9)
        np.testing.assert_allclose(distance, GOLDEN[f"{case}_f64_fid_pf"], rtol=1e-9)


@pytest.mark.parametrize("case", golden_features.CASES)
def test_stored_distances_of_float32_features_are_reproduced(case):
    distance = frechet_distance(*golden_features.features(case, np.float32))
    for oracle in ("fid_tf", "fid_pf", "fid_nuc"):
        stored = GOLDEN[f"{case}_f32_{oracle}"]
        np.testing.assert_allclose(distance, stored, rtol=2e-6)


@pytest.mark.parametrize("case", golden_features.CASES)
def test_a_covariance_divided_by_n_gives_another_distance(case):
    distance = frechet_distance(*golden_features.features(case))
    assert abs(distance / GOLDEN[f"{case}_f64_fid_ddof0"] - 1) > 1e-4


def test_few_samples_are_more_exact_than_in_the_reference_codes():
    distance = frechet_distance(*golden_features.features("D"))
    assert abs(distance / GOLDEN["D_f64_fid_tf"] - 1) > 1e-8


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [20, 32, 33, 500])  # of 32 features
def test_a_set_has_distance_zero_from_itself(n, form):
    rows = FORMS[form](normal(0, n, 32))
    # 32 square roots of eigenvalues around 1, each with an error of 1e-15.
    assert abs(frechet_distance(rows, rows)) < 1e-11


@pytest.mark.parametrize("form", FORMS)
def test_rounding_errors_are_not_clamped(form):
    sets = [FORMS[form](normal(seed, 500, 32)) for seed in range(30)]
    assert min(frechet_distance(rows, rows) for rows in sets) < 0


@pytest.mark.parametrize("n", [20, 500])
def test_a_shift_adds_its_squared_length(n):
    rows, shift = normal(1, n, 32), normal(2, 1, 32)[0]
    expected = np.sum(shift**2)
    np.testing.assert_allclose(
        frechet_distance(rows, rows + shift), expected, rtol=1e-11
    )


def test_diagonal_gaussians_have_the_distance_of_means_and_deviations():
    mean, other_mean = normal(3, 2, 16)
    sigma, other_sigma = np.abs(normal(4, 2, 16))
    distance = frechet_distance(
        Statistics(None, mean, np.diag(sigma**2)),
        Statistics(None, other_mean, np.diag(other_sigma**2)),
    )
    expected = np.sum((mean - other_mean) ** 2) + np.sum((sigma - other_sigma) ** 2)
    np.testing.assert_allclose(distance, expected, rtol=1e-12)


@pytest.mark.parametrize("n", [20, 32, 33, 500])
def test_covariances_that_do_not_commute(n):
    # tr (S1 S2)^(1/2) from the eigenvalues of the product, which is not symmetric.
    real, fake = normal(5, 500, 32) @ normal(6, 32, 32), normal(7, n, 32)
    covs = [np.cov(rows, rowvar=False) for rows in (real, fake)]
    roots = np.sqrt(np.linalg.eigvals(covs[0] @ covs[1]).astype(complex)).real
    gap = np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2)
    expected = gap + np.trace(covs[0]) + np.trace(covs[1]) - 2 * roots.sum()
    # For n <= d the expected value has roots of rounding errors, about sqrt(1e-16).
    tolerance = 1e-6 if n <= 32 else 1e-12
    np.testing.assert_allclose(frechet_distance(real, fake), expected, rtol=tolerance)
    np.testing.assert_allclose(
        frechet_distance(fake, real), frechet_distance(real, fake), rtol=1e-12
    )


def test_features_that_share_no_column():
    rows = normal(8, 100, 4)
    real, fake = np.pad(rows, ((0, 0), (0, 4))), np.pad(rows, ((0, 0), (4, 0)))
    # T = 0, up to roots of rounding errors: 8 times sqrt(1e-16) and more.
    expected = 2 * np.sum(np.var(rows, axis=0, ddof=1) + rows.mean(axis=0) ** 2)
    np.testing.assert_allclose(frechet_distance(real, fake), expected, rtol=1e-6)


def test_the_order_of_images_does_not_matter():
    real, fake = golden_features.features("C")
    order = np.random.default_rng(0).permutation(len(fake))
    np.testing.assert_allclose(
        frechet_distance(real, fake[order]), frechet_distance(real, fake), rtol=1e-12
    )


def test_samples_of_one_gaussian_have_the_bias_of_their_counts():
    d, n, m, repeats = 32, 1000, 2000, 8
    distances = [
        frechet_distance(normal(100 + i, n, d), normal(200 + i, m, d))
        for i in range(repeats)
    ]
    expected = (d + d * (d + 1) / 4) * (1 / n + 1 / m)
    error = np.std(distances, ddof=1) / np.sqrt(repeats)
    # Four standard errors, plus 2 % for terms in 1 / n^2.
    assert abs(np.mean(distances) - expected) < 4 * error + 0.02 * expected


def test_the_stored_fid_infinity_is_reproduced():
    real, fake = golden_features.features("A")
    line = fid_infinity(real, fake, least=500, shuffle_seed=None)
    assert line.sizes == tuple(GOLDEN["A_fidinf_points"])
    np.testing.assert_allclose(line.distances, GOLDEN["A_fidinf_fids"], rtol=1e-9)
    np.testing.assert_allclose(line.value, GOLDEN["A_fidinf"], rtol=1e-9)
    size, distance = line.sizes[-1], line.distances[-1]
    np.testing.assert_allclose(distance, frechet_distance(real, fake), rtol=1e-12)
    # The stored line passes near its last point, so the bias is that of the slope.
    assert abs(line.value + line.slope / size - distance) < 0.05


def test_fid_infinity_of_the_real_gaussian_is_zero():
    d, n, repeats = 16, 3000, 24
    exact = Statistics(None, np.zeros(d), np.eye(d))
    lines = [fid_infinity(exact, normal(i, n, d), least=300) for i in range(repeats)]
    values, slopes = np.array([(line.value, line.slope / n) for line in lines]).T
    bias = (d + d * (d + 1) / 4) / n  # of all n images, and what the line should remove
    for found, expected in ((values, 0), (slopes, bias)):
        error = 4 * np.std(found, ddof=1) / np.sqrt(repeats)
        assert abs(np.mean(found) - expected) < error < bias / 3


def test_each_subset_of_the_line_is_shuffled_anew():
    real, fake = golden_features.features("C")
    options = {"least": 200, "points": 3}
    plain = fid_infinity(real, fake, shuffle_seed=None, **options)
    once, again = (fid_infinity(real, fake, **options) for _ in range(2))
    assert once.distances == again.distances
    np.testing.assert_allclose(once.distances[-1], plain.distances[-1], rtol=1e-12)
    assert abs(once.distances[0] - plain.distances[0]) > 1e-3
    order = np.random.RandomState(2020)
    for size, distance in zip(once.sizes, once.distances, strict=True):
        part = fake[order.permutation(len(fake))[:size]]
        np.testing.assert_allclose(frechet_distance(real, part), distance, rtol=1e-9)


ROWS = normal(9, 8, 4)
NAN = np.where(np.arange(8)[:, None] == 3, np.nan, ROWS)
KNOWN = Provenance("cifar10", "train", "none", "tensorflow", "2048", "6726825d")


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (ROWS[0], ROWS, r"real features of shape \(4,\) are not \[N, d\]; pass one"),
        (ROWS, ROWS[:, :0], r"fake features of shape \(8, 0\) are not \[N, d\]; pass"),
        (ROWS, ROWS[:1], "fake features of 1 images are too few; pass at least 2"),
        (ROWS[:0], ROWS, "real features of 0 images are too few; pass at least 2"),
        (Statistics.of(ROWS[:1]), ROWS, "real features of 1 images are too few"),
        (NAN, ROWS, "real features hold NaN or infinite values in 1 of 8 rows; check"),
        (
            ROWS,
            ROWS + np.inf,
            "fake features hold NaN or infinite values in 8 of 8 rows",
        ),
        (
            ROWS,
            ROWS[:, 1:],
            "real features with d=4 cannot be compared with .* d=3; tak",
        ),
        (ROWS, ROWS > 0, "fake features of type bool are not real numbers; pass float"),
        (
            Statistics.of(ROWS, KNOWN),
            Statistics.of(ROWS),
            "fake statistics have no provenance.*assume=Provenance",
        ),
    ],
)
def test_sets_that_cannot_be_compared(real, fake, message):
    with pytest.raises(UserError, match=message):
        frechet_distance(real, fake)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "fake features of 8 images are too few; pass at least 5001"),
        ({"least": 8}, "fake features of 8 images are too few; pass at least 9"),
        ({"least": 1}, "points=15 and least=1 .*2 or more"),
        ({"points": 1}, "points=1 and least=5000 .*2 or more"),
    ],
)
def test_too_few_images_or_points_for_a_line(options, message):
    with pytest.raises(UserError, match=message):
        fid_infinity(ROWS, ROWS, **options)
