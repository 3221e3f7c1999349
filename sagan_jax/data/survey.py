"""A first look at a folder or zip of images: how many, of what classes, how large."""

import io
import statistics
from typing import NamedTuple

from sagan_jax.data import archive as archives
from sagan_jax.data import folder, prepared, readable, transforms
from sagan_jax.errors import UserError

MOST_LOOKED_AT = 64
"""Headers that are read; the same ones each time."""


class Survey(NamedTuple):
    """What a look at the images shows.

    Attributes:
      images: how many files there are, readable or not.
      class_names: of the sub-folders, sorted; () where they make no classes.
      loose: an image beside the sub-folders, which is why they make none, or ''.
      side: median of the images' shorter sides, in pixels.
      looked_at: how many images the median is of.
    """

    images: int
    class_names: tuple[str, ...]
    loose: str
    side: int
    looked_at: int


def survey(path: str) -> Survey:
    """Returns what lies in `path`, from the names and a sample of headers.

    Sub-folders are classes if there are two or more and no image lies beside them, in
    the places where FolderSource looks for them.

    Raises:
      UserError: no directory and no zip, no images, or none of the sample is one.
    """
    if prepared.is_prepared(path):
        raise UserError(
            f"data.path={path!r} holds prepared images, and this looks at the images "
            "themselves; give their folder, or take another experiment with "
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
        looked_at=len(sides),
    )


def _sides(path: str, archive: archives.Archive, names: list[str]) -> list[int]:
    """Returns the shorter sides of images spread evenly over `names`."""
    count = min(len(names), MOST_LOOKED_AT)
    sides, first = [], ""
    for i in range(count):
        name = names[i * len(names) // count]
        try:
            sides.append(min(transforms.size(io.BytesIO(archive.read(name)))))
        except Exception as error:  # as in readable.py
            first = first or f"{name!r} ({readable.cause_of(error)})"
    if not sides:
        raise UserError(
            f"data.path={path!r}: none of {count} images looked at can be read, such "
            f"as {first}; replace them."
        )
    return sides
