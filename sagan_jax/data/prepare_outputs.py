"""The directory that prepared images are written to, and what is there already."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator

from tqdm import tqdm

from sagan_jax.data import prepared
from sagan_jax.data.prepare_inputs import Input
from sagan_jax.data.prepared import Description, Shard
from sagan_jax.errors import UserError

BESIDE = ".tmp"
"""Of names that are written under before they are renamed."""

_SHARD_BYTES = 2**26  # what a kill costs at most
_MOST_SHARDS = 512  # each is a file that a training process keeps open

_LOCK = ".lock"

# What two commands that write into one directory must agree in, as a person says it.
_FIXED = {
    "origin": "IN",
    "resolution": "--resolution",
    "channels": "--channels",
    "crop": "--crop",
    "labelled": "labels",
    "class_names": "classes",
    "total": "number of images",
    "contents": "hash of names, sizes and times",
}


def describe(
    images: Input, *, resolution: int, channels: int, crop: str, command: str
) -> Description:
    """Returns the description of what is to be written, without a shard so far."""
    total = len(images.keys)
    per_shard = -(-_SHARD_BYTES // (resolution**2 * channels))
    return Description(
        version=prepared.VERSION,
        complete=False,
        origin=images.origin,
        contents=images.contents,
        resolution=resolution,
        channels=channels,
        crop=crop,
        labelled=bool(images.class_names),
        class_names=list(images.class_names),
        counts=[0] * max(1, len(images.class_names)),
        total=total,
        per_shard=max(per_shard, -(-total // _MOST_SHARDS)),
        command=command,
        made_by=prepared.libraries(),
    )


@contextlib.contextmanager
def claimed(out: str) -> Iterator[None]:
    """Makes the directory, and keeps other processes from writing there meanwhile.

    Raises:
      UserError: another one does, or something else lies there.
    """
    try:
        os.makedirs(out, exist_ok=True)
        others = [n for n in os.listdir(out) if n != _LOCK and not n.endswith(BESIDE)]
        lock = open(os.path.join(out, _LOCK), "w")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"OUT={out!r} cannot be written to ({error.strerror}); give another "
            "directory."
        ) from None
    with lock:
        if others and not prepared.is_prepared(out):
            os.unlink(lock.name)
            raise UserError(
                f"OUT={out!r} holds other files than prepared images, such as "
                f"{min(others)!r}; give a new directory."
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"OUT={out!r} is being written to by another process; wait for it, or "
                "give another directory."
            ) from None
        yield


def begin(out: str, wanted: Description) -> Description:
    """Returns what is there to go on with, or what is wanted, written down.

    Raises:
      UserError: another command began it.
    """
    described = wanted
    if prepared.is_prepared(out):
        there = prepared.read_description(out, "OUT")
        if there.shards:
            _check_same(out, there, wanted)
            described = dataclasses.replace(there, command=wanted.command)
    prepared.write_description(out, described)
    return described


def pending(out: str, described: Description) -> list[int]:
    """Returns the numbers of the shards that are not there, or not as written."""
    missing = []
    with tqdm(
        desc="checking", unit="file", total=len(described.shards), delay=3, leave=False
    ) as bar:
        for number, shard in enumerate(described.shards):
            if fault(out, shard):
                missing.append(number)
            bar.update()
    return [*missing, *range(len(described.shards), described.shard_count)]


def fault(out: str, shard: Shard) -> str:
    """Returns how a file differs from what was written, or ''."""
    try:
        size = os.path.getsize(os.path.join(out, shard.name))
        if size != shard.bytes:
            return f"{size} bytes instead of {shard.bytes}"
        if sha256(os.path.join(out, shard.name)) != shard.sha256:
            return "its sha256 is another"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def check_space(out: str, described: Description, images: int) -> None:
    """Raises UserError if so many more images will not fit on the disk."""
    # With the longer side kept, photographs need about a third more.
    share = 1 if described.crop == "center" else 4 / 3
    needed = int(images * described.resolution**2 * described.channels * share)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"OUT={out!r} needs {size(needed)} more, and {size(free)} are free; make "
            "room, or give another directory."
        )


def sha256(path: str) -> str:
    """Returns the hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(count: int) -> str:
    """Returns a number of bytes for people."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB"


def _check_same(out: str, there: Description, wanted: Description) -> None:
    differing = [
        words
        if name in ("class_names", "contents")
        else f"{words} {getattr(there, name)!r}, not {getattr(wanted, name)!r}"
        for name, words in _FIXED.items()
        if getattr(there, name) != getattr(wanted, name)
    ]
    if differing:
        raise UserError(
            f"OUT={out!r} was begun otherwise ({'; '.join(differing)}); give another "
            "directory, or remove it to begin anew."
        )
