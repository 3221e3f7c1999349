"""Distances within classes, their floor, and invalid classes."""

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics.fid import frechet_distance
from sagan_jax.metrics.intra_fid import intra_frechet_distance

REAL_COUNTS, FAKE_COUNTS = {3: 60, 7: 41, -1: 200}, {3: 50, 7: 100, -1: 30}
D = 24


def labelled(seed, counts, shift=0.0):
    """Returns features around 3 * label, and labels, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(list(counts), list(counts.values())))
    rows = rng.standard_normal((len(labels), D)) + 3 * labels[:, None] + shift
    return rows, labels


REAL, FAKE = labelled(0, REAL_COUNTS), labelled(1, FAKE_COUNTS)


def test_each_class_has_the_distance_of_its_rows():
    found = intra_frechet_distance(*REAL, *FAKE)
    assert list(found.classes) == [-1, 3, 7]
    for label, one in found.classes.items():
        real, fake = (rows[labels == label] for rows, labels in (REAL, FAKE))
        np.testing.assert_allclose(
            one.distance, frechet_distance(real, fake), rtol=1e-12
        )


def test_the_means_weight_classes_equally():
    found = intra_frechet_distance(*REAL, *FAKE)
    for mean, name in (
        (found.mean, "distance"),
        (found.floor, "floor"),
        (found.matched, "matched"),
    ):
        values = [getattr(one, name) for one in found.classes.values()]
        np.testing.assert_allclose(mean, sum(values) / 3, rtol=1e-12)


def test_all_counts_are_reported():
    found = intra_frechet_distance(*REAL, *FAKE).classes
    assert {
        label: (one.real_count, one.fake_count, one.half_count)
        for label, one in found.items()
    } == {3: (60, 50, 30), 7: (41, 100, 20), -1: (200, 30, 30)}


def test_swapped_labels_change_only_the_distances_within_classes():
    rows, labels = FAKE
    exchanged = np.choose(np.searchsorted([-1, 3, 7], labels), [3, -1, 7])
    right = intra_frechet_distance(*REAL, *FAKE, classes=[3, -1])
    wrong = intra_frechet_distance(*REAL, rows, exchanged, classes=[3, -1])
    # The classes are 12 apart in each of D features.
    assert wrong.mean - right.mean > 0.9 * D * 12**2
    assert wrong.floor == pytest.approx(right.floor, rel=0.5)


def test_the_floor_is_the_bias_of_the_halves():
    # E = (d + d (d + 1) / 4) (2 / h) to first order, for a Gaussian and h well above d.
    counts = dict.fromkeys(range(12), 1000)
    found = intra_frechet_distance(*labelled(2, counts), *labelled(3, counts))
    expected = (D + D * (D + 1) / 4) * 2 / 500
    floors = [one.floor for one in found.classes.values()]
    error = np.std(floors, ddof=1) / np.sqrt(12)
    # 4 % for the terms in 1 / h^2.
    assert abs(found.floor - expected) < 4 * error + 0.04 * expected
    assert found.mean < 0.6 * found.floor  # the mean compares 1000 with 1000 images


def test_a_perfect_generator_matches_the_floor():
    counts = dict.fromkeys(range(40), 30)  # h = 15 of 24 features
    found = intra_frechet_distance(*labelled(4, counts), *labelled(5, counts))
    gaps = [one.matched - one.floor for one in found.classes.values()]
    error = 4 * np.std(gaps, ddof=1) / np.sqrt(40)
    assert abs(found.matched - found.floor) < error < 0.2 * found.floor


def test_an_error_of_the_generator_adds_to_the_floor():
    counts = dict.fromkeys(range(10), 100)
    moved = labelled(5, counts, shift=0.5)
    found = intra_frechet_distance(*labelled(4, counts), *moved)
    expected = D * 0.5**2
    np.testing.assert_allclose(found.matched - found.floor, expected, rtol=0.2)


def test_the_halves_share_no_image():
    rows, labels = labelled(6, {0: 4})
    found = intra_frechet_distance(rows, labels, rows, labels)
    assert found.classes[0].half_count == 2
    assert found.classes[0].floor > 1
    assert abs(found.mean) < 1e-11


def test_the_halves_of_a_class_do_not_depend_on_other_classes():
    all_three = intra_frechet_distance(*REAL, *FAKE)
    alone = intra_frechet_distance(*REAL, *FAKE, classes=[7])
    assert alone.classes == {7: all_three.classes[7]}
    reseeded = intra_frechet_distance(*REAL, *FAKE, classes=[7], seed=1).classes[7]
    assert reseeded.distance == alone.mean
    assert reseeded.floor != alone.floor


def test_features_can_be_memory_maps(tmp_path):
    np.save(tmp_path / "real.npy", REAL[0])
    mapped = np.load(tmp_path / "real.npy", mmap_mode="r")
    found = intra_frechet_distance(mapped, REAL[1], *FAKE)
    assert found == intra_frechet_distance(*REAL, *FAKE)


def without(pair, label, kept=0):
    rows, labels = pair
    keep = (labels != label) | (np.cumsum(labels == label) <= kept)
    return rows[keep], labels[keep]


@pytest.mark.parametrize(
    ("real", "fake", "options", "message"),
    [
        (
            without(REAL, 3),
            FAKE,
            {},
            "^class 3 has 50 generated images but no real ones; add real",
        ),
        (
            REAL,
            without(FAKE, 7),
            {},
            "^class 7 has 41 real and 0 generated images, fewer than 4 and 2; add",
        ),
        (
            without(REAL, 3, kept=3),
            FAKE,
            {},
            "^class 3 has 3 real and 50 generated images, fewer than 4 and 2; add",
        ),
        (
            REAL,
            without(FAKE, 3, kept=1),
            {},
            "^class 3 has 60 real and 1 generated images, fewer than 4 and 2; add",
        ),
        (REAL, FAKE, {"classes": [5]}, "^class 5 has 0 generated images but no real"),
        (
            REAL,
            FAKE,
            {"classes": []},
            r"^classes=\[\] is empty; pass at least one",
        ),
        (
            (REAL[0], REAL[1][1:]),
            FAKE,
            {},
            r"^real_labels of shape \(300,\) and type int64 are not one class for each",
        ),
        (
            REAL,
            (FAKE[0], FAKE[1] / 2),
            {},
            r"^fake_labels of shape \(180,\) and type float64 are not one class for ea",
        ),
        (
            REAL,
            (FAKE[0][:, 1:], FAKE[1]),
            {},
            "^real features with d=24 cannot be compa",
        ),
        (REAL, (FAKE[0] * np.nan, FAKE[1]), {}, "^fake features hold NaN or infinite "),
        (REAL, (FAKE[0][:0], FAKE[1][:0]), {}, "^fake features of 0 images are too fe"),
    ],
)
def test_invalid_classes_are_refused(real, fake, options, message):
    with pytest.raises(UserError, match=message):
        intra_frechet_distance(*real, *fake, **options)
