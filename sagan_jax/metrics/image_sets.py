"""Sets of images to compare: a folder, a .zip, or an .npz, read piece by piece.

Images are read as torch-fidelity reads them: by Pillow as RGB, neither cropped nor
turned. So alpha is dropped, not blended; grey is repeated; of an animation the first
frame counts; what a camera notes of its orientation is not looked at.
"""

import collections
import contextlib
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sagan_jax.data import archive as archives
from sagan_jax.data import folder, readable, transforms
from sagan_jax.errors import UserError
from sagan_jax.extractors import preprocessing
from sagan_jax.extractors.preprocessing import Batch

_LOSSY = (".jpg", ".jpeg")
_AHEAD = 2  # batches that are read while one is looked at
_BYTES = 2**28  # of decoded images in a batch, unless a single one has more


class ImageSet(Protocol):
    """Images in one order, whatever the file system.

    Attributes:
      path: as it was given.
      count: of the images.
      classes: the name of each image's class; None where classes were not asked for.
      lossy: how many lie in files that are compressed with loss.
    """

    path: str
    count: int
    classes: tuple[str, ...] | None
    lossy: int

    def batches(self, size: int) -> Iterator[Batch]:
        """Yields all images, `size` at a time, or fewer where they are large."""


def open_images(path: str, field: str, *, labelled: bool = False) -> ImageSet:
    """Returns the images of a folder, a .zip or an .npz; files are not yet decoded.

    Args:
      path: an .npz holds uint8 `images` [N, H, W, 3], or one array of any name, and
        `labels` [N] if classes are wanted.
      field: what a person calls the path.
      labelled: whether classes are wanted: sub-folders, as in training.

    Raises:
      UserError: nothing there, no images, other arrays, or no classes.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise UserError(f"{field}={path!r} does not exist; {_REMEDY}.")
    if place.is_dir() or place.suffix.lower() == ".zip":
        return Files(path, field, labelled=labelled)
    if place.suffix.lower() == ".npz":
        return Array(path, field, labelled=labelled)
    raise UserError(
        f"{field}={path!r} is neither a folder nor a .zip or .npz file; {_REMEDY}."
    )


def is_statistics(path: str) -> bool:
    """Returns whether the path is an .npz with a mean and a covariance, not images."""
    place = Path(path).expanduser()
    if place.suffix.lower() != ".npz" or not place.is_file():
        return False
    try:
        with zipfile.ZipFile(place) as file:
            return bool({"mu.npy", "sigma.npy"} & set(file.namelist()))
    except (OSError, zipfile.BadZipFile):
        return False  # who opens it as images hears why it cannot be read


class Files:
    """Image files below a folder or in a .zip, sorted by name; see ImageSet."""

    def __init__(self, path: str, field: str, *, labelled: bool) -> None:
        self.path, self._field = path, field
        self._archive = archives.open_archive(path, field)
        listing = self._archive.list()
        if not listing.images:
            raise UserError(
                f"{field}={path!r} holds no images ({', '.join(archives.SUFFIXES)}); "
                f"{_REMEDY}."
            )
        self._names = sorted(listing.images)
        self.count = len(self._names)
        self.lossy = sum(name.lower().endswith(_LOSSY) for name in self._names)
        self.classes: tuple[str, ...] | None = None
        if labelled:
            found = folder.classes_of(
                path, listing, field=field, unlabelled="leave intra_fid out"
            )
            of = {name: label for label, names in found.items() for name in names}
            self.classes = tuple(of[name] for name in self._names)

    def batches(self, size: int) -> Iterator[Batch]:
        """Yields images in the order of names, decoded in threads, some ahead."""
        first = self._read(self._names[0])
        # Only one size is worth a compiled resize.
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
                f"{self._field}: {full!r} cannot be read as an image "
                f"({readable.cause_of(error)}); mend or remove it."
            ) from error


def decode(content: bytes) -> NDArray[np.uint8]:
    """Returns an image file as uint8 [H, W, 3], by Pillow's conversion to RGB.

    Pillow's own exceptions pass through.

    Raises:
      ValueError: pixels of more than 8 bits, which that conversion would clip to white
        instead of scaling them, or far too many by the header.
    """
    transforms.size(io.BytesIO(content))
    with Image.open(io.BytesIO(content)) as image:
        if image.mode.startswith("I;16"):
            raise ValueError("16-bit levels, which would be clipped at 255")
        image.load()
        # Makes no difference to the colours, and a warning otherwise.
        image.info.pop("transparency", None)
        return np.asarray(image.convert("RGB"))


class Array:
    """Images of an .npz, of which one batch at a time is in memory; see ImageSet."""

    def __init__(self, path: str, field: str, *, labelled: bool) -> None:
        self.path, self._field = path, field
        self.lossy = 0
        with _opened(self.path, self._field) as file:
            self._member = self._choose(file.namelist())
            with file.open(self._member) as member:
                shape, dtype = self._header(member)
        self._row, self._dtype = shape[1:], dtype
        self.count = shape[0] if shape else 0
        self._check(shape)
        self.classes = self._classes() if labelled else None

    def batches(self, size: int) -> Iterator[NDArray[Any]]:
        """Yields images as they lie in the file, which is read from end to end."""
        rows = int(np.prod(self._row)) * self._dtype.itemsize
        size = _fitting(size, rows)
        with _opened(self.path, self._field) as file, file.open(self._member) as member:
            self._header(member)
            for start in range(0, self.count, size):
                n = min(size, self.count - start)
                content = member.read(n * rows)
                # Checksums are compared at the very end, which must be reached.
                last = start + n == self.count
                if len(content) < n * rows or (last and member.read()):
                    raise ValueError("its images are not those of its header")
                yield np.frombuffer(content, self._dtype).reshape(n, *self._row)

    def _choose(self, members: Sequence[str]) -> str:
        names = [name.removesuffix(".npy") for name in members]
        if "images" in names:
            return "images.npy"
        others = [name for name in names if name != "labels"]
        if len(others) == 1:
            return f"{others[0]}.npy"
        raise UserError(
            f"{self._field}={self.path!r} holds the arrays {', '.join(names)}, none of "
            "them 'images'; save uint8 images [N, H, W, 3] by that name."
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
            raise ValueError("its images are stored by columns or as objects")
        return shape, dtype

    def _check(self, shape: tuple[int, ...]) -> None:
        """Refuses what is no uint8 [N, H, W, 3]; of floats it says what is wrong."""
        looked_at = np.broadcast_to(np.zeros((), self._dtype), shape)
        if self._dtype.kind == "f" and looked_at.size:
            parts = [(part.min(), part.max()) for part in self.batches(256)]
            looked_at = np.array(parts)  # a NaN is the least and the most of its part
        try:
            preprocessing.check_images(looked_at)
        except UserError as error:
            raise UserError(f"{self._field}={self.path!r}: {error}") from error

    def _classes(self) -> tuple[str, ...]:
        with _opened(self.path, self._field) as file:
            if "labels.npy" not in file.namelist():
                raise UserError(
                    f"{self._field}={self.path!r} holds no array 'labels', which "
                    "intra_fid needs; add it [N], or leave intra_fid out."
                )
            with file.open("labels.npy") as member:
                labels = np.lib.format.read_array(member, allow_pickle=False)
        if labels.shape != (self.count,) or labels.dtype.kind not in "iu":
            raise UserError(
                f"{self._field}={self.path!r} holds labels of shape {labels.shape} and "
                f"type {labels.dtype}, not one class for each of {self.count} images; "
                "save whole numbers [N]."
            )
        return tuple(map(str, labels.tolist()))


def _fitting(size: int, largest: int) -> int:
    """Returns how many images of so many bytes to take at a time."""
    return min(size, max(1, _BYTES // largest))


@contextlib.contextmanager
def _opened(path: str, field: str) -> Iterator[zipfile.ZipFile]:
    """Opens an .npz; whatever fails while it is open is one sentence."""
    try:
        with zipfile.ZipFile(Path(path).expanduser()) as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # a damaged zip raises nearly anything
        raise UserError(
            f"{field}={path!r} cannot be read as an .npz file "
            f"({readable.cause_of(error)}); copy or make it again."
        ) from error


_REMEDY = "name a folder or .zip of images, or an .npz"
