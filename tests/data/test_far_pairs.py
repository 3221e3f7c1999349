import math

import numpy as np
import pytest

from sagan_jax import pixels
from sagan_jax.data import far_pairs
from sagan_jax.errors import UserError


def chroma(images):
    """Returns complex colours [..., R, R]: 0 for grey, else amplitude * exp(i hue)."""
    images = np.asarray(images, np.float64)
    return images @ (2 / 3 * np.exp(2j * np.pi / 3 * np.arange(3)))


def side_hues(image):
    """Returns the hues of both sides of a noise-free image; grey adds 0."""
    left, right = np.split(chroma(image), 2, axis=1)
    return np.angle(left.sum()), np.angle(right.sum())


def uniforms(seed, index):
    key = np.array([seed, index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).random(32)


def apart(a, b):
    """Returns the angle between two hues, in [0, pi]."""
    return abs(np.angle(np.exp(1j * (a - b))))


def test_the_first_image_has_the_published_fingerprint():
    np.testing.assert_allclose(
        uniforms(1, 0)[:4], [0.303568, 0.848709, 0.156135, 0.031106], atol=1e-6
    )
    image, label = far_pairs.render(1, 0, noise=False)
    assert far_pairs.FULL.shapes[label] == "ring"
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.float32
    # Published with five digits.
    means = image.mean((0, 1), dtype=np.float64)
    np.testing.assert_allclose(means, [0.38394, 0.34717, 0.38004], atol=1e-5)
    for hue in side_hues(image):
        assert apart(hue, 5.33259) < 1e-5


def test_an_image_depends_on_seed_and_index_alone():
    first, _ = far_pairs.render(3, 11)
    again, _ = far_pairs.render(3, 11)
    np.testing.assert_array_equal(first, again)
    for other in ((4, 11), (3, 12), (11, 3)):
        assert not np.array_equal(first, far_pairs.render(*other)[0])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"difficulty": "easy", "num_classes": 6},
        {"resolution": 16, "distance": "mid", "agree": False},
        {"distance": "near", "local_cue": True, "agree": False},
        {"hues": (0.5, 2.0), "noise": False, "resolution": 37},
    ],
    ids=str,
)
def test_many_images_are_the_stored_form_of_single_ones(options):
    indices = np.array([5, 0, 2**40, 3, *range(60)])
    images, labels = far_pairs.render_many(1, indices, **options)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    for image, label, index in zip(images, labels, indices, strict=True):
        single, its_label = far_pairs.render(1, int(index), **options)
        np.testing.assert_array_equal(image, pixels.encode(2 * single - 1))
        assert label == its_label


def test_no_images_are_an_empty_batch():
    images, labels = far_pairs.render_many(1, [])
    assert images.shape == (0, 32, 32, 3)
    assert labels.shape == (0,)


@pytest.mark.parametrize("difficulty", ["full", "easy"])
def test_disagreeing_images_differ_in_the_right_hue_alone(difficulty):
    for index in range(50):
        agreeing, label = far_pairs.render(1, index, difficulty=difficulty)
        other, other_label = far_pairs.render(
            1, index, agree=False, difficulty=difficulty
        )
        assert label == other_label
        np.testing.assert_array_equal(agreeing[:, :16], other[:, :16])
        # The mean of the channels does not depend on the hue (up to float32 rounding).
        np.testing.assert_allclose(agreeing.mean(-1), other.mean(-1), atol=1e-6)
        clean, turned = (
            chroma(far_pairs.render(1, index, noise=False, agree=agree)[0])
            for agree in (True, False)
        )
        np.testing.assert_allclose(np.abs(clean), np.abs(turned), atol=1e-6)


def test_hues_are_those_that_were_drawn():
    offsets, rights = [], []
    for index in range(300):
        u = uniforms(1, index)
        left, right = side_hues(far_pairs.render(1, index, noise=False)[0])
        assert apart(left, 2 * np.pi * u[1]) < 1e-5
        assert apart(left, right) < 1e-5
        image, _ = far_pairs.render(1, index, noise=False, agree=False)
        left, right = side_hues(image)
        offsets.append(apart(left, right))
        rights.append(right)
    # Never closer than 60 degrees. Over 60..300 degrees cos(offset) has mean -0.4135
    # and standard deviation 0.51, so the mean of 300 has a standard deviation of 0.03.
    assert min(offsets) > np.pi / 3 - 1e-5
    assert abs(np.cos(offsets).mean() + 0.4135) < 0.12
    # The right hue alone is uniform: the resultant of 300 has an RMS of 0.058.
    assert abs(np.exp(1j * np.array(rights)).mean()) < 0.2


