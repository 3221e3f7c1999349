"""Hashes of the files of a directory: whether it is still as it was written.

A disk may give back other bytes than it took, and array formats need not notice. The
manifest lies in its directory, to be copied, moved and removed with it.
"""

import hashlib
import json
import os
from pathlib import Path

NAME = "manifest.json"


def write(folder: Path) -> None:
    """Writes the manifest of a directory that is whole, beside and renamed."""
    files = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (NAME, _BESIDE)
    }
    beside = folder / _BESIDE
    with beside.open("w", encoding="utf-8") as file:
        json.dump({"files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())  # renamed before it is written, it could be empty
    beside.replace(folder / NAME)


def damage(folder: Path) -> str:
    """Returns what is wrong with a directory, in words; '' where nothing is known.

    Without a manifest only an empty directory is known to be damaged. Files that the
    manifest does not name are no damage.
    """
    try:
        if not any(folder.iterdir()):
            return "it is empty"
        if not (folder / NAME).exists():
            return ""
        files = _read(folder / NAME)
        if files is None:
            return f"{NAME} cannot be read"
        # Sizes first: they cost nothing, and a file cut short is found at once.
        for name, (size, _) in files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if (found := (folder / name).stat().st_size) != size:
                return f"{name} has {found} bytes of {size}"
        for name, (_, digest) in files.items():
            if _sha256(folder / name) != digest:
                return f"{name} has changed"
    except OSError as error:
        return f"{error.strerror or type(error).__name__}: {error.filename or folder}"
    return ""


_BESIDE = NAME + ".tmp"


def _read(path: Path) -> dict[str, tuple[int, str]] | None:
    """Returns size and hash by name; None where the manifest is damaged itself."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {n: (int(f["size"]), str(f["sha256"])) for n, f in files.items()} or None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
