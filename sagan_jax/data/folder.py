"""The folder source: images of any kind and size in a directory or a .zip."""

import hashlib
import io
from collections.abc import Iterable

import numpy as np

from sagan_jax.data import archive as archives
from sagan_jax.data import class_counts, transforms
from sagan_jax.data import readable as readable_lib
from sagan_jax.data.archive import SUFFIXES, Listing
from sagan_jax.data.source import ClassesMissingError, Record, Source
from sagan_jax.errors import UserError

MAX_FAILURES = 100
"""Number of consecutive images that may fail in a read before it raises."""

_ERRORS = "surrogateescape"  # file names need not be UTF-8


class TooManyUnreadableError(UserError):
    """More images cannot be read than the caller allows.

    Attributes:
      unreadable: number of images that cannot be read.
      total: number of all images.
    """

    def __init__(self, message: str, unreadable: int, total: int) -> None:
        super().__init__(message)
        self.unreadable, self.total = unreadable, total


class FolderSource(Source):
    """Image files, cropped and resized to a square when read.

    With labels, each sub-folder is a class and labels follow the sorted names. Without
    labels, all images below `path` count, in sub-folders or not. Records are sorted by
    name on every file system. Names that begin with a dot are ignored.

    Every image is checked before the first read (see readable.py), and unreadable ones
    are left out. An image that fails later is replaced by the next index that does not
    fail: the same one in every process, as long as the files are the same.
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
        """Lists and checks the images.

        Args:
          path: directory, or .zip, which is read in place.
          resolution: side of the records in pixels.
          channels: channels of the records, 1 to 4.
          labelled: whether sub-folders are classes.
          max_unreadable: number of unreadable images that may be left out.

        Raises:
          UserError: there are no images, too many are unreadable, or a class folder is
            empty.
          ClassesMissingError: `labelled`, and images lie outside the class folders.
        """
        super().__init__()
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
        unreadable = {self._full_name(name): causes[name] for name in sorted(causes)}
        total = len(listing.images)
        if len(unreadable) > max_unreadable or len(unreadable) == total:
            raise _too_many_unreadable(path, unreadable, total, max_unreadable)
        readable = [[n for n in names if n not in causes] for names in classes.values()]
        counts = list(map(len, readable))
        self._names = [name for names in readable for name in names]
        self._labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        self.labels = self._labels
        self.identity = _identity(self._names, listing, self.class_names)
        self._replaced: dict[str, object] = {}
        self._messages += _unreadable_messages(unreadable)
        self._messages += _messages(
            path, self.class_names, counts, listing.others, trouble
        )

    def __len__(self) -> int:
        return len(self._names)

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns the record of one file, or of the next file that can be read.

        Args:
          index: index of the record.
          place: position of the square along the image's longer side; see
            transforms.crop_square.

        Raises:
          UserError: `MAX_FAILURES` files in a row fail; the data is probably gone.
        """
        count = len(self)
        index = range(count)[index]
        failed: dict[str, str] = {}
        for candidate in range(index, index + min(count, MAX_FAILURES)):
            name = self._names[candidate % count]
            try:
                image = transforms.decode(io.BytesIO(self._archive.read(name)))
            except Exception as error:  # as in readable.py
                failed[name] = readable_lib.cause_of(error)
                continue
            self._report_replaced(failed, name)
            image = transforms.fit(image, self._resolution, self._channels, place)
            return {"image": image, "label": self._labels[candidate % count]}
        first, cause = next(iter(failed.items()))
        raise UserError(
            f"{self._full_name(first)!r} can no longer be read as an image ({cause}), "
            f"nor can the next {len(failed) - 1}; check that {self._archive.root!r} "
            "still exists."
        )

    @property
    def replaced(self) -> int:
        """Number of images that have failed since the start, each counted once."""
        return len(self._replaced)

    def _full_name(self, name: str) -> str:
        return f"{self._archive.root}/{name}"

    def _report_replaced(self, failed: dict[str, str], replacement: str) -> None:
        for name, cause in failed.items():
            ours = object()
            # One atomic test and set: several threads may fail at one file at once.
            if self._replaced.setdefault(name, ours) is ours:
                self._messages.append(
                    f"warning: {self._full_name(name)!r} can no longer be read as an "
                    f"image ({cause}); {self._full_name(replacement)!r} replaces it "
                    f"({self.replaced} replaced so far)."
                )


