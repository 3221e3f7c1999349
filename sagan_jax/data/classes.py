"""The class of each image: by sub-folder, or by dataset.json of StyleGAN's tools."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from sagan_jax.data.archive import Archive, Listing
from sagan_jax.data.formats import SUFFIXES
from sagan_jax.data.source import ClassesMissingError
from sagan_jax.errors import UserError

LABELS = "dataset.json"
"""File with the labels, as the data tools of StyleGAN and EDM write it."""

_SPLITS = {
    *("train", "training", "val", "valid", "validation", "dev"),
    *("eval", "evaluation", "test", "testing", "holdout"),
}


class Layout(NamedTuple):
    """Where the images of a data set lie.

    Attributes:
      base: common parent of the class folders, '' or 'a/'.
      folders: sorted names of the class folders.
      loose: sorted names of the images directly in `base`, next to the class folders.
    """

    base: str
    folders: list[str]
    loose: list[str]


def classes_of(path: str, archive: Archive, listing: Listing) -> dict[str, list[str]]:
    """Returns the sorted names of the images of each class, in the order of the labels.

    Args:
      path: path of the listing, for error messages.
      archive: files of the data set.
      listing: all files of the data set.

    Raises:
      ClassesMissingError: images lie outside the class folders, or dataset.json has no
        labels.
      UserError: a class folder contains no images, the class folders are splits such
        as train and val, or dataset.json is damaged or does not fit the images.
    """
    if (labels := read_labels(path, archive, listing)) is not None:
        return _by_label(path, labels, listing)
    base, folders, loose = layout(listing)
    if loose:
        raise ClassesMissingError(
            f"{path!r} contains images outside the class folders, such as "
            f"{loose[0]!r}; move them into one sub-folder per class."
        )
    names = [name.removeprefix(base) for name in folders]
    check_splits(path, names, base)
    classes: dict[str, list[str]] = {name: [] for name in names}
    for name in sorted(listing.images):
        classes[name.removeprefix(base).split("/")[0]].append(name)
    for name, images in classes.items():
        if not images:
            raise UserError(
                f"{path!r}: the class folder {name!r} contains no images "
                f"({', '.join(SUFFIXES)}); add some or remove the folder."
            )
    return classes


def layout(listing: Listing) -> Layout:
    """Returns where the images lie; the parent of the class folders is looked for.

    Many zip files contain a single top folder that contains everything else.
    """
    base = ""
    while True:
        folders = sorted(_children(listing.folders, base))
        loose = sorted(_children(listing.images, base))
        if len(folders) != 1 or loose:
            return Layout(base, folders, loose)
        inner = folders[0] + "/"
        if _children(listing.images, inner) or not _children(listing.folders, inner):
            return Layout(base, folders, loose)
        base = inner


def check_splits(path: str, names: list[str], base: str = "") -> None:
    """Raises UserError if two or more class folders are all named after splits."""
    if len(names) < 2 or not {name.lower() for name in names} <= _SPLITS:
        return
    shown = ", ".join(map(repr, names))
    best = next((n for n in names if n.lower().startswith("train")), names[0])
    remedy = f"give the folder of one split, such as {f'{path}/{base}{best}'!r}"
    if path.lower().endswith(".zip"):
        remedy = f"make a zip of one split, such as {base + best!r}"
    raise UserError(
        f"{path!r} contains {shown}, which are splits of a data set and not classes; "
        f"{remedy}."
    )


def labels_file(listing: Listing) -> str | None:
    """Returns the name of dataset.json, at the top or in single folders below it."""
    base = ""
    while f"{base}{LABELS}" not in listing.others:
        folders = _children(listing.folders, base)
        if len(folders) != 1 or _children(listing.images, base):
            return None
        base = folders[0] + "/"
    return f"{base}{LABELS}"


def digest_of(classes: dict[str, list[str]], listing: Listing) -> bytes:
    """Returns what the names of the images do not tell of their classes; often b''.

    Args:
      classes: result of `classes_of`.
      listing: all files of the data set.
    """
    if labels_file(listing) is None:
        return b""
    return json.dumps([len(names) for names in classes.values()]).encode()


def read_labels(path: str, archive: Archive, listing: Listing) -> dict[str, int] | None:
    """Returns the label of each file in dataset.json, {} if it has none.

    Returns None if there is no such file, or one of another program.

    Raises:
      UserError: the file is damaged.
      ClassesMissingError: its labels are not classes.
    """
    name = labels_file(listing)
    if name is None:
        return None
    try:
        content = json.loads(archive.read(name))
    except Exception as error:  # a damaged zip raises nearly anything
        raise UserError(
            f"{path!r}: {name!r} cannot be read ({error}); copy it again, or remove it "
            "to take the sub-folders as classes."
        ) from None
    if not isinstance(content, dict) or "labels" not in content:
        return None
    entries = content["labels"] or {}
    if isinstance(entries, dict):
        entries = entries.items()
    prefix = name.removesuffix(LABELS)
    try:
        return {prefix + _plain(file): _label(label) for file, label in entries}
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ClassesMissingError(
            f"{path!r}: the labels in {name!r} are not pairs of a file and its class "
            f"({error}); number the classes from 0 upwards."
        ) from None


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _label(value: Any) -> int:
    """Returns a label that is a number, or the place of the 1 in a one-hot vector."""
    if isinstance(value, list):
        if sorted(value) != [0] * (len(value) - 1) + [1]:
            raise ValueError("a vector is not one-hot")
        return value.index(1)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    if value != int(value) or value < 0:
        raise ValueError(f"{value!r} is not a class")
    return int(value)


def _by_label(
    path: str, labels: dict[str, int], listing: Listing
) -> dict[str, list[str]]:
    if not labels:
        raise ClassesMissingError(
            f"{path!r} has no labels: {LABELS} holds null; write [file, class] pairs "
            "there."
        )
    missing = sorted(listing.images.keys() - labels.keys())
    if missing:
        raise ClassesMissingError(
            f"{path!r}: {len(missing)} of {len(listing.images)} images have no label "
            f"in {LABELS}, such as {missing[0]!r}; add their labels or remove them."
        )
    count = max((labels[name] for name in listing.images), default=-1) + 1
    if count > max(1000, len(listing.images)):
        raise UserError(
            f"{path!r}: {LABELS} holds the label {count - 1}, but there are only "
            f"{len(listing.images)} images; number the classes from 0 upwards."
        )
    classes: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(listing.images):
        classes[labels[name]].append(name)
    return {str(label): names for label, names in enumerate(classes)}


def _children(names: Iterable[str], base: str) -> list[str]:
    """Returns the names that lie directly below `base`."""
    size = len(base)
    return [n for n in names if n.startswith(base) and "/" not in n[size:]]
