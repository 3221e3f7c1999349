"""The folder source: images of any kind and size in a directory or a .zip."""

import hashlib
import io

import numpy as np

from sagan_jax.data import archive as archives
from sagan_jax.data import class_counts, contents, transforms
from sagan_jax.data import classes as classes_lib
from sagan_jax.data import readable as readable_lib
from sagan_jax.data.archive import Listing
from sagan_jax.data.source import Record, Source
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

    With labels, each sub-folder is a class and labels follow the sorted names, or
    dataset.json gives the labels; see classes.py. Without labels, all images below
    `path` count, in sub-folders or not. Records are sorted by class and name on every
    file system. Names that begin with a dot are ignored.

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
          labelled: whether images have classes.
          max_unreadable: number of unreadable images that may be left out.

        Raises:
          UserError: there are no images, too many are unreadable, or the classes are
            unclear; see `classes.classes_of`.
          ClassesMissingError: `labelled`, and some images have no class.
        """
        super().__init__()
        self._resolution = resolution
        self._channels = channels
        self._archive = archives.open_archive(path)
        listing = self._archive.list()
        if not listing.images:
            raise contents.no_images(path, listing)
        classes = {"": sorted(listing.images)}
        if labelled:
            classes = classes_lib.classes_of(path, self._archive, listing)
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
        if labelled and (more := classes_lib.digest_of(classes, listing)):
            self.identity = hashlib.sha256(self.identity.encode() + more).hexdigest()
        self._replaced: dict[str, object] = {}
        self._messages += _unreadable_messages(unreadable)
        self._messages += _messages(path, self.class_names, counts, listing, trouble)
        if labelled and classes_lib.labels_file(listing):
            self._messages.append(f"labels come from {classes_lib.LABELS}.")

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
                image = transforms.decode_to_fit(
                    io.BytesIO(self._archive.read(name)),
                    self._resolution,
                    self._channels,
                    place,
                )
            except Exception as error:  # as in readable.py
                failed[name] = readable_lib.cause_of(error)
                continue
            self._report_replaced(failed, name)
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

    def encloses(self, path: str) -> bool:
        """Returns whether an image file at `path` would be one of the images."""
        return self._archive.encloses(path)

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


def _unreadable_messages(unreadable: dict[str, str]) -> list[str]:
    return [
        f"warning: {name!r} cannot be read as an image ({cause}) and is left out."
        for name, cause in unreadable.items()
    ]


def _messages(
    path: str,
    class_names: tuple[str, ...],
    counts: list[int],
    listing: Listing,
    trouble: str,
) -> list[str]:
    """Returns the number of images of each class, and warnings about them."""
    messages = [f"{path!r} contains {class_counts.summary(class_names, counts)}."]
    if others := listing.others:
        messages.append(
            f"ignored {class_counts.plural(len(others), 'file')} of other types, such "
            f"as {min(others)!r}."
        )
    if listing.system:
        messages.append(f"ignored {contents.system(listing)}.")
    if links := listing.links:
        messages.append(
            f"ignored {class_counts.plural(len(links), 'symbolic link')} to files or "
            f"folders that are read under another name, such as {min(links)!r}."
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