def _identity(names: list[str], listing: Listing, class_names: tuple[str, ...]) -> str:
    """Returns a digest of the files' names and stamps, independent of their place."""
    digest = hashlib.sha256("\0".join(class_names).encode(errors=_ERRORS))
    for name in names:
        digest.update(f"{name}\0{listing.images[name]}\0".encode(errors=_ERRORS))
    return digest.hexdigest()


def classes_of(path: str, listing: Listing) -> dict[str, list[str]]:
    """Returns the sorted names of the images of each class, classes sorted by name.

    Args:
      path: path of the listing, for error messages.
      listing: all files of the data set.

    Raises:
      ClassesMissingError: images lie outside the class folders.
      UserError: a class folder contains no images.
    """
    base, folders, loose = layout(listing)
    if loose:
        raise ClassesMissingError(
            f"{path!r} contains images outside the class folders, such as "
            f"{loose[0]!r}; move them into one sub-folder per class."
        )
    classes: dict[str, list[str]] = {name.removeprefix(base): [] for name in folders}
    for name in sorted(listing.images):
        classes[name.removeprefix(base).split("/")[0]].append(name)
    for name, images in classes.items():
        if not images:
            raise UserError(
                f"{path!r}: the class folder {name!r} contains no images "
                f"({', '.join(SUFFIXES)}); add some or remove the folder."
            )
    return classes


def layout(listing: Listing) -> tuple[str, list[str], list[str]]:
    """Returns the common parent of the class folders, those folders, and loose images.

    The parent is '' or 'a/'. Loose images lie directly in the parent, next to the
    class folders. Folders and images are sorted.
    """
    base = _base(listing)
    folders = sorted(_children(listing.folders, base))
    return base, folders, sorted(_children(listing.images, base))


def no_images(path: str) -> UserError:
    """Returns the error for a path without a single image."""
    return UserError(
        f"{path!r} contains no images ({', '.join(SUFFIXES)}); choose a directory or "
        ".zip file with one sub-folder of images per class."
    )


def _base(listing: Listing) -> str:
    """Returns the parent of the class folders: '', or 'a/' if it only contains 'a'.

    Many zip files contain a single top folder that contains everything else.
    """
    base = ""
    while True:
        folders = _children(listing.folders, base)
        if len(folders) != 1 or _children(listing.images, base):
            return base
        inner = folders[0] + "/"
        if _children(listing.images, inner) or not _children(listing.folders, inner):
            return base
        base = inner


def _children(names: Iterable[str], base: str) -> list[str]:
    """Returns the names that lie directly below `base`."""
    size = len(base)
    return [n for n in names if n.startswith(base) and "/" not in n[size:]]


def _unreadable_messages(unreadable: dict[str, str]) -> list[str]:
    return [
        f"warning: {name!r} cannot be read as an image ({cause}) and is left out."
        for name, cause in unreadable.items()
    ]


def _messages(
    path: str,
    class_names: tuple[str, ...],
    counts: list[int],
    others: list[str],
    trouble: str,
) -> list[str]:
    """Returns the number of images of each class, and warnings about them."""
    messages = [f"{path!r} contains {class_counts.summary(class_names, counts)}."]
    if others:
        messages.append(
            f"ignored {class_counts.plural(len(others), 'file')} of other types, such "
            f"as {min(others)!r}."
        )
    messages += class_counts.warnings(class_names, counts, "class folder")
    if trouble:
        messages.append(
            "warning: the results of the image check could not be cached "
            f"({trouble}); the next start will check every image again."
        )
    return messages


def _too_many_unreadable(
    path: str, unreadable: dict[str, str], total: int, max_unreadable: int
) -> TooManyUnreadableError:
    count = len(unreadable)
    if count == 1 and max_unreadable == 0:
        ((name, cause),) = unreadable.items()
        text = f"{name!r} cannot be read as an image ({cause}); replace or remove it."
    else:
        examples = class_counts.some(
            f"{name!r} ({cause})" for name, cause in unreadable.items()
        )
        text = (
            f"{path!r}: {count} of {class_counts.plural(total, 'image')} cannot be "
            f"read, and max_unreadable is {max_unreadable}: {examples}; replace or "
            "remove them."
        )
    return TooManyUnreadableError(text, count, total)
