"""The calibration of both measures, on sets with a known result.

n = 1,500 images. The score of independent pairs has a standard deviation of
0.71 / sqrt(n) = 0.018; tolerances below are four of the named deviations.
"""

import functools
import math

import numpy as np
import pytest

from sagan_jax.data import far_pairs
from sagan_jax.errors import UserError
from sagan_jax.metrics import agreement

N = 1500
CHANCE = 4 * 0.71 / math.sqrt(N)
RESOLUTIONS = pytest.mark.parametrize("resolution", [16, 32])


@functools.cache
def real(resolution, **options):
    images, labels = far_pairs.render_many(1, range(N), resolution, **options)
    images = images / np.float32(255)
    images.flags.writeable = labels.flags.writeable = False
    return images, labels


def score(images, labels, distance="far", **options):
    return agreement.score(images, labels, distance, **options)["score"]


def shuffled(images, share=1.0):
    """Takes right halves from other images, for the first `share` of the set."""
    count, middle = int(share * len(images)), images.shape[2] // 2
    mixed = images.copy()
    order = np.random.default_rng(0).permutation(count)
    mixed[:count, :, middle:] = images[order, :, middle:]
    return mixed


def noisy(images, deviation):
    noise = np.random.default_rng(1).normal(0, deviation, images.shape)
    return np.clip(images + noise, 0, 1)


def blurred(images, sigma):
    """A Gaussian blur with mirrored borders; sigma is a fraction of the side."""
    size = images.shape[1]
    reach = math.ceil(4 * sigma * size)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma * size)) ** 2)
    kernel /= kernel.sum()
    width = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    padded = np.pad(images, width, "symmetric")
    rows = sum(k * padded[:, i : i + size] for i, k in enumerate(kernel))
    return sum(k * rows[:, :, i : i + size] for i, k in enumerate(kernel))


def with_hues(left, right, resolution):
    """The real set in other hues, [N] each."""
    return np.stack(
        [
            far_pairs.render(1, i, resolution, hues=(left[i], right[i]))[0]
            for i in range(len(left))
        ]
    )


@RESOLUTIONS
def test_real_pairs_score_zero(resolution):
    result = agreement.score(*real(resolution))
    # Pixel noise changes the hue of a small glyph slightly.
    assert -0.001 < result["score"] < {16: 0.015, 32: 0.005}[resolution]
    assert result["missing"] == 0
    assert result["n"] == N
    assert abs(result["den"] - 1) < 0.02
    assert abs(result["raw"] - result["score"]) < 0.001


@RESOLUTIONS
def test_independent_pairs_score_one(resolution):
    images, labels = real(resolution)
    assert abs(score(shuffled(images), labels) - 1) < CHANCE
    # Half of the pairs are unchanged, which leaves a deviation of 0.5 / sqrt(n).
    half = score(shuffled(images, share=0.5), labels)
    assert abs(half - 0.5) < 4 * 0.5 / math.sqrt(N)


@RESOLUTIONS
def test_disagreeing_pairs_score_above_one(resolution):
    # 1 - E cos(offset) for offsets uniform on 60..300 degrees; the SD of cos is 0.51.
    expected = 1 + math.sqrt(3) / (4 * math.pi / 3)
    images, labels = real(resolution, agree=False)
    assert abs(score(images, labels, "mid") - expected) < 4 * 0.51 / math.sqrt(N)


@RESOLUTIONS
@pytest.mark.parametrize("sigma", [0.04, 0.06])
def test_blur_changes_nothing(resolution, sigma):
    images, labels = real(resolution)
    assert score(blurred(images, sigma), labels) < 0.015
    mixed = shuffled(images)
    change = score(blurred(mixed, sigma), labels) - score(mixed, labels)
    assert abs(change) < 0.01


