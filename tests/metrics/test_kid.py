"""Kernel distances against stored values, and against explicit estimates."""

import golden_features
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics.kid import KERNELS, kernel_distance

GOLDEN = golden_features.values()


def stored_options(case):
    names = ("subsets", "subset_size")
    return {name: int(GOLDEN[f"{case}_kid_{name}"]) for name in names}


@pytest.mark.parametrize("case", golden_features.CASES + "F")
def test_stored_distances_are_reproduced(case):
    found = kernel_distance(*golden_features.features(case), **stored_options(case))
    stored = GOLDEN[f"{case}_f64_kid_mean"], GOLDEN[f"{case}_f64_kid_std"]
    np.testing.assert_allclose(found, stored, rtol=1e-9)


@pytest.mark.parametrize("case", "BCD")
def test_stored_distances_of_float32_features_are_reproduced(case):
    features = golden_features.features(case, np.float32)
    mean, deviation = kernel_distance(*features, **stored_options(case))
    # The reference code sums in float32, and takes small differences of large sums.
    np.testing.assert_allclose(mean, GOLDEN[f"{case}_f32_kid_mean"], rtol=2e-6)
    np.testing.assert_allclose(deviation, GOLDEN[f"{case}_f32_kid_std"], rtol=2e-5)


# torch-fidelity 0.4.0 with kid_kernel='rbf', for float64 features: mean and deviation.
RBF = {
    ("D", 10): (0.018177133032984034, 0.0032984922875735514),
    ("D", 3): (0.0014273786668809892, 0.0002005183596093846),
}


@pytest.mark.parametrize(("case", "sigma"), RBF)
def test_stored_distances_of_the_rbf_kernel_are_reproduced(case, sigma):
    options = stored_options(case) | {"kernel": "rbf", "sigma": sigma}
    found = kernel_distance(*golden_features.features(case), **options)
    np.testing.assert_allclose(found, RBF[case, sigma], rtol=1e-9)


def test_the_rbf_kernel_has_a_sigma_of_10_by_default():
    options = stored_options("D") | {"kernel": "rbf"}
    found = kernel_distance(*golden_features.features("D"), **options)
    np.testing.assert_allclose(found, RBF["D", 10], rtol=1e-9)


def test_generated_images_are_drawn_first():
    real, fake = golden_features.features("D")
    options = stored_options("D")
    exchanged = kernel_distance(fake, real, **options)[0]
    assert abs(exchanged / GOLDEN["D_f64_kid_mean"] - 1) > 1e-4


EXPLICIT = {
    "poly": lambda x, y: (x @ y / 3 + 1) ** 3,
    "rbf": lambda x, y: np.exp(-np.sum((x - y) ** 2) / (2 * 1.5**2)),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_subset_of_all_images_is_the_explicit_estimate(kernel):
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 6, 3))

    def mean_kernel(a, b, all_pairs):
        values = [
            EXPLICIT[kernel](x, y)
            for i, x in enumerate(a)
            for j, y in enumerate(b)
            if all_pairs or i != j
        ]
        return np.mean(values)

    expected = mean_kernel(real, real, False) + mean_kernel(fake, fake, False)
    expected -= 2 * mean_kernel(real, fake, True)
    options = {"subsets": 1, "subset_size": 6, "kernel": kernel, "sigma": 1.5}
    found = kernel_distance(real, fake, **options)
    np.testing.assert_allclose(found, (expected, 0), rtol=1e-12)


def test_shifted_gaussians_have_the_rbf_distance_of_their_parameters():
    # E k(x, y) = (1 + 2 / s^2)^(-d/2) exp(-|c|^2 / (2 (s^2 + 2))) for unit variances
    d, sigma, shift = 4, 3.0, np.array([2.0, 1.0, 0.0, 0.0])
    expected = 2 * (1 + 2 / sigma**2) ** (-d / 2)
    expected *= 1 - np.exp(-shift @ shift / (2 * (sigma**2 + 2)))
    rng = np.random.default_rng(3)
    real, fake = rng.standard_normal((2, 2000, d))
    options = {"subsets": 8, "subset_size": 500, "kernel": "rbf", "sigma": sigma}
    found = kernel_distance(real, fake + shift, **options)[0]
    assert found == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("kernel", KERNELS)
def test_samples_of_one_distribution_have_distance_zero_on_average(kernel):
    rng = np.random.default_rng(1)
    options = {"subsets": 1, "subset_size": 50, "kernel": kernel}
    values = [
        kernel_distance(*rng.standard_normal((2, 50, 8)), **options)[0]
        for _ in range(200)
    ]
    assert min(values) < 0
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        (9, 10, {}, "real features of 9 images are too few; pass at least 10"),
        (10, 9, {}, "fake features of 9 images are too few; pass at least 10"),
        (0, 10, {}, "real features of 0 images are too few; pass at least 10"),
        (10, 10, {"subsets": 0}, "subsets=0 and subset_size=10 .*at least 1 subset"),
        (10, 10, {"subset_size": 1}, "subsets=100 and subset_size=1 .*of 2 images"),
        (10, 10, {"kernel": "ruf"}, "kid_kernel='ruf' .*choose among poly, rbf"),
        (10, 10, {"kernel": "rbf", "sigma": 0}, "sigma=0 is not positive; .*above 0"),
        (10, 10, {"kernel": "rbf", "sigma": np.nan}, "sigma=nan is not positive"),
    ],
)
def test_too_few_images_and_unusable_options_are_refused(real, fake, options, message):
    with pytest.raises(UserError, match=message):
        kernel_distance(
            np.zeros((real, 3)), np.zeros((fake, 3)), **{"subset_size": 10, **options}
        )


def test_features_with_different_d_or_not_finite_are_refused():
    rows = np.zeros((10, 3))
    with pytest.raises(
        UserError, match="real features with d=3 cannot be compared with"
    ):
        kernel_distance(rows, rows[:, 1:], subset_size=10)
    with pytest.raises(UserError, match="fake features hold NaN or infinite values in"):
        kernel_distance(rows, rows + np.nan, subset_size=10)
