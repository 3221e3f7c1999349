"""Checks once whether each image can be read, and caches the results.

The cache is one JSON file for each data set, in the user's cache directory and never in
the data set. A result is valid until the file's stamp or Pillow's version changes.
"""

import hashlib
import io
import json
import os
import pathlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import PIL
from PIL import UnidentifiedImageError
from tqdm import tqdm

from sagan_jax.data import transforms
from sagan_jax.data.archive import Archive, Stamp
from sagan_jax.files import cache, whole

_MADE_BY = f"2, Pillow {PIL.__version__}"  # 2 is the version of the check
_PORTION = 4096  # images given to the threads at once, and the most a Ctrl-C loses

Results = dict[str, tuple[Stamp, str]]
"""For each image, the stamp of the checked file and why it cannot be read, or ''."""


class Verdicts(NamedTuple):
    """The outcome of a check.

    Attributes:
      causes: for each unreadable image, why it cannot be read.
      trouble: why the results could not be cached, or ''.
    """

    causes: dict[str, str]
    trouble: str


def examine(archive: Archive, images: dict[str, Stamp]) -> Verdicts:
    """Returns which images cannot be read; checks only those without a cached result.

    Args:
      archive: files of the data set.
      images: stamp of each image, by name.
    """
    place = cache_file(archive.root)
    cached = _load(place, archive.root)
    known = {
        name: cached[name]
        for name, stamp in images.items()
        if name in cached and cached[name][0] == stamp
    }
    causes = {name: cause for name, (_, cause) in known.items() if cause}
    new = [name for name in images if name not in known]
    trouble = ""
    try:
        for name, error in _check_all(archive, new):
            cause = "" if error is None else cause_of(error)
            if cause:
                causes[name] = cause
            if not _is_temporary(error):
                known[name] = images[name], cause
    finally:  # an interrupted check keeps its results so far
        if known != cached:
            trouble = _save(place, archive.root, known)
    return Verdicts(causes, trouble)


def cause_of(error: Exception) -> str:
    """Returns why a file cannot be read, in a few words."""
    if isinstance(error, UnidentifiedImageError):
        return "its format is not known"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def cache_file(root: str) -> pathlib.Path | None:
    """Returns the cache file for the data set `root`; None without a home directory."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    folder = cache.directory("folders")
    return folder / f"{digest}.json" if folder else None


def _check_all(
    archive: Archive, names: list[str]
) -> Iterator[tuple[str, Exception | None]]:
    def check(name: str) -> Exception | None:
        try:
            transforms.check(io.BytesIO(archive.read(name)))
        # Pillow's decoders raise nearly anything on damaged files.
        except Exception as error:
            return error
        return None

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(
            total=len(names),
            desc="checking images",
            unit="image",
            delay=3,  # seconds: a small folder needs no bar
            leave=False,
        ) as bar,
    ):
        for start in range(0, len(names), _PORTION):
            portion = names[start : start + _PORTION]
            for name, error in zip(portion, pool.map(check, portion), strict=True):
                bar.update()
                yield name, error


def _is_temporary(error: Exception | None) -> bool:
    """Returns whether the system failed rather than the file."""
    system = isinstance(error, OSError) and error.errno is not None
    return system or isinstance(error, MemoryError)


def _load(place: pathlib.Path | None, root: str) -> Results:
    """Returns the cached results; empty if they are missing, damaged or outdated."""
    if place is None:
        return {}
    try:
        content = json.loads(place.read_bytes())
        if (content["made_by"], content["root"]) != (_MADE_BY, os.path.realpath(root)):
            return {}
        return {
            str(name): ((int(size), int(mark)), str(cause))
            for name, (size, mark, cause) in content["images"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _save(place: pathlib.Path | None, root: str, results: Results) -> str:
    """Writes the cache file; returns why that failed, or ''."""
    if place is None:
        return "there is no home directory"
    content = {
        "root": os.path.realpath(root),
        "made_by": _MADE_BY,
        "images": {name: (*stamp, cause) for name, (stamp, cause) in results.items()},
    }
    try:
        whole.write_text(place, json.dumps(content, separators=(",", ":")))
    except OSError as error:
        return f"{str(place.parent)!r}: {error.strerror}"
    return ""
