"""Statistics in .npz files: the arrays of pytorch-fid, plus count and provenance.

pytorch-fid can read our files. Its own files can be read too, but have no provenance.
"""

import dataclasses
import json
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from sagan_jax.errors import UserError
from sagan_jax.files import whole
from sagan_jax.metrics.rows import Doubles
from sagan_jax.metrics.statistics import (
    DEFAULT_ENCODER,
    Provenance,
    Statistics,
    known_count,
)


def save(path: str | os.PathLike[str], statistics: Statistics) -> None:
    """Writes an .npz that pytorch-fid can read too.

    Raises:
      UserError: the count is unknown or below 2.
      OSError: the file is not writable; an existing file is unchanged.
    """
    n = known_count(statistics)
    arrays: dict[str, Any] = {"mu": statistics.mean, "sigma": statistics.cov}
    arrays["n"] = np.int64(n)
    if statistics.provenance is not None:
        fields = {**dataclasses.asdict(statistics.provenance), "n": n}
        arrays["provenance"] = np.array(json.dumps(fields))
    # An open file, because NumPy would append .npz to the temporary name.
    with whole.replacing(pathlib.Path(path)) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load(
    path: str | os.PathLike[str], *, assume: Provenance | None = None
) -> Statistics:
    """Returns the statistics of an .npz written by `save` or by pytorch-fid.

    Args:
      path: the file.
      assume: provenance for a file that has none. If the file has a provenance, it must
        be equal.

    Raises:
      UserError: the file does not exist, is damaged, or holds arrays that are not a
        mean and a covariance.
    """
    name = os.fspath(path)
    arrays = _arrays(name)
    for key in ("mu", "sigma"):
        if key not in arrays:
            raise UserError(
                f"{name!r} holds no array {key!r}; pass statistics written by this "
                "library or by pytorch-fid."
            )
    mean, cov = arrays["mu"], arrays["sigma"]
    _check_moments(name, mean, cov)
    n, provenance = _count(name, arrays), _provenance(name, arrays)
    if provenance is not None and assume not in (None, provenance):
        raise UserError(
            f"{name!r} has the provenance {provenance}, not {assume}; drop `assume`."
        )
    cov = cov.astype(np.float64)
    # Without a count, m2 holds the covariance itself; see Statistics.
    m2 = cov if n is None else cov * (n - 1)
    return Statistics(n, mean.astype(np.float64), m2, provenance or assume)


def _arrays(name: str) -> dict[str, np.ndarray]:
    if not os.path.isfile(name):
        raise UserError(f"{name!r} is not a file; pass an .npz of statistics.")
    try:
        # Opened here, because np.load leaves a damaged file open.
        with open(name, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise ValueError("it is not a complete zip file")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                keys = ("mu", "sigma", "n", "provenance")
                return {key: archive[key] for key in keys if key in archive.files}
    except Exception as error:  # a damaged zip raises nearly anything
        raise UserError(
            f"{name!r} is not a readable .npz ({error}); copy it again or recreate it."
        ) from error


def _check_moments(name: str, mean: np.ndarray, cov: np.ndarray) -> None:
    if mean.ndim != 1 or not len(mean) or cov.shape != (len(mean),) * 2:
        raise UserError(
            f"{name!r} holds mu of shape {mean.shape} and sigma of shape {cov.shape}, "
            "not [d] and [d, d]; recreate it."
        )
    for key, array in (("mu", mean), ("sigma", cov)):
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise UserError(
                f"{name!r} holds {key!r} with values that are not finite real numbers; "
                "recreate it."
            )
    # sigma may have been stored as float32, which moves eigenvalues by 1e-7.
    slack = 1e-5 * float(np.linalg.norm(cov.astype(np.float64)))
    symmetric = np.abs(cov - cov.T).max() <= slack
    if not symmetric or not _is_positive(cov.astype(np.float64), slack):
        raise UserError(
            f"{name!r} holds a sigma that is not a covariance (symmetric, without "
            "negative eigenvalues); recreate it."
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
            f"{name!r} holds n={n.tolist()!r}, not a count of at least 2; recreate it."
        )
    return int(n)


def _provenance(name: str, arrays: dict[str, np.ndarray]) -> Provenance | None:
    if "provenance" not in arrays:
        return None
    try:
        known = json.loads(str(arrays["provenance"]))
        # Files of earlier versions have no encoder, and are of the default one.
        defaults = {"encoder": DEFAULT_ENCODER}
        known = defaults | known
        fields = {f.name: known[f.name] for f in dataclasses.fields(Provenance)}
        if not all(isinstance(value, str) for value in fields.values()):
            raise TypeError("not all values are strings")
        if "n" in known and known["n"] != arrays.get("n"):
            raise ValueError(f"n={known['n']} differs from the array n")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{name!r} holds an invalid provenance ({type(error).__name__}: {error}); "
            "recreate it."
        ) from error
    return Provenance(**fields)
