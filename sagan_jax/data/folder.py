"""The folder source: images of any kind and size below a directory or in a .zip."""

import hashlib
import io
from collections import deque
from collections.abc import Iterable

import numpy as np

from sagan_jax.data import archive as archives
from sagan_jax.data import class_counts, transforms
from sagan_jax.data import readable as readable_lib
from sagan_jax.data.archive import SUFFIXES, Listing
from sagan_jax.data.source import Record
from sagan_jax.errors import UserError

MOST_IN_A_ROW = 100
"""Images that may fail one after the other once the source is made."""


_ERRORS = "surrogateescape"  # names of files need not be UTF-8


class FolderSource:
    """Image files, cropped and resized to a square when read.

    With labels, each sub-folder is a class and labels follow the sorted names; without,
    every image below `path` counts, in sub-folders or not. Records are in the order of
    sorted names, whatever the file system. Names that begin with a dot are left out.

    Every image is tried before the first record is there (see readable.py), and those
    that cannot be read are left out. One that fails later is replaced by the next index
    that does not, which is the same in every process, as long as the files are.
    """

    can_crop = True

    def __init__(
        self,
        path: str,
        *,
        resolution: int,
        channels: int = 3,
        labelled: bool = True,
        max_unreadable: int = 0,
    ) -> None:
        """Lists and tries the images.

        Args:
          path: a directory, or a .zip, which is read in place.
          resolution: of the records.
          channels: of the records, 1 to 4.
          labelled: whether sub-folders are classes.
          max_unreadable: how many images may be left out.

        Raises:
          UserError: no images, or too many that cannot be read; images outside of class
            folders; a class folder without any.
        """
        self._resolution = resolution
        self._channels = channels
        self._archive = archives.open_archive(path)
        listing = self._archive.list()
        classes = (
            classes_of(path, listing) if labelled else {"": sorted(listing.images)}
        )
        if not listing.images:
            raise no_images(path)
        self.class_names = tuple(classes) if labelled else ()
        self.num_classes = len(self.class_names)
        causes, trouble = readable_lib.examine(self._archive, listing.images)
        unreadable = {self._full(name): causes[name] for name in sorted(causes)}
        total = len(listing.images)
        if len(unreadable) > max_unreadable or len(unreadable) == total:
            raise _too_many(path, unreadable, total, max_unreadable)
        readable = [[n for n in names if n not in causes] for names in classes.values()]
        counts = list(map(len, readable))
        self._names = [name for names in readable for name in names]
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        self.identity = _identity(self._names, listing, self.class_names)
        self._replaced: dict[str, object] = {}
        self._news = deque(_unreadable_notes(unreadable))
        self._news += _notes(path, self.class_names, counts, listing.others, trouble)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        """Reads one file, its central square; see `read`."""
        return self.read(index)

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns one file's record, or that of the next one that can be read.

        Args:
          index: of the record.
          place: of the square along the image's longer side; see
            transforms.crop_square.

        Raises:
          UserError: so many in a row fail that the data must have gone.
        """
        count = len(self)
        index = range(count)[index]
        failed: dict[str, str] = {}
        for candidate in range(index, index + min(count, MOST_IN_A_ROW)):
            name = self._names[candidate % count]
            try:
                image = transforms.decode(io.BytesIO(self._archive.read(name)))
            except Exception as error:  # as in readable.py
                failed[name] = readable_lib.cause_of(error)
                continue
            self._tell(failed, name)
            image = transforms.fit(image, self._resolution, self._channels, place)
            return {"image": image, "label": self.labels[candidate % count]}
        first, cause = next(iter(failed.items()))
        raise UserError(
            f"data.path: {self._full(first)!r} can no longer be read as an image "
            f"({cause}), nor can the {len(failed) - 1} after it; see that "
            f"{self._archive.root!r} is still there."
        )

    @property
    def replaced(self) -> int:
        """How many images have failed since the source was made, each counted once."""
        return len(self._replaced)

    def news(self) -> list[str]:
        """Returns what a person should hear that was not returned before."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def _full(self, name: str) -> str:
        return f"{self._archive.root}/{name}"

    def _tell(self, failed: dict[str, str], instead: str) -> None:
        for name, cause in failed.items():
            ours = object()
            # One atomic look and change: threads may fail at one file at once.
            if self._replaced.setdefault(name, ours) is ours:
                self._news.append(
                    f"warning: {self._full(name)!r} can no longer be read as an image "
                    f"({cause}); {self._full(instead)!r} takes its place "
                    f"({self.replaced} replaced so far)."
                )


