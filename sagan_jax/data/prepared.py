"""The format of prepared images on the disk: shards of records, and a description.

A directory contains `images-00000-of-00012.array_record` and so on, and one JSON file
that describes them. Pixels are stored without compression: on one core, reading a
record of 64 pixels is more than ten times as fast as decoding its PNG.
"""

import dataclasses
import json
import os
import pathlib
import re
import reprlib
import struct
import typing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL
from array_record.python import array_record_module

from sagan_jax.errors import UserError
from sagan_jax.files import paths, whole

FILE = "description.json"

VERSION = 1
"""Version of the format; readers reject any other."""

WRITER_OPTIONS = "group_size:1,uncompressed"
"""Options of array_record that let each record be read on its own."""

_HEADER = struct.Struct("<iHH")  # label, height, width


class NotPreparedError(UserError):
    """The path exists but contains no prepared images."""


@dataclass
class Shard:
    """One file of records.

    Attributes:
      name: file name.
      records: number of records.
      bytes: size of the file.
      sha256: hash of the file.
    """

    name: str
    records: int
    bytes: int
    sha256: str


@dataclass
class Description:
    """The contents of a directory of prepared images, and how they were made.

    Attributes:
      version: version of the format.
      complete: whether all shards have been written; if not, `command` resumes.
      origin: source of the images: a path, or tfds:NAME:SPLIT.
      contents: sha256 of the names and stamps of the original images.
      resolution: shorter side of the images in pixels.
      channels: channels of the images.
      crop: 'center' for squares; 'none' if the longer side is kept.
      labelled: whether there are classes.
      class_names: name of each class, by label.
      counts: number of images in each class; without classes, one number.
      total: number of original images, unreadable ones included.
      per_shard: number of original images per shard, unreadable ones included; the last
        shard may have fewer.
      unreadable: name and cause of each image that was left out.
      shards: the shards written so far, in order.
      command: command that made the directory, and that resumes or repairs it.
      made_by: versions of the libraries that made the pixels.
    """

    version: int
    complete: bool
    origin: str
    contents: str
    resolution: int
    channels: int
    crop: str
    labelled: bool
    class_names: list[str]
    counts: list[int]
    total: int
    per_shard: int
    unreadable: list[list[str]] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)
    command: str = ""
    made_by: str = ""

    def __len__(self) -> int:
        """Returns the number of records written so far."""
        return sum(shard.records for shard in self.shards)

    @property
    def shard_count(self) -> int:
        """Number of shards of the complete directory."""
        return -(-self.total // self.per_shard)


def is_prepared(path: str) -> bool:
    """Returns whether `path` contains prepared images, complete or not."""
    return (paths.local(path) / FILE).is_file()


def read_description(path: str) -> Description:
    """Returns the description of the prepared images in `path`.

    Raises:
      UserError: `path` does not exist, or its description is damaged or of another
        version.
      NotPreparedError: `path` contains no description.
    """
    root = paths.local(path)
    if not root.exists():
        raise UserError(
            f"{path!r} does not exist; create it with python -m "
            "sagan_jax.data.prepare IN OUT --resolution R."
        )
    if not is_prepared(path):
        raise NotPreparedError(
            f"{path!r} contains no prepared images ({FILE} is missing); create them "
            "with python -m sagan_jax.data.prepare IN OUT --resolution R."
        )
    try:
        content = json.loads((root / FILE).read_bytes())
        version = content["version"]
        if version == VERSION:
            content["shards"] = [Shard(**shard) for shard in content["shards"]]
            description = Description(**content)
            _check(description)
            return description
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = str(error)[:500]  # a damaged file may hold a value of any length
        raise UserError(
            f"{str(root / FILE)!r} is damaged ({reason}); prepare the images again in "
            "another directory."
        ) from None
    raise UserError(
        f"{path!r} has format version {reprlib.repr(version)}, but only version "
        f"{VERSION} is supported; prepare the images again in another directory."
    )


_LARGEST = 2**48
"""No count and no size in a description reaches it; Python's len() has a limit too."""


def _check(described: Description) -> None:
    """Raises ValueError for a description that no program here has written."""
    parts: list[Description | Shard] = [described, *described.shards]
    for part in parts:
        for each in dataclasses.fields(part):
            value = getattr(part, each.name)
            wanted = typing.get_origin(each.type) or each.type
            if type(value) is not wanted:
                raise ValueError(f"{each.name} is {value!r}")
            low = int(each.name != "records")
            if wanted is int and not low <= value < _LARGEST:
                raise ValueError(f"{each.name} is {value}")
    if not all(isinstance(name, str) for name in described.class_names):
        raise ValueError("class_names holds something else than names")
    for entry in described.unreadable:
        if [*map(type, entry)] != [str, str]:
            raise ValueError("unreadable holds something else than name and cause")
    if not all(type(count) is int and count >= 0 for count in described.counts):
        raise ValueError(f"counts is {described.counts!r}")
    if described.labelled != bool(described.class_names):
        raise ValueError("labelled and class_names contradict each other")
    if len(described.counts) != max(1, len(described.class_names)):
        raise ValueError("counts and class_names differ in length")
    if described.channels > 4 or described.crop not in ("center", "none"):
        raise ValueError(f"channels is {described.channels}, crop {described.crop!r}")
    written = len(described.shards)
    if written > described.shard_count or (
        described.complete and (written < described.shard_count or not len(described))
    ):
        raise ValueError(f"shards has {written} entries, {len(described)} records")
    for number, shard in enumerate(described.shards):
        if shard.name != shard_name(number, described.shard_count):
            raise ValueError(f"shard {number} is {shard.name!r}")
        if not re.fullmatch("[0-9a-f]{64}", shard.sha256):
            raise ValueError(f"sha256 is {shard.sha256!r}")


def write_description(path: str, description: Description) -> None:
    """Replaces the description in the directory `path`.

    Raises:
      OSError: the directory cannot be written to.
    """
    content = dataclasses.asdict(description)
    whole.write_text(pathlib.Path(path, FILE), json.dumps(content, indent=1))


def libraries() -> str:
    """Returns the library that makes the pixels, and its version."""
    return f"Pillow {PIL.__version__}"


def shard_name(number: int, count: int) -> str:
    """Returns the file name of a shard."""
    return f"images-{number:05d}-of-{count:05d}.array_record"


def open_shard(path: str) -> Any:
    """Returns an array_record reader; without records if the file is damaged.

    Records are read one at a time, which needs no read-ahead.
    """
    # As bytes: the library has no other way to name a file whose name is not UTF-8.
    name = os.fsencode(path)
    return array_record_module.ArrayRecordReader(name, "readahead_buffer_size:0")


def encode(image: np.ndarray, label: int) -> bytes:
    """Returns the record of an image, uint8 [H, W, C], and its label."""
    height, width, _ = image.shape
    return _HEADER.pack(label, height, width) + image.tobytes()


def decode(record: bytes, channels: int) -> tuple[np.ndarray, int]:
    """Returns the image, uint8 [H, W, C] and read-only, and its label.

    Raises:
      ValueError: the record does not contain an image of its declared shape.
    """
    if len(record) < _HEADER.size:
        raise ValueError("it is too short")
    label, height, width = _HEADER.unpack_from(record)
    pixels = np.frombuffer(record, np.uint8, offset=_HEADER.size)
    if not height * width or pixels.size != height * width * channels:
        raise ValueError(
            f"it has {pixels.size} bytes of pixels, which do not fit {height} x {width}"
        )
    return pixels.reshape(height, width, channels), label


_first_process = 0  # process that first opened a file; 0 if none has


def check_fork() -> None:
    """Raises UserError in a fork of a process that has already used array_record.

    Call it before opening or reading a file. The first file starts threads that all
    files share and that a fork does not copy: in the child, reading then hangs, or ends
    in a segmentation fault as soon as the child has a thread of its own. A spawned
    child is safe, and so is a fork of a process that has not opened a file yet.
    """
    global _first_process
    _first_process = _first_process or os.getpid()
    if _first_process != os.getpid():
        raise UserError(
            "multiprocessing='fork' is not supported by array_record once the parent "
            "process has read an image; use 'spawn', or fork before the first read."
        )
