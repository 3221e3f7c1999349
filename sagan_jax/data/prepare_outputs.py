"""The output directory of `prepare`: claiming it, resuming it, checking its files."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from sagan_jax.data import prepared
from sagan_jax.data.prepare_inputs import Input
from sagan_jax.data.prepared import Description, Shard
from sagan_jax.errors import UserError, naming
from sagan_jax.files import lock, whole

_SHARD_BYTES = 2**26  # the most work that a kill can cost
_MOST_SHARDS = 512  # a training process keeps a file open for each

_LOCK = ".lock"  # left by earlier versions

# Fields that must not change when a directory is resumed, in words for the user.
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
    """Returns the description of a directory to write, still without shards."""
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
    """Creates the directory and locks it for this process while the block runs.

    Raises:
      UserError: another process has locked it, it contains other files, or it cannot be
        created.
    """
    with writing(out):
        os.makedirs(out, exist_ok=True)
        names = os.listdir(out)
    others = [n for n in names if n != _LOCK and not n.endswith(whole.SUFFIX)]
    if others and not prepared.is_prepared(out):
        raise UserError(
            f"OUT={out!r} contains other files than prepared images, such as "
            f"{min(others)!r}; choose a new directory."
        )
    with contextlib.ExitStack() as stack:
        with naming("OUT", out):  # the block's own errors name other arguments
            stack.enter_context(lock.held(Path(out)))
        yield


@contextlib.contextmanager
def writing(out: str) -> Iterator[None]:
    """Turns an error of the disk into a UserError that names OUT."""
    try:
        yield
    # array_record raises RuntimeError for a full disk, when a file is closed.
    except (OSError, RuntimeError) as error:
        cause = str(error).split(";")[0].removeprefix("write() failed: ")
        remedy = "free some space and run the same command to resume"
        if isinstance(error, OSError):
            cause = error.strerror or str(error)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                remedy = "choose another directory"
        raise UserError(
            f"OUT={out!r} cannot be written to ({cause}); {remedy}."
        ) from None


def begin(out: str, wanted: Description) -> Description:
    """Returns the description to continue from, after writing it to the disk.

    Args:
      out: output directory.
      wanted: description of the complete directory.

    Raises:
      UserError: the directory was started from other images or with other settings.
    """
    described = wanted
    if prepared.is_prepared(out):
        with naming("OUT", out):
            found = prepared.read_description(out)
        if found.shards:
            _check_same(out, found, wanted)
            described = dataclasses.replace(found, command=wanted.command)
    with writing(out):
        prepared.write_description(out, described)
    return described


def pending(out: str, described: Description) -> list[int]:
    """Returns the numbers of the shards that are missing or damaged."""
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
    """Returns how a file differs from its description, or ''."""
    try:
        size = os.path.getsize(os.path.join(out, shard.name))
        if size != shard.bytes:
            return f"{size} bytes instead of {shard.bytes}"
        if sha256(os.path.join(out, shard.name)) != shard.sha256:
            return "its sha256 differs"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def check_space(out: str, described: Description, images: int) -> None:
    """Raises UserError if the disk has no space for `images` more images."""
    # Keeping the longer side of photographs takes about a third more.
    share = 1 if described.crop == "center" else 4 / 3
    needed = int(images * described.resolution**2 * described.channels * share)
    free = shutil.disk_usage(out).free
    if needed > free:
        raise UserError(
            f"OUT={out!r} needs {size(needed)} more, but only {size(free)} are free; "
            "free some space or choose another directory."
        )


def sha256(path: str) -> str:
    """Returns the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(count: int) -> str:
    """Returns a number of bytes in words."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.1f} kB"


def _check_same(out: str, found: Description, wanted: Description) -> None:
    differing = [
        words
        if name in ("class_names", "contents")
        else f"{words} {getattr(found, name)!r}, not {getattr(wanted, name)!r}"
        for name, words in _FIXED.items()
        if getattr(found, name) != getattr(wanted, name)
    ]
    if differing:
        raise UserError(
            f"OUT={out!r} was started with other arguments ({'; '.join(differing)}); "
            "choose another directory, or delete this one to start again."
        )
