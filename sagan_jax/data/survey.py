"""A quick survey of a folder or zip of images: number, classes and size."""

import io
import statistics
from typing import NamedTuple

from sagan_jax.data import archive as archives
from sagan_jax.data import classes as classes_lib
from sagan_jax.data import contents, prepared, readable, transforms
from sagan_jax.data.source import ClassesMissingError
from sagan_jax.errors import UserError

SAMPLE_SIZE = 64
"""Maximum number of image headers that are read; the same ones each time."""


class Survey(NamedTuple):
    """Facts about a set of images.

    Attributes:
      images: number of image files, readable or not.
      class_names: name of each class, by label; () if there are no classes.
      loose: name of an image next to the sub-folders, which therefore are not classes;
        '' if there is none.
      side: median of the images' shorter sides, in pixels.
      sampled: number of images that the median is taken over.
      origin: where the classes come from: 'sub-folder' or 'dataset.json'.
    """

    images: int
    class_names: tuple[str, ...]
    loose: str
    side: int
    sampled: int
    origin: str = "sub-folder"


def survey(path: str) -> Survey:
    """Returns facts about the images in `path`, from file names and some headers.

    Sub-folders are classes if there are two or more and no image lies next to them.
    They are looked for where FolderSource looks for them, and so is dataset.json.

    Raises:
      UserError: `path` is neither a directory nor a .zip, contains no images, or none
        of the sampled images can be read.
    """
    if prepared.is_prepared(path):
        raise UserError(
            f"{path!r} contains prepared images, but the original ones are needed; "
            "pass their folder, or use another experiment with "
            "--config.data.source=array_record."
        )
    archive = archives.open_archive(path)
    listing = archive.list()
    if not listing.images:
        raise contents.no_images(path, listing)
    found = _classes(path, archive, listing)
    sides = _sides(path, archive, sorted(listing.images))
    return Survey(
        images=len(listing.images),
        class_names=tuple(found.names),
        origin=found.origin,
        loose=found.loose,
        side=int(statistics.median(sides)),
        sampled=len(sides),
    )


class _Classes(NamedTuple):
    names: list[str]
    origin: str
    loose: str


def _classes(
    path: str, archive: archives.Archive, listing: archives.Listing
) -> _Classes:
    try:
        if classes_lib.read_labels(path, archive, listing) is not None:
            labelled = classes_lib.classes_of(path, archive, listing)
            names = list(labelled) if len(labelled) > 1 else []
            return _Classes(names, classes_lib.LABELS, "")
    except ClassesMissingError:
        return _Classes([], classes_lib.LABELS, "")
    base, folders, loose = classes_lib.layout(listing)
    names = [name.removeprefix(base) for name in folders]
    if not loose:
        classes_lib.check_splits(path, names, base)
    if loose or len(folders) < 2:
        names = []
    return _Classes(names, "sub-folder", loose[0] if loose and folders else "")


def _sides(path: str, archive: archives.Archive, names: list[str]) -> list[int]:
    """Returns the shorter sides of images spread evenly over `names`."""
    count = min(len(names), SAMPLE_SIZE)
    sides, first = [], ""
    for i in range(count):
        name = names[i * len(names) // count]
        try:
            sides.append(min(transforms.size(io.BytesIO(archive.read(name)))))
        except Exception as error:  # as in readable.py
            first = first or f"{name!r} ({readable.cause_of(error)})"
    if not sides:
        raise UserError(
            f"{path!r}: none of {count} sampled images can be read, for example "
            f"{first}; replace them."
        )
    return sides
