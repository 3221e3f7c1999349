"""A cache of the features of real images, which every run and step shares.

For each set, the cache directory holds `<key>.npy` (features), `<key>.labels.npy`, and
`<key>.npz` (mean and covariance, which pytorch-fid can read). The .npz is written last;
without it, the entry is incomplete and ignored.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.files import cache, whole
from sagan_jax.metrics import statistics_files
from sagan_jax.metrics.statistics import DEFAULT_ENCODER, Provenance, Statistics

Rows = NDArray[np.float32]
Labels = NDArray[np.int32]


def remembered(
    images: str, provenance: Provenance, measure: Callable[[], tuple[Rows, Labels]]
) -> tuple[Rows, Labels]:
    """Returns the features [N, d] and labels [N] of a set, from the cache if possible.

    Cached features are a memory map. If there is no home directory, or the cache
    directory is not writable, the features are computed and not cached.

    Args:
      images: digest of the images and their preprocessing; '' disables the cache.
      provenance: provenance of the features.
      measure: computes features and labels.
    """
    folder = cache.directory("references") if images else None
    if folder is None:
        return measure()
    place = folder / _key(images, provenance)
    found = _load(place)
    if found is not None:
        return found
    rows, labels = measure()
    with contextlib.suppress(OSError):  # a full disk must not end a run
        _save(place, rows, labels, provenance)
    return rows, labels


def _key(images: str, provenance: Provenance) -> str:
    # Anything that changes the features changes the key.
    made = dataclasses.asdict(provenance)
    if provenance.encoder == DEFAULT_ENCODER:
        del made["encoder"]  # earlier versions knew no other, and their caches stay
    facts = json.dumps([images, made])
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _load(place: Path) -> tuple[Rows, Labels] | None:
    """Returns the cached features and labels, or None if they are incomplete."""
    try:
        n = statistics_files.load(place.with_suffix(".npz")).n
        rows = np.load(place.with_suffix(".npy"), mmap_mode="r")
        labels = np.load(place.with_suffix(".labels.npy"))
    except (UserError, OSError, ValueError, EOFError):
        return None
    return (rows, labels) if len(rows) == len(labels) == n else None


def _save(place: Path, rows: Rows, labels: Labels, provenance: Provenance) -> None:
    for suffix, array in ((".npy", rows), (".labels.npy", labels)):
        with (
            whole.replacing(place.with_suffix(suffix)) as temporary,
            temporary.open("wb") as file,
        ):
            np.save(file, array)
    # Last, because _load takes it as the mark of a complete entry.
    statistics_files.save(place.with_suffix(".npz"), Statistics.of(rows, provenance))
