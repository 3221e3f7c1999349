"""Sets of images to compare: a folder, a .zip or an .npz, read batch by batch.

Images are read as in torch-fidelity: Pillow converts them to RGB, and they are neither
cropped nor rotated. Alpha is dropped, not blended; grey is repeated; only the first
frame of an animation counts; the orientation in EXIF data is ignored.
"""

import collections
import contextlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sagan_jax.data import archive as archives
from sagan_jax.data import classes as classes_lib
from sagan_jax.data import contents, formats, readable
from sagan_jax.data.source import ClassesMissingError
from sagan_jax.errors import UserError
from sagan_jax.extractors import preprocessing
from sagan_jax.extractors.preprocessing import Batch
from sagan_jax.files import paths

_LOSSY = (".jpg", ".jpeg", ".jfif")
_SAMPLES, _LABELS = "arr_0", "arr_1"  # of numpy.savez(file, samples, labels)
_AHEAD = 2  # batches that are read ahead
_BYTES = 2**28  # limit for the decoded images of a batch of two or more


class ImageSet(Protocol):
    """Images in an order that does not depend on the file system.

    Attributes:
      path: the path, as given.
      count: number of images.
      classes: class name of each image, or None if opened without classes.
      lossy: number of images from files with lossy compression.
    """

    path: str
    count: int
    classes: tuple[str, ...] | None
    lossy: int

    def batches(self, size: int) -> Iterator[Batch]:
        """Yields all images, `size` at a time, or fewer if they are large."""


def open_images(path: str, *, labelled: bool = False) -> ImageSet:
    """Returns the images of a folder, a .zip or an .npz, without decoding them.

    Args:
      path: a folder, .zip or .npz. An .npz holds uint8 `images` [N, H, W, 3] or a
        single array of any name, and `labels` [N] if `labelled`; or `arr_0` and
        `arr_1`, as diffusion code saves samples and labels.
      labelled: whether to read classes; in folders they are those of training.

    Raises:
      UserError: the path does not exist or has no images, other arrays, or no classes.
    """
    place = paths.local(path)
    if not place.exists():
        raise UserError(f"{path!r} does not exist; {_REMEDY}.")
    if place.is_dir() or place.suffix.lower() == ".zip":
        return Files(path, labelled=labelled)
    if place.suffix.lower() == ".npz":
        return Array(path, labelled=labelled)
    raise UserError(f"{path!r} is not a folder, .zip or .npz; {_REMEDY}.")


def is_statistics(path: str) -> bool:
    """Returns whether the path is an .npz of a mean and a covariance, not of images."""
    place = paths.local(path)
    if place.suffix.lower() != ".npz" or not place.is_file():
        return False
    try:
        with zipfile.ZipFile(place) as file:
            return bool({"mu.npy", "sigma.npy"} & set(file.namelist()))
    except (OSError, zipfile.BadZipFile):
        return False  # opening it as images will report the error


