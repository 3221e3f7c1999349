"""The kernel inception distance: an unbiased squared MMD, so it can be negative.

Source: Binkowski et al. 2018, section 4, https://arxiv.org/abs/1801.01401; the kernels
by name are those of torch-fidelity 0.4.0.
"""

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.measured import Sets
from sagan_jax.metrics.rows import Doubles

RBF_SIGMA = 10
"""Bandwidth of the kernel 'rbf' in `score`, the default of torch-fidelity."""

_SUBSET_SIZE = 1000


def kernel_distance(
    real: ArrayLike,
    fake: ArrayLike,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
    *,
    kernel: str = "poly",
    sigma: float = RBF_SIGMA,
) -> tuple[float, float]:
    """Returns the squared MMD over random subsets: mean and standard deviation.

    The kernel is (x.y / d + 1)^3 or exp(-|x - y|^2 / (2 sigma^2)). Only the polynomial
    one is KID; the other says whether two sets are equal, but depends on sigma. The
    deviation is taken between subsets, with divisor `subsets`. Subsets overlap, so it
    is not a standard error.

    Args:
      real: features [N, d].
      fake: features [M, d].
      subsets: number of subsets.
      subset_size: images drawn from each set per subset, without replacement.
      seed: seed of the draws; the draws are those of torch-fidelity.
      kernel: a name from KERNELS.
      sigma: bandwidth of 'rbf', in units of the features; 'poly' has none.

    Raises:
      UserError: invalid features, different d, fewer images than `subset_size`, no
        subset, an unknown kernel, or a sigma that is not positive.
    """
    check_kernel(kernel)
    if not 0 < sigma < np.inf:
        raise UserError(
            f"sigma={sigma} is not positive; choose a finite number above 0."
        )
    if subsets < 1 or subset_size < 2:
        raise UserError(
            f"subsets={subsets} and subset_size={subset_size} are too small; use at "
            "least 1 subset of 2 images."
        )
    real_rows, fake_rows = rows_lib.as_pair(real, fake, at_least=subset_size)
    kernel_of = functools.partial(KERNELS[kernel], sigma=sigma)
    draw = np.random.RandomState(seed)  # as in torch-fidelity
    distances = []
    for _ in range(subsets):
        # The generated set is drawn first, as in torch-fidelity.
        fakes = draw.choice(len(fake_rows), subset_size, replace=False)
        reals = draw.choice(len(real_rows), subset_size, replace=False)
        distances.append(
            _squared_mmd(
                real_rows[reals].astype(np.float64),
                fake_rows[fakes].astype(np.float64),
                kernel_of,
            )
        )
    return float(np.mean(distances)), float(np.std(distances))


def score(sets: Sets) -> tuple[float, float, int]:
    """Returns the KID, its deviation, and the subset size, at most 1000."""
    real, fake = sets.real_features, sets.fake.features
    size = min(_SUBSET_SIZE, len(real), len(fake))
    found = kernel_distance(real, fake, subset_size=size, kernel=sets.kid_kernel)
    return *found, size


def check_kernel(name: str) -> None:
    """Raises UserError if no kernel has this name."""
    if name not in KERNELS:
        raise UserError(
            f"kid_kernel={name!r} is not known; choose among {', '.join(KERNELS)}."
        )


def _squared_mmd(
    real: Doubles, fake: Doubles, kernel_of: Callable[[Doubles, Doubles], Doubles]
) -> float:
    """Returns the unbiased estimate, which compares no image with itself."""
    m = len(real)
    within = 0.0
    for rows in (real, fake):
        kernel = kernel_of(rows, rows)
        within += float(kernel.sum() - np.trace(kernel)) / (m * (m - 1))
    return within - 2 * float(kernel_of(real, fake).mean())


def _polynomial(a: Doubles, b: Doubles, *, sigma: float) -> Doubles:
    del sigma  # for the other kernel
    kernel = a @ b.T
    kernel /= a.shape[1]
    kernel += 1
    return kernel * kernel * kernel  # ** 3 is far slower


def _gaussian(a: Doubles, b: Doubles, *, sigma: float) -> Doubles:
    kernel = a @ b.T
    kernel *= 2
    kernel -= np.einsum("nd,nd->n", a, a)[:, None]
    kernel -= np.einsum("nd,nd->n", b, b)
    kernel /= 2 * sigma**2
    return np.exp(kernel, out=kernel)


KERNELS: dict[str, Callable[..., Doubles]] = {"poly": _polynomial, "rbf": _gaussian}
"""Functions of rows [N, d], rows [M, d] and sigma to values [N, M], by name."""