def test_hues_can_be_given():
    for local_cue in (False, True):
        given, _ = far_pairs.render(1, 4, hues=(1.0, 2.5), noise=False)
        left, right = side_hues(given)
        assert apart(left, 1.0) < 1e-5
        assert apart(right, 2.5) < 1e-5
        # Giving the drawn hues changes nothing.
        theta = 2 * np.pi * uniforms(1, 4)[1]
        drawn, _ = far_pairs.render(1, 4, local_cue=local_cue)
        same, _ = far_pairs.render(1, 4, hues=(theta, theta), local_cue=local_cue)
        np.testing.assert_allclose(drawn, same, atol=1e-6)


def test_interaction_quads_exchange_whole_sides():
    hues = ((0.3, 0.3), (0.3, 2.0), (2.0, 0.3), (2.0, 2.0))
    aa, ab, ba, bb = (
        far_pairs.render(1, 9, hues=pair, noise=False)[0] for pair in hues
    )
    np.testing.assert_array_equal(aa[:, :16], ab[:, :16])
    np.testing.assert_array_equal(bb[:, :16], ba[:, :16])
    np.testing.assert_array_equal(aa[:, 16:], ba[:, 16:])
    np.testing.assert_array_equal(bb[:, 16:], ab[:, 16:])


def test_a_local_cue_is_within_each_glyph():
    for index in range(50):
        u = uniforms(1, index)
        options = {"noise": False, "local_cue": True}
        agreeing, _ = far_pairs.render(1, index, 64, **options)
        left, right = side_hues(agreeing)
        assert apart(left, 2 * np.pi * u[1]) < 1e-5
        assert apart(right, 2 * np.pi * u[23]) < 1e-5

        other, _ = far_pairs.render(1, index, 64, agree=False, **options)
        np.testing.assert_allclose(agreeing.mean(-1), other.mean(-1), atol=1e-6)
        # The hues of one half of each glyph changed, all by the offset.
        offset = np.exp(1j * np.pi / 3 * (1 + 4 * u[2]))
        before, after = chroma(agreeing), chroma(other)
        for side in (np.s_[:, :32], np.s_[:, 32:]):
            turned = np.isclose(after[side], before[side] * offset, atol=1e-5)
            kept = np.isclose(after[side], before[side], atol=1e-5)
            area = np.abs(before[side])
            halves = [(area * which).sum() / area.sum() for which in (turned, kept)]
            # Only pixels on the cut are neither: at most a fifth of them at 64 px.
            assert min(halves) > 0.3
            assert sum(halves) > 0.7


@pytest.mark.parametrize(
    ("distance", "resolution", "columns"),
    [
        ("near", 16, 0),
        ("mid", 16, 2),
        ("far", 16, 4),
        ("near", 32, 0),
        ("mid", 32, 5),
        ("far", 32, 10),
        ("far", 64, 22),
    ],
)
def test_the_empty_columns_between_glyphs_have_their_bound(
    distance, resolution, columns
):
    # The gap of the enclosing circles; at the rim a glyph may cover no sub-sample.
    gap = far_pairs.FULL.distances[distance] - 0.30
    assert max(0, math.floor(gap * resolution) - 1) == columns
    worst = empty_columns(1000, resolution=resolution, distance=distance).min()
    assert columns <= worst <= columns + 1


def test_easy_glyphs_are_apart():
    # The gap is 0.14 R; glyphs may touch the pixels at its two ends.
    assert empty_columns(1000, difficulty="easy").min() >= math.floor(0.14 * 32) - 1


def empty_columns(count, **options):
    """Returns the number of uncoloured columns between the glyphs, [count]."""
    images, _ = far_pairs.render_many(1, range(count), noise=False, **options)
    coloured = (np.ptp(images.astype(int), axis=-1) > 1).any(axis=1)
    left, right = np.split(coloured, 2, axis=1)
    return left[:, ::-1].argmax(axis=1) + right.argmax(axis=1)


@pytest.mark.parametrize("num_classes", [4, 6])
@pytest.mark.parametrize("difficulty", ["full", "easy"])
def test_classes_are_equally_frequent(num_classes, difficulty):
    _, labels = far_pairs.render_many(
        1, range(3000), 32, num_classes, noise=False, difficulty=difficulty
    )
    share = np.bincount(labels, minlength=num_classes) / 3000
    assert len(share) == num_classes
    p = 1 / num_classes
    assert np.abs(share - p).max() < 4 * math.sqrt(p * (1 - p) / 3000)