@pytest.mark.parametrize(
    ("resolution", "deviation", "expected"),
    [
        (16, 0.05, 0.059),
        (32, 0.05, 0.012),
        (16, 0.1, 0.218),
        (32, 0.1, 0.045),
        (32, 0.2, 0.20),
    ],
)
def test_noise_raises_the_score_gently(resolution, deviation, expected):
    images, labels = real(resolution)
    found = score(noisy(images, deviation), labels)
    # Measured once on other noise; the mean of 1 - cos deviates by less than this.
    assert abs(found - expected) < 0.01 + 0.1 * expected
    assert abs(score(noisy(shuffled(images), deviation), labels) - 1) < CHANCE


@RESOLUTIONS
@pytest.mark.parametrize("levels", [16, 8])
def test_few_levels_hardly_matter(resolution, levels):
    images, labels = real(resolution)
    coarse = np.round(images * (levels - 1)) / (levels - 1)
    bound = {(16, 16): 0.02, (16, 8): 0.04, (32, 16): 0.006, (32, 8): 0.015}
    assert score(coarse, labels) < bound[resolution, levels]


@RESOLUTIONS
def test_pale_glyphs_count_as_missing(resolution):
    images, labels = real(resolution)
    grey = images.mean(-1, keepdims=True)
    half = agreement.score(grey + 0.5 * (images - grey), labels, "near")
    assert half["score"] < 0.02
    assert half["missing"] < 0.01
    fifth = agreement.score(grey + 0.2 * (images - grey), labels, "near")
    # Missing images score as chance. At 16 px, one or two bars and triangles remain to
    # estimate cross_y of half of the set, so it is noisy; at 32 px, none remains.
    assert abs(fifth["missing"] - 0.52) < 0.02
    rough = {16: 0.15, 32: 0.01}[resolution]
    assert abs(fifth["score"] - fifth["missing"]) < rough


