"""The inception score: how sure a classifier is of each image, and how varied of all.

exp(mean KL(p(y|x) || p(y))) within each split, in float64. Implementations differ in
the logits (with or without the bias of the last layer), in the order and number of
splits and in the deviation, so each of these is an argument. More splits bias it down.

| as in | splits | shuffle_seed | ddof | drop_remainder |
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
      logits: [N, C], of generated images.
      splits: consecutive parts, of which each is scored by itself.
      shuffle_seed: of the order before splitting; None: as they come.
      ddof: 0 divides the variance by the number of splits, 1 by one less.
      drop_remainder: parts of N // splits, and the rest unused; otherwise all are used
        and parts differ by one.

    Raises:
      UserError: logits of another kind, fewer than splits, or splits that have no
        deviation.
    """
    if splits < 1 or ddof not in (0, 1) or splits <= ddof:
        raise UserError(
            f"splits={splits} have no deviation with ddof={ddof}; set splits to "
            "1 or more, and to 2 or more with ddof=1."
        )
    rows = rows_lib.as_rows(logits, "logits", at_least=splits)
    n = len(rows)
    order = np.arange(n)
    if shuffle_seed is not None:
        order = np.random.RandomState(shuffle_seed).permutation(n)
    used = n - n % splits if drop_remainder else n
    edges = [i * used // splits for i in range(splits + 1)]
    scores = [_score(rows, order[a:b]) for a, b in itertools.pairwise(edges)]
    return float(np.mean(scores)), float(np.std(scores, ddof=ddof))


def _score(logits: Rows, part: np.ndarray) -> float:
    """Returns exp(mean_i sum_c p log p - sum_c q log q) with q = mean_i p.

    That is the mean KL divergence, and asks for a few rows at a time only.
    """
    negative_entropy, total = 0.0, np.zeros(logits.shape[1])
    for start in range(0, len(part), rows_lib.BLOCK):
        rows = logits[part[start : start + rows_lib.BLOCK]].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        p = np.exp(rows)
        normaliser = p.sum(axis=1, keepdims=True)
        p /= normaliser
        negative_entropy += float(np.sum(p * (rows - np.log(normaliser))))
        total += p.sum(axis=0)
    q = total / len(part)
    q = q[q > 0]  # x log x is 0 at 0
    return float(np.exp(negative_entropy / len(part) - np.sum(q * np.log(q))))
