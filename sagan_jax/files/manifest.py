"""Hashes of the files of a directory, to tell whether it is still as it was written.

A disk can return other bytes than it was given, and array formats need not notice. The
manifest lies in the directory that it describes, so that both are copied, moved and
removed together.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from sagan_jax.files import whole

NAME = "manifest.json"


def write(folder: Path) -> None:
    """Writes the manifest of a directory whose files are complete."""
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _is_manifest(path, folder)
    }
    whole.write_text(folder / NAME, json.dumps({"files": files}, indent=1))


def damage(folder: Path, needed: Sequence[str] = ()) -> str:
    """Returns what is wrong with a directory, in words; '' if nothing is known.

    Without a manifest, a directory is known to be damaged if it is empty or lacks a
    needed file. Files that the manifest does not list are ignored.

    Args:
      folder: the directory.
      needed: names of files that it must have, and its manifest must list.
    """
    try:
        if not any(folder.iterdir()):
            return "it is empty"
        for name in needed:
            if not (folder / name).is_file():
                return f"{name} is missing"
        if not (folder / NAME).exists():
            return ""
        files = _read(folder / NAME)
        if files is None:
            return f"{NAME} is damaged"
        for name in needed:
            if name not in files:
                return f"{NAME} is damaged: it does not list {name}"
        # Sizes first: they cost nothing, and a file cut short is found at once.
        for name, (size, _) in files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if (found := (folder / name).stat().st_size) != size:
                return f"{name} has {found} bytes instead of {size}"
        for name, (_, digest) in files.items():
            if _sha256(folder / name) != digest:
                return f"{name} has changed"
    except OSError as error:
        return f"{error.strerror or type(error).__name__}: {error.filename or folder}"
    return ""


def digest(folder: Path) -> str:
    """Returns the sha256 of a directory's manifest; '' if there is none."""
    path = folder / NAME
    return _sha256(path) if path.is_file() else ""


def _is_manifest(path: Path, folder: Path) -> bool:
    """Returns whether `path` is the manifest, or one that a kill cut short."""
    return path.parent == folder and path.name.startswith(NAME)


def _read(path: Path) -> dict[str, tuple[int, str]] | None:
    """Returns size and hash by file name; None if the manifest itself is damaged."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        if not all(map(_is_inside, files)):
            return None
        return {n: (int(f["size"]), str(f["sha256"])) for n, f in files.items()} or None
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    except (RecursionError, OverflowError):  # lists in lists, or a size of 1e999
        return None


def _is_inside(name: str) -> bool:
    """Returns whether a name can be one of a file that `write` has listed."""
    parts = name.split("/")
    return name.isprintable() and len(name) < 1000 and not {"", "..", "."} & {*parts}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
