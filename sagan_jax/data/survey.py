"""A quick survey of a folder or zip of images: number, classes and size."""

import io
import statistics
from typing import NamedTuple

from sagan_jax.data import archive as archives
from sagan_jax.data import folder, prepared, readable, transforms
from sagan_jax.errors import UserError

SAMPLE_SIZE = 64
"""Maximum number of image headers that are read; the same ones each time."""


class Survey(NamedTuple):
    """Facts about a set of images.

    Attributes:
      images: number of image files, readable or not.
      class_names: sorted names of the class folders; () if there are no classes.
      loose: name of an image next to the sub-folders, which therefore are not classes;
        '' if there is none.
      side: median of the images' shorter sides, in pixels.
      sampled: number of images that the median is taken over.
    """

    images: int
    class_names: tuple[str, ...]
    loose: str
    side: int
    sampled: int


def survey(path: str) -> Survey:
    """Returns facts about the images in `path`, from file names and some headers.

    Sub-folders are classes if there are two or more and no image lies next to them.
    They are looked for where FolderSource looks for them.

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
        raise folder.no_images(path)
    base, folders, loose = folder.layout(listing)
    classes = () if loose or len(folders) < 2 else folders
    sides = _sides(path, archive, sorted(listing.images))
    return Survey(
        images=len(listing.images),
        class_names=tuple(name.removeprefix(base) for name in classes),
        loose=loose[0] if loose and folders else "",
        side=int(statistics.median(sides)),
        sampled=len(sides),
    )


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
