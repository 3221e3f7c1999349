"""Which images can be read: each is tried once, and the verdict remembered.

The memory is one JSON file for each data set in the user's cache directory, never in
the data set. A verdict holds while the file's stamp and Pillow's version do.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import PIL
from PIL import UnidentifiedImageError
from tqdm import tqdm

from sagan_jax.data import transforms
from sagan_jax.data.archive import Archive, Stamp

_MADE_BY = f"1, Pillow {PIL.__version__}"  # the number is that of the check
_PORTION = 4096  # images given to the threads at once; also the most left at a Ctrl-C

Memory = dict[str, tuple[Stamp, str]]
"""By name: the stamp of the file that was tried, and why it cannot be read, or ''."""


class Verdicts(NamedTuple):
    """Why images cannot be read, by name, and why this cannot be remembered, or ''."""

    causes: dict[str, str]
    trouble: str


def examine(archive: Archive, images: dict[str, Stamp]) -> Verdicts:
    """Returns which of the images cannot be read; tries those not yet remembered."""
    place = cache_file(archive.root)
    memory = _load(place, archive.root)
    known = {
        name: memory[name]
        for name, stamp in images.items()
        if name in memory and memory[name][0] == stamp
    }
    causes = {name: cause for name, (_, cause) in known.items() if cause}
    new = [name for name in images if name not in known]
    trouble = ""
    try:
        for name, error in _try_all(archive, new):
            cause = "" if error is None else cause_of(error)
            if cause:
                causes[name] = cause
            if not _may_pass(error):
                known[name] = images[name], cause
    finally:  # what an interrupted start has seen need not be seen again
        if known != memory:
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
    """Returns where the verdicts on `root` are remembered; None without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the standard says to ignore relative ones
        base = os.path.expanduser("~/.cache")
        if not os.path.isabs(base):
            return None
    digest = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return pathlib.Path(base) / "sagan_jax" / "folders" / f"{digest}.json"


def _try_all(
    archive: Archive, names: list[str]
) -> Iterator[tuple[str, Exception | None]]:
    def attempt(name: str) -> Exception | None:
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
            for name, error in zip(portion, pool.map(attempt, portion), strict=True):
                bar.update()
                yield name, error


def _may_pass(error: Exception | None) -> bool:
    """Returns whether it is the system that failed, now, and not the file."""
    system = isinstance(error, OSError) and error.errno is not None
    return system or isinstance(error, MemoryError)


def _load(place: pathlib.Path | None, root: str) -> Memory:
    """Returns what is remembered; nothing if it is missing, damaged or too old."""
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


def _save(place: pathlib.Path | None, root: str, memory: Memory) -> str:
    """Writes beside and renames; returns why that cannot be, or ''."""
    if place is None:
        return "there is no home directory"
    content = {
        "root": os.path.realpath(root),
        "made_by": _MADE_BY,
        "images": {name: (*stamp, cause) for name, (stamp, cause) in memory.items()},
    }
    beside = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: several processes may be here at once.
        handle, beside = tempfile.mkstemp(dir=place.parent, suffix=".tmp")
        with open(handle, "w", encoding="ascii") as file:
            json.dump(content, file, separators=(",", ":"))
        os.replace(beside, place)
    except OSError as error:
        with contextlib.suppress(OSError, TypeError):
            os.unlink(beside)  # type: ignore[arg-type]
        return f"{str(place.parent)!r}: {error.strerror}"
    return ""
