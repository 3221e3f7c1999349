"""Inception scores against stored values, closed forms, and other variants."""

import functools

import golden_features
import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics.inception_score import inception_score

GOLDEN = golden_features.values()
SEEDS = {"sh": 2020, "ns": None}


@functools.cache
def score(case, splits=10, seed=2020, **options):
    return inception_score(golden_features.logits(case)[0], splits, seed, **options)


@pytest.mark.parametrize("order", SEEDS)
@pytest.mark.parametrize("splits", [1, 10])
@pytest.mark.parametrize("case", ["I", "J"])
def test_stored_scores_are_reproduced(case, splits, order):
    found = score(case, splits, SEEDS[order])
    stored = GOLDEN[f"{case}_f64_is_s{splits}_{order}"]
    np.testing.assert_allclose(found, stored, rtol=1e-9)


def test_stored_scores_of_float32_logits_are_reproduced():
    logits = golden_features.logits("I")[0].astype(np.float32)
    stored = GOLDEN["I_f32_is_s10_sh"]
    np.testing.assert_allclose(inception_score(logits), stored, rtol=1e-9)


@pytest.mark.parametrize(
    "other", ["I_f64_is_biased_s10_sh", "I_f64_is_s10_ns", "I_f64_is_s1_sh"]
)
def test_bias_order_and_splits_change_the_score(other):
    assert abs(score("I")[0] / GOLDEN[other][0] - 1) > 1e-3


def test_stored_scores_of_logits_with_bias_are_reproduced():
    found = inception_score(np.add(*golden_features.logits("I")))
    np.testing.assert_allclose(found, GOLDEN["I_f64_is_biased_s10_sh"], rtol=1e-9)


def test_dropping_the_remainder_changes_the_score():
    stored = GOLDEN["I_is_biggan_chunks_s10_ns"]  # of 1003 images
    found = score("I", seed=None, drop_remainder=True)
    np.testing.assert_allclose(found, stored, rtol=1e-9)
    assert abs(score("I", seed=None)[0] / stored[0] - 1) > 1e-3


def test_the_divisor_scales_the_deviation():
    mean, deviation = score("I", seed=None, ddof=1)
    expected = score("I", seed=None)
    np.testing.assert_allclose(
        (mean, deviation), (expected[0], expected[1] * np.sqrt(10 / 9)), rtol=1e-12
    )


@pytest.mark.parametrize("classes", [2, 10])
def test_certain_balanced_predictions_score_the_number_of_classes(classes):
    logits = np.tile(1e4 * np.eye(classes), (5, 1))
    found = inception_score(logits, splits=5, shuffle_seed=None)
    np.testing.assert_allclose(found, (classes, 0), rtol=1e-12)


@pytest.mark.parametrize("row", [[0, 0, 0], [1e4, 0, 0], [-3, 1, 2]])
def test_equal_predictions_for_all_images_score_one(row):
    logits = np.tile(np.array(row, float), (20, 1))
    np.testing.assert_allclose(inception_score(logits), (1, 0), atol=1e-14)


def test_a_constant_added_to_the_logits_of_an_image_changes_nothing():
    logits = golden_features.logits("I")[0]
    moved = logits + np.linspace(-500, 500, len(logits))[:, None]
    # Adding 500 rounds logits to 1e-13.
    np.testing.assert_allclose(inception_score(moved), score("I"), rtol=1e-10)


def test_one_split_does_not_depend_on_the_order():
    np.testing.assert_allclose(score("I", 1), score("I", 1, None), rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((9, 5), {}, "logits of 9 images are too few; pass at least 10"),
        ((0, 5), {"splits": 1}, "logits of 0 images are too few; pass at least 1"),
        ((9,), {}, r"logits of shape \(9,\) are not \[N, d\]"),
        ((9, 5), {"splits": 0}, "splits=0 with ddof=0 .*splits of 1 or more"),
        ((9, 5), {"splits": 1, "ddof": 1}, "splits=1 with ddof=1 .*2 or more"),
    ],
)
def test_too_few_images_or_splits_are_refused(shape, options, message):
    with pytest.raises(UserError, match=message):
        inception_score(np.zeros(shape), **options)


def test_logits_that_are_not_finite_are_refused():
    logits = np.zeros((20, 3))
    logits[4, 1] = np.inf
    with pytest.raises(
        UserError, match="logits hold NaN or infinite values in 1 of 20"
    ):
        inception_score(logits)