@RESOLUTIONS
def test_images_without_pairs_score_one(resolution):
    images, labels = real(resolution)
    for colour in ([0.5, 0.5, 0.5], [0.3, 0.5, 0.7]):
        flat = np.broadcast_to(np.float32(colour), images.shape)
        result = agreement.score(flat, labels)
        assert result["score"] == result["missing"] == result["raw"] == 1
    one_sided = images.copy()
    one_sided[:, :, resolution // 2 :] = 0.5
    result = agreement.score(one_sided, labels)
    assert result["score"] == 1
    assert result["missing"] == 1


@RESOLUTIONS
def test_one_image_repeated_scores_one(resolution):
    images, labels = real(resolution)
    result = agreement.score(np.repeat(images[:1], N, axis=0), labels)
    assert result["score"] == 1
    assert result["den"] < 0.01
    assert result["raw"] < 0.01


@RESOLUTIONS
def test_one_hue_per_class_is_not_agreement(resolution):
    _, labels = real(resolution)
    of_class = labels * math.pi / 2
    result = agreement.score(with_hues(of_class, of_class, resolution), labels)
    assert result["score"] == 1
    assert result["raw"] < 0.02

    rng = np.random.default_rng(2)
    left, right = of_class + rng.normal(0, 0.6, (2, N))
    result = agreement.score(with_hues(left, right, resolution), labels)
    assert 0.25 < result["raw"] < 0.40
    assert abs(result["score"] - 1) < CHANCE


@pytest.mark.parametrize(
    ("deviation", "expected"), [(0.25, 0.031), (0.5, 0.118), (1.0, 0.394)]
)
def test_jitter_scores_as_its_closed_form(deviation, expected):
    assert abs(1 - math.exp(-(deviation**2) / 2) - expected) < 0.001
    _, labels = real(32)
    rng = np.random.default_rng(3)
    left = rng.uniform(0, 2 * math.pi, N)
    right = left + rng.normal(0, deviation, N)
    # The cos of a normal angle has a variance of (1 - exp(-s^2))^2 / 2.
    tolerance = 4 * (1 - math.exp(-(deviation**2))) / math.sqrt(2 * N)
    assert abs(score(with_hues(left, right, 32), labels) - expected) < 0.003 + tolerance


def test_a_constant_offset_scores_one_minus_its_cosine():
    _, labels = real(32)
    left = np.random.default_rng(4).uniform(0, 2 * math.pi, N)
    found = score(with_hues(left, left + 0.5, 32), labels)
    # Covering N hues instead of all changes the ratio by less than one per cent.
    assert abs(found - (1 - math.cos(0.5))) < 0.005


@RESOLUTIONS
def test_mirrors_and_colour_casts_change_nothing(resolution):
    images, labels = real(resolution)
    before = score(images, labels)
    assert abs(score(images[:, :, ::-1], labels) - before) < 1e-6
    ramp = np.linspace(-0.05, 0.05, resolution)[:, None, None] * [1, -1, 0.5]
    cast = 0.8 * images + 0.1 + ramp + [0.03, -0.04, 0.0]
    assert abs(score(cast, labels) - before) < 1e-6


@pytest.mark.parametrize("distance", ["near", "mid", "far"])
def test_every_distance_has_windows_that_hold_its_pairs(distance):
    images, labels = real(32, distance=distance)
    result = agreement.score(images, labels, distance)
    assert result["score"] < 0.01
    assert result["missing"] == 0
    assert agreement.class_correctness(images, labels, distance=distance) > 0.99


def test_the_score_equals_the_sum_over_all_pairs_written_out():
    rng = np.random.default_rng(5)
    n, size = 40, 16
    labels = rng.integers(0, 3, n)
    labels[0] = 7  # the only one of its class
    left = rng.uniform(0, 2 * math.pi, n)
    right = left + rng.normal(0, 1, n)
    shown = rng.random(n) < 0.8
    channel = 2 * math.pi / 3 * np.arange(3)
    images = np.full((n, size, size, 3), 0.5)
    for i in range(n):
        images[i, 6:10, 1:4] += 0.3 * np.cos(left[i] - channel)
        if shown[i]:
            images[i, 6:10, -4:-1] += 0.3 * np.cos(right[i] - channel)

    gained = possible = 0.0
    for label in np.unique(labels):
        members = np.flatnonzero((labels == label) & shown)
        crossed = [
            math.cos(left[i] - right[j]) for i in members for j in members if i != j
        ]
        cross = np.mean(crossed) if crossed else 0.0
        if crossed:
            gained += sum(math.cos(left[i] - right[i]) - cross for i in members)
        possible += np.sum(labels == label) * (1 - cross)
    result = agreement.score(images, labels)
    np.testing.assert_allclose(result["score"], 1 - gained / possible, rtol=1e-9)
    np.testing.assert_allclose(result["den"], possible / n, rtol=1e-9)
    np.testing.assert_allclose(result["missing"], 1 - shown.mean(), rtol=1e-9)
    agreeing = np.cos(left - right)[shown].sum() / n
    np.testing.assert_allclose(result["raw"], 1 - agreeing, rtol=1e-9)


@pytest.mark.parametrize(
    ("resolution", "num_classes", "change", "least"),
    [
        (16, 4, lambda images: images, 0.995),
        (32, 4, lambda images: images, 0.999),
        (16, 4, lambda images: blurred(images, 0.04), 0.97),
        (32, 4, lambda images: blurred(images, 0.04), 0.995),
        (16, 4, lambda images: noisy(images, 0.05), 0.95),
        (32, 4, lambda images: noisy(images, 0.05), 0.995),
        (32, 6, lambda images: images, 0.995),
        (32, 6, lambda images: noisy(images, 0.1), 0.77),
    ],
)
def test_the_classes_of_real_glyphs_are_recognised(
    resolution, num_classes, change, least
):
    images, labels = real(resolution, num_classes=num_classes)
    found = agreement.class_correctness(change(images), labels, num_classes)
    assert found >= least


def test_a_blur_beyond_the_bank_lowers_the_ceiling():
    images, labels = real(32)
    assert 0.6 < agreement.class_correctness(blurred(images, 0.06), labels) < 0.8


def test_wrong_labels_score_chance():
    images, labels = real(32)
    guesses = np.random.default_rng(6).integers(0, 4, N)
    # Both glyphs of an image are right or wrong together: N trials of 1/4.
    tolerance = 4 * math.sqrt(3 / 16 / N)
    assert abs(agreement.class_correctness(images, guesses) - 0.25) < tolerance
    assert agreement.class_correctness(images, (labels + 1) % 4) < 0.002


def test_each_glyph_is_classified_separately():
    images, labels = real(32)
    mixed = images.copy()
    mixed[:, :, 16:] = np.roll(images, 1, axis=0)[:, :, 16:]
    expected = np.stack([labels, np.roll(labels, 1)], axis=1)
    # One real glyph in a thousand is misclassified.
    assert np.mean(agreement.glyph_classes(mixed) == expected) > 0.998


def test_a_missing_glyph_has_no_class():
    images, labels = real(32)
    one_sided = images[:200].copy()
    one_sided[:, :, 16:] = 0.5
    classes = agreement.glyph_classes(one_sided)
    assert set(classes[:, 1]) == {-1}
    assert abs(agreement.class_correctness(one_sided, labels[:200]) - 0.5) < 0.01


def test_the_easy_set_scores_as_calibrated():
    images, labels = real(32, difficulty="easy")
    result = agreement.score(images, labels, difficulty="easy")
    assert abs(result["score"]) < 0.001
    assert result["missing"] == 0
    found = agreement.class_correctness(images, labels, difficulty="easy")
    assert found == 1

    mixed = shuffled(images)
    assert abs(score(mixed, labels, difficulty="easy") - 1) < CHANCE
    # Left glyphs keep their class, right ones match by chance: 0.5 + 0.5 / 4.
    found = agreement.class_correctness(mixed, labels, difficulty="easy")
    assert abs(found - 0.625) < 4 * 0.5 * math.sqrt(3 / 16 / N)


def test_six_easy_classes_are_recognised():
    images, labels = real(32, difficulty="easy", num_classes=6)
    found = agreement.class_correctness(images, labels, 6, difficulty="easy")
    assert found > 0.999


GOOD = np.full((3, 16, 16, 3), 0.5, np.float32)
LABELS = np.array([0, 1, 2])


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (GOOD.astype(np.uint8), LABELS, "images of type uint8 are not.*divide.*255"),
        (GOOD - 0.6, LABELS, r"images range from -0.1 to -0.1, not.*\(x \+ 1\) / 2"),
        (GOOD + 0.6, LABELS, "images range from 1.1 to 1.1, not within"),
        (GOOD * np.nan, LABELS, "images hold NaN or infinite values in 3 of 3"),
        (GOOD[0], LABELS, r"images of shape \(16, 16, 3\) are not \[N, R, R, 3\]"),
        (GOOD[:, :9], LABELS, "are not .N, R, R, 3.; pass at least one square"),
        (GOOD[..., :1], LABELS, "channels last"),
        (GOOD[:0], LABELS[:0], "pass at least one"),
        (GOOD[:, :8, :8], LABELS, "too small for a pair; pass 16 px or more"),
        (GOOD, LABELS[:2], r"labels of shape \(2,\).*each of 3 images"),
        (GOOD, LABELS[:, None], r"labels of shape \(3, 1\)"),
        (GOOD, LABELS / 1, "labels of shape .* and type float64.*3 integers"),
    ],
)
def test_invalid_input_is_refused(images, labels, sentence):
    for measure in (agreement.score, agreement.class_correctness):
        with pytest.raises(UserError, match=sentence):
            measure(images, labels)


def test_unknown_options_are_refused():
    with pytest.raises(UserError, match=r"distance='wide' .*near.*far"):
        agreement.score(GOOD, LABELS, "wide")
    with pytest.raises(UserError, match=r"difficulty='hard' .*full.*easy"):
        agreement.class_correctness(GOOD, LABELS, difficulty="hard")
    with pytest.raises(UserError, match=r"num_classes=5 .*4 or 6"):
        agreement.class_correctness(GOOD, LABELS, 5)
    with pytest.raises(UserError, match=r"labels=\[0, 1, 4\].*count from 0 to 3"):
        agreement.class_correctness(GOOD, np.array([0, 1, 4]))
