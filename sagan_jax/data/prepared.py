"""The form of prepared images on the disk: shards of records, and a description.

A directory holds `images-00000-of-00012.array_record` and so on, and one JSON file
that says what they are. The pixels are kept as they are, not compressed: on one core a
record of 64 pixels is read more than ten times as fast as its PNG is decoded.
"""

import dataclasses
import json
import os
import pathlib
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL
from array_record.python import array_record_module

from sagan_jax.errors import UserError

FILE = "description.json"

VERSION = 1
"""Of this form; a reader refuses others."""

WRITER_OPTIONS = "group_size:1,uncompressed"
"""Of array_record: each record can be read alone."""

_HEADER = struct.Struct("<iHH")  # label, height, width


@dataclass
class Shard:
    """One file of records."""

    name: str
    records: int
    bytes: int
    sha256: str


@dataclass
class Description:
    """What a directory of prepared images holds, and how it was made.

    Attributes:
      version: of the form.
      complete: whether all shards are there; one that is not can be gone on with.
      origin: the images it was made of: a path, or tfds:NAME:SPLIT.
      contents: sha256 of the names of those images and what tells that they changed.
      resolution: of the shorter side, in pixels.
      channels: of each image.
      crop: center, squares; none, the longer side kept.
      labelled: whether there are classes.
      class_names: by label.
      counts: of the images of each class; without classes, one number.
      total: images to be written, unreadable ones among them.
      per_shard: images of a shard, unreadable ones among them; the last may have fewer.
      unreadable: name and cause of each image that was left out.
      shards: in order.
      command: that made it, or goes on.
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
        """Returns how many records have been written."""
        return sum(shard.records for shard in self.shards)

    @property
    def shard_count(self) -> int:
        """Returns how many shards there will be."""
        return -(-self.total // self.per_shard)


def is_prepared(path: str) -> bool:
    """Returns whether `path` holds prepared images, all of them or some."""
    return os.path.isfile(os.path.join(os.path.expanduser(path), FILE))


def read_description(path: str, field: str = "data.path") -> Description:
    """Returns what `path` holds; `field` is what a person calls it.

    Raises:
      UserError: no prepared images there, or a description that cannot be read.
    """
    root = pathlib.Path(path).expanduser()
    if not root.exists():
        raise UserError(
            f"{field}={path!r} does not exist; make it by "
            "python -m sagan_jax.data.prepare IN OUT --resolution R."
        )
    if not is_prepared(path):
        raise UserError(
            f"{field}={path!r} holds no prepared images ({FILE} is missing); make them "
            "by python -m sagan_jax.data.prepare IN OUT --resolution R, or, if it is a "
            "folder or zip of images, set --config.data.source=folder."
        )
    try:
        content = json.loads((root / FILE).read_bytes())
        version = content["version"]
        if version == VERSION:
            content["shards"] = [Shard(**shard) for shard in content["shards"]]
            return Description(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{field}: '{root}/{FILE}' is damaged ({error}); prepare the images again "
            "into another directory."
        ) from None
    raise UserError(
        f"{field}={path!r} was prepared in form {version!r}, and this version reads "
        f"form {VERSION}; prepare the images again into another directory."
    )


def write_description(path: str, description: Description) -> None:
    """Writes beside and renames; one process at a time."""
    beside = os.path.join(path, FILE + ".tmp")
    with open(beside, "w", encoding="ascii") as file:
        json.dump(dataclasses.asdict(description), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, os.path.join(path, FILE))


def libraries() -> str:
    """Returns the library that makes the pixels, with its version."""
    return f"Pillow {PIL.__version__}"


def shard_name(number: int, count: int) -> str:
    """Returns the name of a shard's file."""
    return f"images-{number:05d}-of-{count:05d}.array_record"


def open_shard(path: str) -> Any:
    """Returns an array_record reader; of a missing or damaged file one without records.

    Reading one record at a time needs no read-ahead.
    """
    return array_record_module.ArrayRecordReader(path, "readahead_buffer_size:0")


def encode(image: np.ndarray, label: int) -> bytes:
    """Returns the record of an image, uint8 [H, W, C], and its label."""
    height, width, _ = image.shape
    return _HEADER.pack(label, height, width) + image.tobytes()


def decode(record: bytes, channels: int) -> tuple[np.ndarray, int]:
    """Returns the image, uint8 [H, W, C] and read-only, and its label.

    Raises:
      ValueError: a record that holds no such image.
    """
    if len(record) < _HEADER.size:
        raise ValueError("it is too short")
    label, height, width = _HEADER.unpack_from(record)
    pixels = np.frombuffer(record, np.uint8, offset=_HEADER.size)
    if not height * width or pixels.size != height * width * channels:
        raise ValueError(
            f"it has {pixels.size} bytes of pixels, not those of {height} x {width}"
        )
    return pixels.reshape(height, width, channels), label
