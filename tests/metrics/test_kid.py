"""Kernel distances against stored values, and against explicit estimates."""

import golden_features
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics.kid import kernel_distance

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


def test_generated_images_are_drawn_first():
    real, fake = golden_features.features("D")
    options = stored_options("D")
    exchanged = kernel_distance(fake, real, **options)[0]
    assert abs(exchanged / GOLDEN["D_f64_kid_mean"] - 1) > 1e-4


def test_one_subset_of_all_images_is_the_explicit_estimate():
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 6, 3))

    def mean_kernel(a, b, all_pairs):
        values = [
            (x @ y / 3 + 1) ** 3
            for i, x in enumerate(a)
            for j, y in enumerate(b)
            if all_pairs or i != j
        ]
        return np.mean(values)

    expected = mean_kernel(real, real, False) + mean_kernel(fake, fake, False)
    expected -= 2 * mean_kernel(real, fake, True)
    found = kernel_distance(real, fake, subsets=1, subset_size=6)
    np.testing.assert_allclose(found, (expected, 0), rtol=1e-12)


def test_samples_of_one_distribution_have_distance_zero_on_average():
    rng = np.random.default_rng(1)
    values = [
        kernel_distance(*rng.standard_normal((2, 50, 8)), subsets=1, subset_size=50)[0]
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
    ],
)
def test_too_few_images_or_subsets_are_refused(real, fake, options, message):
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