class Files:
    """Image files in a folder or a .zip, sorted by name; see ImageSet."""

    def __init__(self, path: str, *, labelled: bool) -> None:
        self.path = path
        self._archive = archives.open_archive(path)
        listing = self._archive.list()
        if not listing.images:
            raise contents.no_images(path, listing, _REMEDY)
        self._names = sorted(listing.images)
        self.count = len(self._names)
        self.lossy = sum(name.lower().endswith(_LOSSY) for name in self._names)
        self.classes: tuple[str, ...] | None = None
        if labelled:
            try:
                found = classes_lib.classes_of(path, self._archive, listing)
            except ClassesMissingError as error:
                error.add_remedy(", or drop intra_fid")
                raise
            of = {name: label for label, names in found.items() for name in names}
            self.classes = tuple(of[name] for name in self._names)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yields images in the order of their names; threads decode them ahead."""
        first = self._read(self._names[0])
        # Batches of this shape become arrays, so that one resize is compiled; others
        # become lists.
        usual, largest, start = first.shape, first.nbytes, 0
        ahead: collections.deque[list[Future[NDArray[np.uint8]]]] = collections.deque()
        pool = ThreadPoolExecutor(min(16, os.cpu_count() or 1))
        try:
            while ahead or start < self.count:
                while len(ahead) <= _AHEAD and start < self.count:
                    part = self._names[start : start + _fitting(size, largest)]
                    ahead.append([pool.submit(self._read, name) for name in part])
                    start += len(part)
                images = [future.result() for future in ahead.popleft()]
                largest = max(image.nbytes for image in images)
                same = all(image.shape == usual for image in images)
                yield np.stack(images) if same else images
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, name: str) -> NDArray[np.uint8]:
        try:
            return decode(self._archive.read(name))
        except Exception as error:  # damaged files raise nearly anything
            full = f"{self._archive.root}/{name}"
            raise UserError(
                f"{full!r} is not a readable image ({readable.cause_of(error)}); "
                "repair or remove it."
            ) from error


def decode(content: bytes) -> NDArray[np.uint8]:
    """Returns an image file as uint8 [H, W, 3], converted to RGB by Pillow.

    Exceptions of Pillow pass through.

    Raises:
      ValueError: pixels of more than 8 bits, which Pillow would clip to white, or a
        header with far too many pixels.
    """
    with formats.opened(io.BytesIO(content)) as image:
        if image.mode.startswith("I;16"):
            raise ValueError("16-bit levels, which would be clipped at 255")
        image.load()
        # It does not affect the colours, and causes a warning.
        image.info.pop("transparency", None)
        return np.asarray(image.convert("RGB"))


class Array:
    """Images of an .npz, with one batch in memory at a time; see ImageSet."""

    def __init__(self, path: str, *, labelled: bool) -> None:
        self.path = path
        self.lossy = 0
        with _opened(self.path) as file:
            self._member = self._choose(file.namelist())
            with file.open(self._member) as member:
                shape, dtype = self._header(member)
        self._row, self._dtype = shape[1:], dtype
        self.count = shape[0] if shape else 0
        self._check(shape)
        self.classes = self._classes() if labelled else None

    def batches(self, size: int) -> Iterator[NDArray[Any]]:
        """Yields images in the order of the file, which is read once to its end."""
        rows = int(np.prod(self._row)) * self._dtype.itemsize
        size = _fitting(size, rows)
        with _opened(self.path) as file, file.open(self._member) as member:
            self._header(member)
            for start in range(0, self.count, size):
                n = min(size, self.count - start)
                content = member.read(n * rows)
                # zipfile verifies the checksum only once the end is reached.
                last = start + n == self.count
                if len(content) < n * rows or (last and member.read()):
                    raise ValueError("its length does not match its header")
                yield np.frombuffer(content, self._dtype).reshape(n, *self._row)

    def _choose(self, members: Sequence[str]) -> str:
        names = [name.removesuffix(".npy") for name in members]
        if "images" in names:
            return "images.npy"
        if set(names) == {_SAMPLES, _LABELS}:
            return f"{_SAMPLES}.npy"
        others = [name for name in names if name != "labels"]
        if len(others) == 1:
            return f"{others[0]}.npy"
        raise UserError(
            f"{self.path!r} holds the arrays {', '.join(names)}, but not 'images'; "
            "save uint8 images [N, H, W, 3] under that name."
        )

    def _header(self, member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
        version = np.lib.format.read_magic(member)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(member)
        if by_columns or dtype.hasobject:
            raise ValueError("its images are stored in Fortran order or as objects")
        return shape, dtype

    def _check(self, shape: tuple[int, ...]) -> None:
        """Raises UserError unless the images are uint8 [N, H, W, 3]."""
        stand_in = np.broadcast_to(np.zeros((), self._dtype), shape)
        if self._dtype.kind == "f" and stand_in.size:
            # The error reports the range of floats; min and max propagate NaN.
            parts = [(part.min(), part.max()) for part in self.batches(256)]
            stand_in = np.array(parts)
        try:
            preprocessing.check_images(stand_in)
        except UserError as error:
            raise UserError(f"{self.path!r}: {error}") from error

    def _classes(self) -> tuple[str, ...]:
        with _opened(self.path) as file:
            name = "labels.npy"
            if self._member == f"{_SAMPLES}.npy" and name not in file.namelist():
                name = f"{_LABELS}.npy"
            if name not in file.namelist():
                raise UserError(
                    f"{self.path!r} holds no array 'labels', which intra_fid needs; "
                    "add labels [N], or drop intra_fid."
                )
            with file.open(name) as member:
                labels = np.lib.format.read_array(member, allow_pickle=False)
        if labels.shape != (self.count,) or labels.dtype.kind not in "iu":
            raise UserError(
                f"{self.path!r} holds labels of shape {labels.shape} and type "
                f"{labels.dtype}, not one class for each of {self.count} images; save "
                "integers [N]."
            )
        return tuple(map(str, labels.tolist()))


def _fitting(size: int, largest: int) -> int:
    """Returns the batch size for images of `largest` bytes."""
    return min(size, max(1, _BYTES // largest))


@contextlib.contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    """Opens an .npz; any error inside the block becomes a UserError."""
    try:
        with zipfile.ZipFile(paths.local(path)) as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # a damaged zip raises nearly anything
        raise UserError(
            f"{path!r} is not a readable .npz file ({readable.cause_of(error)}); copy "
            "it again or recreate it."
        ) from error


_REMEDY = "pass a folder, .zip or .npz of images"
