"""The array_record source: images written by `python -m sagan_jax.data.prepare`."""

import errno
import os
import threading
from typing import Any

import numpy as np

from sagan_jax.data import class_counts, prepared, transforms
from sagan_jax.data.prepared import Description
from sagan_jax.data.source import Record, Source
from sagan_jax.errors import UserError
from sagan_jax.files import paths

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


class TooSmallError(UserError):
    """The prepared images have fewer pixels or channels than the caller asks for.

    Attributes:
      argument: 'resolution' or 'channels'.
      limit: largest value that the images allow.
    """

    def __init__(self, message: str, argument: str, limit: int) -> None:
        super().__init__(message)
        self.argument, self.limit = argument, limit


class ArrayRecordSource(Source):
    """Prepared images, which are only cropped and shrunk where that is needed.

    Records keep the order in which they were written. Each file is opened when it is
    first read. In forked processes, see `prepared.check_fork`.
    """

    def __init__(
        self,
        path: str,
        *,
        resolution: int,
        channels: int = 3,
        labelled: bool = True,
    ) -> None:
        """Reads the description and checks the size of every file.

        Args:
          path: directory of the prepared images.
          resolution: side of the records, at most that of the prepared images.
          channels: channels of the records, at most those of the prepared images.
          labelled: whether records have their labels; otherwise each label is 0.

        Raises:
          UserError: there are no prepared images, or some files are missing.
          TooSmallError: the prepared images have too few pixels or channels.
        """
        super().__init__()
        self._arguments = (path, resolution, channels, labelled)
        described = prepared.read_description(path)
        self._root = str(paths.local(path))
        _check_complete(path, self._root, described)
        _check_size(path, described, resolution, channels)
        labelled = labelled and described.labelled
        self.class_names = tuple(described.class_names) if labelled else ()
        self.num_classes = len(self.class_names)
        self.can_crop = described.crop == "none"
        self._resolution, self._channels = resolution, channels
        self._stored_channels = described.channels
        self._names = [shard.name for shard in described.shards]
        self._ends = np.cumsum([shard.records for shard in described.shards])
        digests = [shard.sha256 for shard in described.shards]
        self.identity = " ".join([*digests, *self.class_names])
        self._readers: dict[int, Any] = {}
        self._opening = threading.Lock()
        counts = described.counts if labelled else [len(described)]
        self._messages += _messages(path, described, self.class_names, counts)

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, self._arguments

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns one record.

        Args:
          index: index of the record.
          place: position of the square along the image's longer side; see
            transforms.crop_square.

        Raises:
          UserError: a file is damaged or missing.
        """
        index = range(len(self))[index]
        shard = int(np.searchsorted(self._ends, index, side="right"))
        position = index - int(self._ends[shard - 1] if shard else 0)
        prepared.check_fork()
        try:
            (record,) = self._reader(shard).read([position])
            image, label = prepared.decode(record, self._stored_channels)
        # The library raises RuntimeError, IndexError and more on damaged files.
        except Exception as error:
            self._check_limit(shard)
            raise UserError(
                f"{self._root + '/' + self._names[shard]!r} is damaged at record "
                f"{position} ({_first_words(error)}); run python -m "
                f"sagan_jax.data.prepare --verify {self._root} to find all damage."
            ) from error
        image = transforms.fit(image, self._resolution, self._channels, place)
        return {"image": image, "label": np.int32(label if self.num_classes else 0)}

    def _reader(self, shard: int) -> Any:
        reader = self._readers.get(shard)
        if reader is None:
            reader = prepared.open_shard(f"{self._root}/{self._names[shard]}")
            with self._opening:
                while len(self._readers) >= _most_open():
                    # It is closed when no thread reads from it any more.
                    del self._readers[next(iter(self._readers))]
                self._readers[shard] = reader
        return reader

    def _check_limit(self, shard: int) -> None:
        """Raises UserError if the process may open no more files."""
        try:
            open(f"{self._root}/{self._names[shard]}", "rb").close()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise UserError(
                    f"{self._root!r} cannot be read: {error.strerror}; raise the limit "
                    "with ulimit -n 4096."
                ) from None


def _most_open() -> int:
    """Returns the number of files that a source may keep open: half of the limit."""
    if resource is None:
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**16 if soft == resource.RLIM_INFINITY else max(1, soft // 2)


def _make(
    path: str, resolution: int, channels: int, labelled: bool
) -> ArrayRecordSource:
    return ArrayRecordSource(
        path, resolution=resolution, channels=channels, labelled=labelled
    )


def _check_complete(path: str, root: str, described: Description) -> None:
    if not described.complete:
        raise UserError(
            f"{path!r} is incomplete: {len(described.shards)} of "
            f"{described.shard_count} files have been written; resume with: "
            f"{described.command}"
        )
    for shard in described.shards:
        try:
            size = os.path.getsize(os.path.join(root, shard.name))
        except OSError as error:
            cause = error.strerror or str(error)
        else:
            if size == shard.bytes:
                continue
            cause = f"{size} bytes instead of {shard.bytes}"
        raise UserError(
            f"{f'{root}/{shard.name}'!r} is damaged ({cause}); repair it with: "
            f"{described.command}"
        )


def _check_size(
    path: str, described: Description, resolution: int, channels: int
) -> None:
    if resolution > described.resolution:
        raise TooSmallError(
            f"{path!r} contains images of {described.resolution} pixels, fewer than "
            f"resolution={resolution}; prepare them again with --resolution "
            f"{resolution}.",
            "resolution",
            described.resolution,
        )
    if channels > described.channels:
        raise TooSmallError(
            f"{path!r} contains images with fewer than channels={channels} channels "
            f"({described.channels}); prepare them again with --channels {channels}.",
            "channels",
            described.channels,
        )


def _messages(
    path: str, described: Description, class_names: tuple[str, ...], counts: list[int]
) -> list[str]:
    messages = [
        f"{path!r} contains {class_counts.summary(class_names, counts)}, prepared at "
        f"{described.resolution} pixels from {described.origin}."
    ]
    if described.unreadable:
        some = class_counts.some(repr(name) for name, _ in described.unreadable)
        count = class_counts.plural(len(described.unreadable), "image")
        messages.append(
            f"warning: {count} could not be read during preparation: {some}."
        )
    return messages + class_counts.warnings(class_names, counts)


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
