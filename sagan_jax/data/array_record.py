"""The array_record source: images as `python -m sagan_jax.data.prepare` wrote them."""

import os
import pathlib
from collections import deque
from typing import Any

import numpy as np

from sagan_jax.data import class_counts, forks, prepared, transforms
from sagan_jax.data.prepared import Description
from sagan_jax.data.source import Record
from sagan_jax.errors import UserError


class ArrayRecordSource:
    """Prepared images, which are only cut and made smaller where that is asked for.

    Records keep the order in which they were written. Each file is opened when it is
    first read from. For processes that are forked, see forks.py.
    """

    def __init__(
        self,
        path: str,
        *,
        resolution: int,
        channels: int = 3,
        labelled: bool = True,
    ) -> None:
        """Reads the description and looks whether every file has its size.

        Args:
          path: of the directory.
          resolution: of the records, at most that of the prepared images.
          channels: of the records, at most those of the prepared images.
          labelled: whether the classes count.

        Raises:
          UserError: nothing prepared there, not all of it, too small or without colour.
        """
        self._arguments = (path, resolution, channels, labelled)
        described = prepared.read_description(path)
        self._root = str(pathlib.Path(path).expanduser())
        _check_complete(path, self._root, described)
        _check_fits(path, described, resolution, channels)
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
        counts = described.counts if labelled else [len(described)]
        self._news = deque(_notes(path, described, self.class_names, counts))

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, self._arguments

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Record:
        """Returns one record, its central square; see `read`."""
        return self.read(index)

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns one record.

        Args:
          index: of the record.
          place: of the square along the image's longer side; see
            transforms.crop_square.

        Raises:
          UserError: a file that is damaged or gone.
        """
        index = range(len(self))[index]
        shard = int(np.searchsorted(self._ends, index, side="right"))
        position = index - int(self._ends[shard - 1] if shard else 0)
        forks.check()
        try:
            (record,) = self._reader(shard).read([position])
            image, label = prepared.decode(record, self._stored_channels)
        # The library raises RuntimeError, IndexError and more on damaged files.
        except Exception as error:
            raise UserError(
                f"data.path: {self._root + '/' + self._names[shard]!r} is damaged at "
                f"record {position} ({_first_words(error)}); see what else is by "
                f"python -m sagan_jax.data.prepare --verify {self._root}."
            ) from error
        image = transforms.fit(image, self._resolution, self._channels, place)
        return {"image": image, "label": np.int32(label if self.num_classes else 0)}

    def news(self) -> list[str]:
        """Returns what a person should hear that was not returned before."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def _reader(self, shard: int) -> Any:
        # Two threads may open one at once; one of the two is then soon forgotten.
        if shard not in self._readers:
            path = f"{self._root}/{self._names[shard]}"
            self._readers[shard] = prepared.open_shard(path)
        return self._readers[shard]


def _make(
    path: str, resolution: int, channels: int, labelled: bool
) -> ArrayRecordSource:
    return ArrayRecordSource(
        path, resolution=resolution, channels=channels, labelled=labelled
    )


def _check_complete(path: str, root: str, described: Description) -> None:
    if not described.complete:
        raise UserError(
            f"data.path={path!r} is not finished: {len(described.shards)} of "
            f"{described.shard_count} files are there; the command that began it goes "
            f"on: {described.command}"
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
            f"data.path: '{root}/{shard.name}' is not as it was written ({cause}); the "
            f"command that made it makes it again: {described.command}"
        )


def _check_fits(
    path: str, described: Description, resolution: int, channels: int
) -> None:
    if resolution > described.resolution:
        raise UserError(
            f"model.resolution={resolution} is more than the {described.resolution} "
            f"pixels of the images in data.path={path!r}; prepare them again with "
            f"--resolution {resolution}, or set "
            f"--config.model.resolution={described.resolution}."
        )
    if channels > described.channels:
        raise UserError(
            f"model.channels={channels} is more than the {described.channels} of the "
            f"images in data.path={path!r}; prepare them again with --channels "
            f"{channels}, or set --config.model.channels={described.channels}."
        )


def _notes(
    path: str, described: Description, class_names: tuple[str, ...], counts: list[int]
) -> list[str]:
    notes = [
        f"data.path={path!r} holds {class_counts.summary(class_names, counts)}, "
        f"prepared at {described.resolution} pixels from {described.origin}."
    ]
    if described.unreadable:
        some = class_counts.some(repr(name) for name, _ in described.unreadable)
        notes.append(
            f"warning: {class_counts.plural(len(described.unreadable), 'image')} could "
            f"not be read when it was prepared: {some}."
        )
    return notes + class_counts.warnings(class_names, counts)


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
