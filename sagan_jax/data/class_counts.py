"""How many images of which class there are, in sentences for a person."""

from collections.abc import Iterable, Sequence

import numpy as np

_COUNTED = 10  # classes whose images are counted one by one
_NAMED = 5  # examples in a sentence


def summary(class_names: Sequence[str], counts: Sequence[int]) -> str:
    """Returns such as '7 images of 3 classes: cat 2, dog 2, owl 3'.

    Args:
      class_names: by label; empty for images without labels.
      counts: of each class; without labels, one number.
    """
    images = plural(sum(counts), "image")
    # A name that is no UTF-8 could not be printed.
    class_names = [n.encode(errors="backslashreplace").decode() for n in class_names]
    if not class_names:
        return images
    classes = plural(len(class_names), "class", "classes")
    if len(class_names) <= _COUNTED:
        pairs = zip(class_names, counts, strict=True)
        return f"{images} of {classes}: {', '.join(f'{n} {c}' for n, c in pairs)}"
    least, most = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[least] == counts[most]:
        return f"{images} of {classes}, {counts[most]} of each"
    return (
        f"{images} of {classes}: from {counts[least]} ({class_names[least]}) to "
        f"{counts[most]} ({class_names[most]}) in each"
    )


def warnings(
    class_names: Sequence[str], counts: Sequence[int], kind: str = "class"
) -> list[str]:
    """Returns a sentence for each thing about the classes that looks wrong.

    Args:
      class_names: by label.
      counts: of the images of each class.
      kind: what a class is called: 'class folder' where it is one.
    """
    notes = []
    kinds = plural(2, kind, "classes" if kind == "class" else "").removeprefix("2 ")
    empty = [
        name for name, count in zip(class_names, counts, strict=False) if not count
    ]
    if empty:
        notes.append(
            f"warning: no image can be read of {some(map(repr, empty))}; the model "
            "will never see these classes."
        )
    missing = _missing_numbers(class_names)
    if missing:
        notes.append(
            f"warning: the {kinds} are numbered, but {some(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; labels follow the sorted "
            "names, not the numbers."
        )
    if len(class_names) - len(empty) == 1:
        (only,) = set(class_names) - set(empty)
        notes.append(
            f"warning: all images are in the one {kind} {only!r}; to train without "
            "labels set --config.model.num_classes=0."
        )
    return notes


def some(items: Iterable[str]) -> str:
    """Returns the first few items, and how many more there are."""
    items = list(items)
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def plural(count: int, one: str, many: str = "") -> str:
    """Returns such as '1 image' or '2 images'."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def _missing_numbers(class_names: Sequence[str]) -> list[str]:
    if not all(name.isascii() and name.isdigit() for name in class_names):
        return []
    numbers = set(map(int, class_names))
    if not numbers or max(numbers) > 10 * len(numbers):
        return []  # identifiers rather than a count
    return [str(n) for n in range(min(1, *numbers), max(numbers)) if n not in numbers]
