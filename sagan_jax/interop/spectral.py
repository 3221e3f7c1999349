"""The `u` from which our power iteration arrives at another implementation's sigma.

PyTorch's own spectral norm evaluates with the stored u and v as they are. Ours always
makes one iteration from a stored u, so that u must be one that leads to their v.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_RANK = 1e-12  # of the largest eigenvalue of M^T M or M M^T
_STEPS = 60  # of a bisection: more than float64 can tell apart


class Start(NamedTuple):
    """A vector to start from.

    Attributes:
      u: [out] float32.
      miss: by how much our sigma differs from the wanted one, relative to that;
        infinite if the kernel has no sigma in float32.
    """

    u: NDArray[np.float32]
    miss: float


def sigma_after_iteration(matrix: Array, u: Array) -> float:
    """Returns sigma as networks.ops.spectral_normalize computes it.

    Args:
      matrix: [in, out].
      u: [out].
    """
    v = _unit(matrix @ u)
    return float(np.linalg.norm(v @ matrix))


def start(matrix: Array, v: Array, sigma: float) -> Start:
    """Returns the u whose iteration gives `sigma`, by way of `v` where that can be.

    Our sigma is |v M| for v = n(M u). If the given v leads to another sigma, v is
    turned towards a singular vector until it fits.

    Args:
      matrix: [in, out], the kernel M.
      v: [in], as stored.
      sigma: the wanted sigma, positive.
    """
    tall = matrix.shape[1] <= matrix.shape[0]
    # By way of the smaller product with itself: a first dense layer is 128 by 16384.
    eigenvalues, vectors = np.linalg.eigh(
        matrix.T @ matrix if tall else matrix @ matrix.T
    )
    kept = eigenvalues > _RANK * max(eigenvalues[-1], 0.0)
    if not kept.any():
        return Start(np.ones(matrix.shape[1], np.float32), 1.0)
    values, vectors = np.sqrt(eigenvalues[kept]), vectors[:, kept]
    # In coordinates of the left singular vectors all of this is diagonal.
    place = _unit(vectors.T @ (v @ matrix) / values if tall else vectors.T @ v)
    if not place.any():
        place = np.eye(len(values))[-1]
    reached = float(np.linalg.norm(values * place))
    if abs(reached - sigma) > 1e-7 * sigma:
        place = _turned(place, values, sigma)
    with np.errstate(over="ignore", invalid="ignore"):  # kernels beyond float32
        if tall:
            solved = vectors @ (place / values)
        else:
            solved = (vectors @ (place / values**2)) @ matrix
        u = solved.astype(np.float32)
        found = sigma_after_iteration(matrix, u.astype(np.float64))
    miss = abs(found - sigma) / sigma
    return Start(u, miss if np.isfinite(miss) else np.inf)


def _turned(place: Array, values: Array, sigma: float) -> Array:
    """Returns the unit vector between `place` and an axis with |values * .| = sigma."""
    axis = np.zeros_like(place)
    if np.linalg.norm(values * place) < sigma:
        axis[-1] = 1.0
    else:
        # Not the smallest one: its u would be long, and lose digits.
        axis[max(0, int(np.searchsorted(values, 0.9 * sigma)) - 1)] = 1.0
    low, high = 0.0, 1.0
    rises = np.linalg.norm(values * axis) > np.linalg.norm(values * place)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        now = np.linalg.norm(values * _unit((1 - middle) * place + middle * axis))
        if (now < sigma) == rises:
            low = middle
        else:
            high = middle
    return _unit((1 - low) * place + low * axis)


def _unit(vector: Array) -> Array:
    return vector / max(float(np.linalg.norm(vector)), 1e-300)
