"""Regularizers of the discriminator, as functions of logits or of a judging function.

A judging function maps images [N, H, W, C] to logits [N]. The logit of an image must
not depend on the other images of a batch, so a discriminator with batch norm has no
gradient penalty in this sense.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

Judge = Callable[[jax.Array], jax.Array]


def squared_slopes(judge: Judge, images: jax.Array) -> jax.Array:
    """Returns [N], the squared norm of the gradient of each logit by its image."""
    gradients = jax.grad(lambda images: judge(images).sum())(images)
    return jnp.square(gradients).sum(tuple(range(1, images.ndim)))


def zero_centred(judge: Judge, images: jax.Array) -> jax.Array:
    """Returns 1/2 mean |gradient|^2: R1 for real images, R2 for fake ones.

    Reference: Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, equations 9
      and 10, without their weight.
    """
    return 0.5 * squared_slopes(judge, images).mean()


def one_centred(
    judge: Judge, real: jax.Array, fake: jax.Array, weights: jax.Array
) -> jax.Array:
    """Returns mean (|gradient| - 1)^2 between real and fake images.

    Args:
      judge: the judging function.
      real: [N, H, W, C].
      fake: [N, H, W, C].
      weights: [N], from U(0, 1): each gradient is taken at
        weight * real + (1 - weight) * fake.

    Reference: Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3,
      without its weight.
    """
    chex.assert_equal_shape([real, fake])
    chex.assert_shape(weights, (real.shape[0],))
    weights = weights.reshape(-1, *[1] * (real.ndim - 1))
    squares = squared_slopes(judge, weights * real + (1.0 - weights) * fake)
    # The root has no derivative at 0, where a ReLU network may well be flat.
    flat = squares == 0.0
    norms = jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squares)))
    return jnp.square(norms - 1.0).mean()


def every(step: jax.Array, count: int, term: Callable[[], jax.Array]) -> jax.Array:
    """Returns `term()` in every `count`-th step, and 0 in the others.

    The last of each `count` steps has the term, so that a log at multiples of `count`
    shows it.

    Args:
      step: [] int32, the number of steps so far.
      count: 1 or more; for 1 the term is computed without a branch.
      term: returns a scalar.
    """
    if count == 1:
        return term()
    shape = jax.eval_shape(term)
    return jax.lax.cond(
        (step + 1) % count == 0, term, lambda: jnp.zeros(shape.shape, shape.dtype)
    )


def no_averages(dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    """Returns LeCam's averages before the first step."""
    return {"real": jnp.zeros((), dtype), "fake": jnp.zeros((), dtype)}


def moved_averages(
    averages: dict[str, jax.Array],
    real: jax.Array,
    fake: jax.Array,
    decay: float,
    started: jax.Array,
) -> dict[str, jax.Array]:
    """Returns LeCam's averages of the mean logits after another batch.

    Args:
      averages: the averages so far, from `no_averages` or this function.
      real: logits of real images, [N].
      fake: logits of fake images, [N].
      decay: weight of the old average.
      started: [] bool; until then an average is the mean of the last batch.
    """
    now = {"real": real.mean(), "fake": fake.mean()}
    return jax.tree.map(
        lambda old, new: jnp.where(started, old + (1.0 - decay) * (new - old), new),
        averages,
        jax.lax.stop_gradient(now),
    )


def lecam(
    averages: dict[str, jax.Array], real: jax.Array, fake: jax.Array
) -> jax.Array:
    """Returns mean relu(real - average fake)^2 + mean relu(average real - fake)^2.

    The paper has squares without relu; both of its implementations have it, and so do
    we.

    Args:
      averages: the moving averages of the mean logits, without gradient.
      real: logits of real images, [N].
      fake: logits of fake images, [N].

    Reference: Tseng et al. 2021, https://arxiv.org/abs/2104.03310.
    """
    chex.assert_rank([real, fake], 1)
    averages = jax.lax.stop_gradient(averages)
    above = jax.nn.relu(real - averages["fake"])
    below = jax.nn.relu(averages["real"] - fake)
    return jnp.square(above).mean() + jnp.square(below).mean()