def _identity(names: list[str], listing: Listing, class_names: tuple[str, ...]) -> str:
    """Returns a digest of the files as they are now, wherever they lie."""
    digest = hashlib.sha256("\0".join(class_names).encode(errors=_ERRORS))
    for name in names:
        digest.update(f"{name}\0{listing.images[name]}\0".encode(errors=_ERRORS))
    return digest.hexdigest()


def classes_of(
    path: str,
    listing: Listing,
    *,
    field: str = "data.path",
    unlabelled: str = "set --config.model.num_classes=0 to train without labels",
) -> dict[str, list[str]]:
    """Returns the sorted names of the images of each class, classes sorted.

    Args:
      path: of what is listed.
      listing: of all files.
      field: how a person named the path.
      unlabelled: how a person says that there are no classes.

    Raises:
      UserError: images outside of class folders, or a class folder without any.
    """
    base, folders, loose = layout(listing)
    if loose:
        raise UserError(
            f"{field}={path!r} holds images outside of class folders, such as "
            f"{loose[0]!r}; move them into a sub-folder for each class, or "
            f"{unlabelled}."
        )
    classes: dict[str, list[str]] = {name.removeprefix(base): [] for name in folders}
    for name in sorted(listing.images):
        classes[name.removeprefix(base).split("/")[0]].append(name)
    for name, images in classes.items():
        if not images:
            raise UserError(
                f"{field}={path!r}: the class folder {name!r} holds no images "
                f"({', '.join(SUFFIXES)}); fill it or remove it."
            )
    return classes


def layout(listing: Listing) -> tuple[str, list[str], list[str]]:
    """Returns where class folders lie, those folders, and the images beside them.

    The first is '' or 'a/'; the others are sorted.
    """
    base = _base(listing)
    folders = sorted(_inside(listing.folders, base))
    return base, folders, sorted(_inside(listing.images, base))


def no_images(path: str) -> UserError:
    """Returns what to say of a place without a single image."""
    return UserError(
        f"data.path={path!r} holds no images ({', '.join(SUFFIXES)}); set "
        "--config.data.path=DIR to a directory with one sub-folder of images for each "
        "class."
    )


def _base(listing: Listing) -> str:
    """Returns where the class folders lie: '', or 'a/' if 'a' holds nothing but them.

    A zip is often made of one folder with all the others.
    """
    base = ""
    while True:
        folders = _inside(listing.folders, base)
        if len(folders) != 1 or _inside(listing.images, base):
            return base
        inner = folders[0] + "/"
        if _inside(listing.images, inner) or not _inside(listing.folders, inner):
            return base
        base = inner


def _inside(names: Iterable[str], base: str) -> list[str]:
    """Returns those that lie directly below `base`."""
    size = len(base)
    return [n for n in names if n.startswith(base) and "/" not in n[size:]]


def _unreadable_notes(unreadable: dict[str, str]) -> list[str]:
    return [
        f"warning: {name!r} cannot be read as an image ({cause}) and is left out."
        for name, cause in unreadable.items()
    ]


def _notes(
    path: str,
    class_names: tuple[str, ...],
    counts: list[int],
    others: list[str],
    trouble: str,
) -> list[str]:
    """Returns how many images there are of what, and what looks wrong about it."""
    notes = [f"data.path={path!r} holds {class_counts.summary(class_names, counts)}."]
    if others:
        notes.append(
            f"{class_counts.plural(len(others), 'file')} of other kinds left alone, "
            f"such as {min(others)!r}."
        )
    notes += class_counts.warnings(class_names, counts, "class folder")
    if trouble:
        notes.append(
            f"warning: that every image was tried cannot be remembered ({trouble}); "
            "the next start tries them again."
        )
    return notes


def _too_many(
    path: str, unreadable: dict[str, str], total: int, max_unreadable: int
) -> UserError:
    count = len(unreadable)
    if count == 1 and max_unreadable == 0:
        ((name, cause),) = unreadable.items()
        what = f"data.path: {name!r} cannot be read as an image ({cause}); replace or "
        what += "remove it"
    else:
        examples = class_counts.some(
            f"{name!r} ({cause})" for name, cause in unreadable.items()
        )
        what = (
            f"data.path={path!r}: {count} of {class_counts.plural(total, 'image')} "
            f"cannot be read, with data.max_unreadable={max_unreadable}: {examples}; "
            "replace or remove them"
        )
    if count == total:
        return UserError(what + ".")
    return UserError(
        f"{what}, or set --config.data.max_unreadable={count} to leave such out."
    )
