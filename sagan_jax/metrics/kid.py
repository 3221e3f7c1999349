"""The kernel inception distance: an unbiased squared MMD, so it may be negative.

Source: Binkowski et al. 2018, section 4, https://arxiv.org/abs/1801.01401
"""

import numpy as np
from numpy.typing import ArrayLike

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.rows import Doubles


def kernel_distance(
    real: ArrayLike,
    fake: ArrayLike,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Returns the mean over random subsets of the squared MMD, and its deviation.

    The kernel is (x.y / d + 1)^3. The deviation is that between subsets (divisor
    `subsets`), which overlap: it is no standard error.

    Args:
      real: features [N, d].
      fake: features [M, d].
      subsets: how many.
      subset_size: images of either set in each, drawn without replacement.
      seed: of the draws, which are torch-fidelity's.

    Raises:
      UserError: features of another kind or of different d, fewer images than
        subset_size, or no subset.
    """
    if subsets < 1 or subset_size < 2:
        raise UserError(
            f"subsets={subsets} of subset_size={subset_size} measure nothing; set them "
            "to at least 1 and 2."
        )
    real_rows, fake_rows = rows_lib.as_pair(real, fake, at_least=subset_size)
    draw = np.random.RandomState(seed)
    distances = []
    for _ in range(subsets):
        # Generated ones are drawn first: torch-fidelity's order of arguments.
        fakes = draw.choice(len(fake_rows), subset_size, replace=False)
        reals = draw.choice(len(real_rows), subset_size, replace=False)
        distances.append(
            _squared_mmd(
                real_rows[reals].astype(np.float64), fake_rows[fakes].astype(np.float64)
            )
        )
    return float(np.mean(distances)), float(np.std(distances))


def _squared_mmd(real: Doubles, fake: Doubles) -> float:
    """Returns the unbiased estimate: no image is compared with itself."""
    m = len(real)
    within = 0.0
    for rows in (real, fake):
        kernel = _kernel(rows, rows)
        within += float(kernel.sum() - np.trace(kernel)) / (m * (m - 1))
    return within - 2 * float(_kernel(real, fake).mean())


def _kernel(a: Doubles, b: Doubles) -> Doubles:
    kernel = a @ b.T
    kernel /= a.shape[1]
    kernel += 1
    return kernel * kernel * kernel  # ** 3 is far slower
