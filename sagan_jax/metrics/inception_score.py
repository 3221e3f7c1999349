"""The inception score: exp(mean KL(p(y|x) || p(y))) within each split, in float64.

It is high if a classifier is certain about each image and the predicted classes vary.
Implementations differ in the logits (with or without the bias of the last layer), the
order and number of splits, and the standard deviation, so each of these is an argument.
More splits bias the score down.

| implementation | splits | shuffle_seed | ddof | drop_remainder |
| torch-fidelity | 10 | 2020 | 0 | False |
| SAGAN's release, TF-GAN | 1 | None | 0 | - |
| BigGAN-PyTorch | 10 | None | 0 | True |
| StudioGAN | 10 | None | 1 | False |

Source: Salimans et al. 2016, section 4, https://arxiv.org/abs/1606.03498
"""

import itertools

import numpy as np
from numpy.typing import ArrayLike

from sagan_jax.errors import UserError
from sagan_jax.metrics import rows as rows_lib
from sagan_jax.metrics.measured import Sets
from sagan_jax.metrics.rows import Rows


def inception_score(
    logits: ArrayLike,
    splits: int = 10,
    shuffle_seed: int | None = 2020,
    *,
    ddof: int = 0,
    drop_remainder: bool = False,
) -> tuple[float, float]:
    """Returns the mean score over splits and its standard deviation over splits.

    Args:
      logits: logits [N, C] of the generated images.
      splits: number of consecutive parts, each scored separately.
      shuffle_seed: seed of the order before splitting; None keeps the order.
      ddof: 0 divides the variance by the number of splits, 1 by one less.
      drop_remainder: whether every part has N // splits images and the rest is unused.
        Otherwise all images are used, and the sizes of parts differ by at most one.

    Raises:
      UserError: invalid logits, fewer images than splits, or too few splits for a
        standard deviation.
    """
    if splits < 1 or ddof not in (0, 1) or splits <= ddof:
        raise UserError(
            f"splits={splits} with ddof={ddof} has no standard deviation; use splits "
            "of 1 or more with ddof=0, and of 2 or more with ddof=1."
        )
    rows = rows_lib.as_rows(logits, "logits", at_least=splits)
    n = len(rows)
    order = np.arange(n)
    if shuffle_seed is not None:
        # RandomState, because torch-fidelity shuffles with it.
        order = np.random.RandomState(shuffle_seed).permutation(n)
    used = n - n % splits if drop_remainder else n
    edges = [i * used // splits for i in range(splits + 1)]
    scores = [_part_score(rows, order[a:b]) for a, b in itertools.pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores, ddof=ddof))


def score(sets: Sets) -> tuple[float, float]:
    """Returns the score and its deviation by the conventions of the protocol."""
    logits, protocol = sets.logits, sets.protocol
    return inception_score(
        logits,
        splits=min(protocol.splits, len(logits)),
        shuffle_seed=protocol.shuffle_seed,
        ddof=protocol.ddof,
    )


def _part_score(logits: Rows, part: np.ndarray) -> float:
    """Returns exp(mean_i sum_c p log p - sum_c q log q) with q = mean_i p.

    The exponent is the mean KL divergence, in a form that needs few rows at a time.
    """
    negative_entropy, total = 0.0, np.zeros(logits.shape[1])
    for start in range(0, len(part), rows_lib.BLOCK):
        rows = logits[part[start : start + rows_lib.BLOCK]].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)  # exp does not overflow
        p = np.exp(rows)
        normaliser = p.sum(axis=1, keepdims=True)
        p /= normaliser
        negative_entropy += float(np.sum(p * (rows - np.log(normaliser))))
        total += p.sum(axis=0)
    q = total / len(part)
    q = q[q > 0]  # x log x is 0 at 0
    return float(np.exp(negative_entropy / len(part) - np.sum(q * np.log(q))))
