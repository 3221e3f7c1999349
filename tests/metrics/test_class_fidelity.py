"""Accuracy of an exact classifier: the class is the grey level of the image."""

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics.class_fidelity import class_fidelity


def images_of(classes):
    return np.asarray(classes, np.uint8)[:, None, None, None] * np.ones(
        (1, 4, 4, 3), np.uint8
    )


def classify(images):
    return np.eye(10)[images[:, 0, 0, 0]]


def batches(classes, size=3):
    return (images_of(classes[at : at + size]) for at in range(0, len(classes), size))


def test_it_is_1_if_every_image_shows_its_class():
    assert class_fidelity(batches([3, 1, 4, 1, 5]), [3, 1, 4, 1, 5], classify) == 1.0


def test_it_is_the_share_of_images_that_show_their_class():
    shown, wanted = [3, 1, 4, 1, 5, 9, 2, 6], [3, 1, 0, 1, 5, 0, 0, 6]
    assert class_fidelity(batches(shown), wanted, classify) == 5 / 8


def test_shuffled_labels_are_chance():
    rng = np.random.default_rng(0)
    shown = rng.integers(10, size=5000)
    found = class_fidelity(batches(shown, 500), rng.permutation(shown), classify)
    # Five standard errors of 5,000 draws.
    assert abs(found - 0.1) < 5 * (0.1 * 0.9 / 5000) ** 0.5


@pytest.mark.parametrize(
    ("labels", "how", "sentence"),
    [
        ([1, 2], classify, "2 labels .* for 3 images; pass one label per"),
        ([1] * 4, classify, "4 labels .* for 3 images"),
        ([1, 2, 10], classify, "labels from 1 to 10 do not fit a classifier of 10"),
        ([1, 2, 3], lambda x: np.zeros(3), r"classify returned shape \(3,\)"),
        ([1, 2, 3], lambda x: np.full((3, 10), np.nan), "NaN or infinite logits"),
    ],
    ids=["few labels", "many labels", "class", "shape", "nan"],
)
def test_invalid_labels_and_logits_are_refused(labels, how, sentence):
    with pytest.raises(UserError, match=sentence):
        class_fidelity(batches([1, 2, 3]), labels, how)


def test_no_images_have_no_fidelity():
    with pytest.raises(UserError, match=r"0 labels .* for 0 images"):
        class_fidelity([], [], classify)
