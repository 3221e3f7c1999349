"""Sentences for the user about the number of images in each class."""

from collections.abc import Iterable, Sequence

import numpy as np

from sagan_jax.files import names

_LISTED = 10  # up to this many classes, each count is listed
_EXAMPLES = 5  # examples in a sentence


def summary(class_names: Sequence[str], counts: Sequence[int]) -> str:
    """Returns a phrase such as '7 images of 3 classes: cat 2, dog 2, owl 3'.

    Args:
      class_names: name of each class, by label; empty for images without labels.
      counts: number of images in each class; without labels, one number.
    """
    images = plural(sum(counts), "image")
    class_names = list(map(names.shown, class_names))
    if not class_names:
        return images
    classes = plural(len(class_names), "class", "classes")
    if len(class_names) <= _LISTED:
        pairs = zip(class_names, counts, strict=True)
        return f"{images} of {classes}: {', '.join(f'{n} {c}' for n, c in pairs)}"
    least, most = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[least] == counts[most]:
        return f"{images} of {classes}, {counts[most]} per class"
    return (
        f"{images} of {classes}: from {counts[least]} ({class_names[least]}) to "
        f"{counts[most]} ({class_names[most]}) per class"
    )


def warnings(
    class_names: Sequence[str], counts: Sequence[int], kind: str = "class"
) -> list[str]:
    """Returns one warning for each suspicious fact about the classes.

    Args:
      class_names: name of each class, by label.
      counts: number of images in each class.
      kind: noun for a class: 'class', or 'class folder' for folders.
    """
    found = []
    kinds = plural(2, kind, "classes" if kind == "class" else "").removeprefix("2 ")
    empty = [
        name for name, count in zip(class_names, counts, strict=False) if not count
    ]
    if empty:
        found.append(
            f"warning: no image of {some(map(repr, empty))} can be read; the model "
            "will never see these classes."
        )
    missing = _missing_numbers(class_names)
    if missing:
        found.append(
            f"warning: the {kinds} are numbered, but {some(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; labels follow the sorted "
            "names, not the numbers."
        )
    if len(class_names) - len(empty) == 1:
        (only,) = set(class_names) - set(empty)
        found.append(
            f"warning: all images are in a single {kind}, {only!r}; to train without "
            "labels, set --config.model.num_classes=0."
        )
    return found


def some(items: Iterable[str]) -> str:
    """Returns the first few items and the number of the rest."""
    items = list(items)
    rest = len(items) - _EXAMPLES
    return ", ".join(items[:_EXAMPLES]) + (f" and {rest} more" if rest > 0 else "")


def plural(count: int, one: str, many: str = "") -> str:
    """Returns a phrase such as '1 image' or '2 images'."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def _missing_numbers(class_names: Sequence[str]) -> list[str]:
    if not all(name.isascii() and name.isdigit() for name in class_names):
        return []
    numbers = set(map(int, class_names))
    if not numbers or max(numbers) > 10 * len(numbers):
        return []  # identifiers rather than consecutive numbers
    return [str(n) for n in range(min(1, *numbers), max(numbers)) if n not in numbers]
