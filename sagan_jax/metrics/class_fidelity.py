"""Class fidelity: the accuracy of a classifier on generated images.

It detects a fault that the Frechet distance over all classes misses: a generator that
draws each class well, but under the wrong labels, has the same features as a good one.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError

Classifier = Callable[[NDArray[Any]], ArrayLike]
"""Maps images, or features of images, [n, ...] to logits [n, classes]."""


def class_fidelity(
    batches: Iterable[NDArray[Any]], labels: ArrayLike, classify: Classifier
) -> float:
    """Returns the share of images that the classifier assigns to their labels.

    Compare the value with the classifier's accuracy on real images that it was not
    trained on, which is the ceiling.

    Args:
      batches: inputs of the classifier, such as uint8 images [n, H, W, C], in order.
      labels: classes [N] that the images were generated for.
      classify: the classifier; the largest logit decides the class.

    Raises:
      UserError: different numbers of labels and images, a label outside of the
        classifier's classes, or logits that are not finite.
    """
    wanted = np.asarray(labels)
    right = seen = 0
    for images in batches:
        logits = np.asarray(classify(images))
        part = wanted[seen : seen + len(images)]  # shorter if there are too few labels
        if logits.ndim != 2 or len(logits) != len(images):
            raise UserError(
                f"classify returned shape {logits.shape} for {len(images)} images; "
                "return [n, classes]."
            )
        if not np.isfinite(logits).all():
            raise UserError(
                "classify returned NaN or infinite logits; check the classifier."
            )
        if len(part) and (part.min() < 0 or part.max() >= logits.shape[1]):
            raise UserError(
                f"labels from {part.min()} to {part.max()} do not fit a classifier of "
                f"{logits.shape[1]} classes; use a classifier of the same classes."
            )
        right += int((logits.argmax(axis=1)[: len(part)] == part).sum())
        seen += len(images)
    if seen != len(wanted) or not seen:
        raise UserError(
            f"{len(wanted)} labels were passed for {seen} images; pass one label per "
            "image."
        )
    return right / seen
