"""Features of real images, remembered: they are the same for every run and step.

For each set there are, in the user's cache directory, `<key>.npy` with the features,
`<key>.labels.npy`, and `<key>.npz` with mean and covariance, which pytorch-fid reads
too; that is written last, and without it the others do not count.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.metrics import statistics_files
from sagan_jax.metrics.statistics import Provenance, Statistics

Rows = NDArray[np.float32]
Labels = NDArray[np.int32]


def remembered(
    images: str, provenance: Provenance, measure: Callable[[], tuple[Rows, Labels]]
) -> tuple[Rows, Labels]:
    """Returns the features [N, d] and labels [N] of a set, measured once.

    What is remembered is a memory map. Where it cannot be written, nothing is said and
    the next run measures again.

    Args:
      images: digest of the images and of what was done to them; '' for one that is not
        known, which is not remembered.
      provenance: of the features.
      measure: takes them.
    """
    if not images:
        return measure()
    place = cache_dir() / _key(images, provenance)
    found = _load(place)
    if found is not None:
        return found
    rows, labels = measure()
    with contextlib.suppress(OSError):
        _save(place, rows, labels, provenance)
    return rows, labels


def statistics_file(images: str, provenance: Provenance) -> Path:
    """Returns where mean and covariance of a remembered set lie."""
    return cache_dir() / f"{_key(images, provenance)}.npz"


def cache_dir() -> Path:
    """Returns where sets are remembered: $XDG_CACHE_HOME or ~/.cache, and within."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the standard says to ignore relative ones
        base = os.path.expanduser("~/.cache")
    return Path(base) / "sagan_jax" / "references"


def _key(images: str, provenance: Provenance) -> str:
    facts = json.dumps([images, dataclasses.asdict(provenance)])
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _load(place: Path) -> tuple[Rows, Labels] | None:
    """Returns what is remembered; None if it is not, or not whole."""
    try:
        n = statistics_files.load(place.with_suffix(".npz")).n
        rows = np.load(place.with_suffix(".npy"), mmap_mode="r")
        labels = np.load(place.with_suffix(".labels.npy"))
    except (UserError, OSError, ValueError, EOFError):
        return None
    return (rows, labels) if len(rows) == len(labels) == n else None


def _save(place: Path, rows: Rows, labels: Labels, provenance: Provenance) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    for suffix, array in ((".npy", rows), (".labels.npy", labels)):
        handle, beside = tempfile.mkstemp(dir=place.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, array)
            os.replace(beside, place.with_suffix(suffix))
        except BaseException:
            os.unlink(beside)
            raise
    statistics_files.save(place.with_suffix(".npz"), Statistics.of(rows, provenance))
