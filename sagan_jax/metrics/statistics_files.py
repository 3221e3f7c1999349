"""Statistics as an npz: pytorch-fid's arrays, with the count and provenance beside.

It reads our files, and we read its own, which do not say what they are of.
"""

import dataclasses
import json
import os
import pathlib
import tempfile
import zipfile
from typing import Any

import numpy as np

from sagan_jax.errors import UserError
from sagan_jax.metrics.rows import Doubles
from sagan_jax.metrics.statistics import Provenance, Statistics, known_count


def save(path: str | os.PathLike[str], statistics: Statistics) -> None:
    """Writes an npz that pytorch-fid reads too; beside and renamed, never half a file.

    Raises:
      UserError: the count is not known, or below 2.
    """
    n = known_count(statistics)
    arrays: dict[str, Any] = {"mu": statistics.mean, "sigma": statistics.cov}
    arrays["n"] = np.int64(n)
    if statistics.provenance is not None:
        fields = {**dataclasses.asdict(statistics.provenance), "n": n}
        arrays["provenance"] = np.array(json.dumps(fields))
    place = pathlib.Path(path)
    handle, beside = tempfile.mkstemp(dir=place.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())  # renamed before it is written, it could be empty
        os.chmod(beside, 0o644)  # mkstemp lets nobody else read
        os.replace(beside, place)
    except BaseException:
        os.unlink(beside)
        raise


def load(
    path: str | os.PathLike[str], *, assume: Provenance | None = None
) -> Statistics:
    """Returns the statistics of an npz written by `save` or by pytorch-fid.

    Args:
      path: of the file.
      assume: what a file without provenance is; without it that stays unknown. A file
        that says itself what it is must say the same.

    Raises:
      UserError: no such file, a damaged one, or arrays that are no mean and covariance.
    """
    name = os.fspath(path)
    arrays = _arrays(name)
    for key in ("mu", "sigma"):
        if key not in arrays:
            raise UserError(
                f"path={name!r} holds no array {key!r}; pass statistics written by "
                "this library or by pytorch-fid."
            )
    mean, cov = arrays["mu"], arrays["sigma"]
    _check_moments(name, mean, cov)
    n, provenance = _count(name, arrays), _provenance(name, arrays)
    if provenance is not None and assume not in (None, provenance):
        raise UserError(
            f"path={name!r} says that it is {provenance}, not {assume}; leave "
            "`assume` out."
        )
    cov = cov.astype(np.float64)
    m2 = cov if n is None else cov * (n - 1)
    return Statistics(n, mean.astype(np.float64), m2, provenance or assume)


def _arrays(name: str) -> dict[str, np.ndarray]:
    if not os.path.isfile(name):
        raise UserError(f"path={name!r} is not a file; pass an npz of statistics.")
    try:
        # Opened here, since np.load leaves a damaged file open.
        with open(name, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is not a whole zip file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                keys = ("mu", "sigma", "n", "provenance")
                return {key: archive[key] for key in keys if key in archive.files}
    except Exception as error:  # a damaged zip raises nearly anything
        raise UserError(
            f"path={name!r} cannot be read as an npz ({error}); copy or make it again."
        ) from error


def _check_moments(name: str, mean: np.ndarray, cov: np.ndarray) -> None:
    if mean.ndim != 1 or not len(mean) or cov.shape != (len(mean),) * 2:
        raise UserError(
            f"path={name!r} holds mu of shape {mean.shape} and sigma of shape "
            f"{cov.shape}, not [d] and [d, d]; make it again."
        )
    for key, array in (("mu", mean), ("sigma", cov)):
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(
                f"path={name!r} holds NaN, infinite or no real numbers in {key!r}; "
                "make it again from images that are whole."
            )
    # sigma may have been kept as float32, whose rounding moves eigenvalues by 1e-7.
    slack = 1e-5 * float(np.linalg.norm(cov.astype(np.float64)))
    symmetric = np.abs(cov - cov.T).max() <= slack
    if not symmetric or not _is_positive(cov.astype(np.float64), slack):
        raise UserError(
            f"path={name!r} holds a sigma that is not a covariance (symmetric, without "
            "negative eigenvalues); make it again."
        )


def _is_positive(cov: Doubles, slack: float) -> bool:
    try:
        np.linalg.cholesky(cov + max(slack, np.finfo(float).tiny) * np.eye(len(cov)))
    except np.linalg.LinAlgError:
        return False
    return True


def _count(name: str, arrays: dict[str, np.ndarray]) -> int | None:
    if "n" not in arrays:
        return None
    n = arrays["n"]
    if n.shape != () or n.dtype.kind not in "iu" or n < 2:
        raise UserError(
            f"path={name!r} holds n={n.tolist()!r}, not a count of at least 2; make it "
            "again."
        )
    return int(n)


def _provenance(name: str, arrays: dict[str, np.ndarray]) -> Provenance | None:
    if "provenance" not in arrays:
        return None
    try:
        known = json.loads(str(arrays["provenance"]))
        fields = {f.name: known[f.name] for f in dataclasses.fields(Provenance)}
        if not all(isinstance(value, str) for value in fields.values()):
            raise TypeError("not all are texts")
        if "n" in known and known["n"] != arrays.get("n"):
            raise ValueError(f"n={known['n']} is not the array n")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"path={name!r} holds a provenance that cannot be read "
            f"({type(error).__name__}: {error}); make it again."
        ) from error
    return Provenance(**fields)
