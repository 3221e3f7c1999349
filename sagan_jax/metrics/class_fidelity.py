"""How often a classifier sees, in a generated image, the class that it was asked for.

It tells what the Frechet distance of all classes together cannot: a generator that
makes every class well under another one's label has the same features as a good one.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.errors import UserError

Classifier = Callable[[NDArray[np.uint8]], ArrayLike]
"""From uint8 images [n, H, W, C] to logits [n, classes]."""


def class_fidelity(
    batches: Iterable[NDArray[np.uint8]], labels: ArrayLike, classify: Classifier
) -> float:
    """Returns the classifier's accuracy on images against the labels they were made of.

    The same of real images that the classifier has not seen is the ceiling; a number
    means something beside it only.

    Args:
      batches: uint8 images [n, H, W, C], in order.
      labels: [N] classes, one for each image.
      classify: the class of an image is where its logit is largest.

    Raises:
      UserError: another number of labels than of images, a label that the classifier
        does not have, or logits that are not finite.
    """
    wanted = np.asarray(labels)
    right = seen = 0
    for images in batches:
        logits = np.asarray(classify(images))
        part = wanted[seen : seen + len(images)]
        if logits.ndim != 2 or len(logits) != len(images):
            raise UserError(
                f"classify returned shape {logits.shape} for {len(images)} images; it "
                "must return [n, classes]."
            )
        if not np.isfinite(logits).all():
            raise UserError("classify returned NaN or infinite logits; mend it.")
        if len(part) and (part.min() < 0 or part.max() >= logits.shape[1]):
            raise UserError(
                f"labels of {part.min()} to {part.max()} do not fit a classifier of "
                f"{logits.shape[1]} classes; give one of the same classes."
            )
        right += int((logits.argmax(axis=1)[: len(part)] == part).sum())
        seen += len(images)
    if seen != len(wanted) or not seen:
        raise UserError(
            f"labels={len(wanted)} for {seen} images; give one label for each image."
        )
    return right / seen