def test_both_difficulties_share_class_and_hue():
    for index in range(50):
        full, label = far_pairs.render(1, index, noise=False)
        easy, same_label = far_pairs.render(1, index, noise=False, difficulty="easy")
        assert label == same_label
        assert apart(side_hues(full)[0], side_hues(easy)[0]) < 1e-5


@pytest.mark.parametrize(("difficulty", "deviation"), [("full", 0.02), ("easy", 0.01)])
def test_noise_is_normal_and_hardly_ever_clipped(difficulty, deviation):
    noisy, clean = (
        np.stack(
            [
                far_pairs.render(1, index, noise=noise, difficulty=difficulty)[0]
                for index in range(300)
            ]
        )
        for noise in (True, False)
    )
    # 921,600 values: their standard deviation is off by 0.07 %, and few are clipped.
    np.testing.assert_allclose((noisy - clean).std(), deviation, rtol=0.005)
    assert np.count_nonzero((noisy == 0) | (noisy == 1)) <= 3


AREAS = {  # area of each shape, for an enclosing circle of radius 1
    "disc": math.pi,
    "ring": 0.7 * math.pi,
    "bar": 4 * 0.93 * 0.36,
    "triangle": 3 * math.sqrt(3) / 4,
    "plus": 2 * 4 * 0.94 * 0.28 - 4 * 0.28**2,
    "square": 2.0,
}


@pytest.mark.parametrize("shape", far_pairs.FULL.shapes)
def test_a_glyph_covers_its_area(shape):
    rng = np.random.default_rng(0)
    x, y = 0.5 + rng.uniform(-0.02, 0.02, (2, 200))
    radius, rotation = rng.uniform(0.12, 0.15, 200), rng.uniform(0, 7, 200)
    *_, halves = far_pairs.coverage(shape, x, y, radius, rotation, 64, 64)
    area = halves.sum((2, 3)) / (64 * radius) ** 2
    # 800 to 1,500 sub-samples per glyph: their count is off by about 1 % at random.
    np.testing.assert_allclose(area.sum(0).mean(), AREAS[shape], rtol=0.005)
    np.testing.assert_allclose(area.mean(1), AREAS[shape] / 2, rtol=0.02)


@pytest.mark.parametrize("shape", far_pairs.FULL.shapes)
def test_a_small_window_loses_nothing_of_a_glyph(shape):
    rng = np.random.default_rng(0)
    place = (*rng.uniform(0.2, 0.8, (2, 50)), np.full(50, 0.2), np.zeros(50))
    rows, columns, small = far_pairs.coverage(shape, *place, 32, 14)
    *_, whole = far_pairs.coverage(shape, *place, 32, 32)
    pasted = np.zeros_like(whole)
    at = np.arange(50)[:, None, None], rows[:, :, None], columns[:, None, :]
    pasted[:, *at] = small
    np.testing.assert_array_equal(pasted, whole)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": -1}, "seed=-1 is out of range; choose an integer from 0 to"),
        ({"seed": 2**32}, "seed=4294967296 is out of range"),
        ({"seed": 0.5}, "seed=0.5 is out of range"),
        ({"index": -2}, "index=-2 is negative; choose .* 0 or more"),
        ({"num_classes": 5}, "num_classes=5.*far pairs.*choose 4 or 6"),
        ({"resolution": 8}, "resolution=8 is too small.*choose 16 or more"),
        (
            {"resolution": 16, "num_classes": 6},
            "resolution=16 is too small for num_classes=6.*choose 32 or more",
        ),
        (
            {"distance": "wide"},
            "distance='wide'.*choose near or mid or far",
        ),
        (
            {"difficulty": "easy", "distance": "near"},
            "distance='near'.*difficulty='easy'; choose far",
        ),
        (
            {"difficulty": "hard"},
            "difficulty='hard'.*choose full or easy",
        ),
    ],
    ids=str,
)
def test_unsupported_options_are_refused(options, sentence):
    with pytest.raises(UserError, match=sentence):
        far_pairs.render(**{"seed": 1, "index": 0, **options})
    many = {"seed": 1, **options}
    indices = [many.pop("index", 0)]
    with pytest.raises(UserError, match=sentence):
        far_pairs.render_many(indices=indices, **many)
