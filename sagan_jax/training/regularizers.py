"""Regularizers of the discriminator, as functions of logits or of a judging function.

A judging function maps images [N, H, W, C] to logits [N]. The logit of an image must
not depend on the other images of a batch, so a discriminator with batch norm has no
gradient penalty in this sense.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from sagan_jax.config import RegularizerConfig

Judge = Callable[[jax.Array], jax.Array]
Terms = dict[str, tuple[float, jax.Array]]
"""Terms of the discriminator's loss by name: a weight and a value []."""

STREAMS = (2, 3, 4)
"""Folded into the key of an update, of which latents and labels use parts 0 and 1."""


class Labelled(NamedTuple):
    """Images and their labels.

    Attributes:
      images: [N, H, W, C] in [-1, 1].
      labels: [N] int32; None for a discriminator without classes.
    """

    images: jax.Array
    labels: jax.Array | None


def has_penalties(settings: RegularizerConfig) -> bool:
    """Returns whether a penalty on gradients is on."""
    return bool(settings.r1 or settings.r2 or settings.gradient_penalty)


def penalties(
    settings: RegularizerConfig,
    judge: Callable[[jax.Array, jax.Array | None], jax.Array],
    augmented: Callable[[jax.Array, jax.Array], jax.Array],
    real: Labelled,
    fake: Labelled,
    key: jax.Array,
    step: jax.Array,
) -> Terms:
    """Returns the penalties on gradients that are on: r1, r2, gradient.

    The gradients of R1 and R2 are taken with respect to the images before augmentation,
    that of WGAN-GP at what D sees, with the labels of the real images.

    Args:
      settings: the weights.
      judge: maps what D sees, and labels, to logits [N].
      augmented: maps images and a key to what D sees of them.
      real: the real images.
      fake: the fake images, without gradient.
      key: the key of the update.
      step: [] int32, the number of steps so far.
    """
    keys = [jax.random.fold_in(key, stream) for stream in STREAMS]

    def of_images(side: Labelled, key: jax.Array) -> jax.Array:
        return zero_centred(
            lambda images: judge(augmented(images, key), side.labels), side.images
        )

    def between() -> jax.Array:
        return one_centred(
            lambda images: judge(images, real.labels),
            augmented(real.images, keys[0]),
            augmented(fake.images, keys[1]),
            jax.random.uniform(keys[2], real.images.shape[:1], real.images.dtype),
        )

    found: Terms = {}
    for name, weight, count, term in (
        ("r1", settings.r1, settings.every, lambda: of_images(real, keys[0])),
        ("r2", settings.r2, settings.every, lambda: of_images(fake, keys[1])),
        ("gradient", settings.gradient_penalty, 1, between),
    ):
        if weight:
            found[name] = (weight * count, every(step, count, term))
    return found


def lecam_terms(
    settings: RegularizerConfig,
    averages: dict[str, jax.Array],
    real: jax.Array,
    fake: jax.Array,
    step: jax.Array,
) -> tuple[Terms, dict[str, jax.Array]]:
    """Returns LeCam's term, if it is on, and the averages after this batch.

    Args:
      settings: the weight, the decay and the first step.
      averages: the averages before this batch; {} without LeCam.
      real: logits of real images, [N].
      fake: logits of fake images, [N].
      step: [] int32, the number of steps so far.
    """
    if not settings.lecam:
        return {}, averages
    started = step >= settings.lecam_start
    averages = moved_averages(averages, real, fake, settings.lecam_decay, started)
    value = jnp.where(started, lecam(averages, real, fake), 0.0)
    return {"lecam": (settings.lecam, value)}, averages


def squared_slopes(judge: Judge, images: jax.Array) -> jax.Array:
    """Returns [N], the squared norm of the gradient of each logit by its image."""
    gradients = jax.grad(lambda images: judge(images).sum())(images)
    return jnp.square(gradients).sum(tuple(range(1, images.ndim)))


def zero_centred(judge: Judge, images: jax.Array) -> jax.Array:
    """Returns 1/2 mean |gradient|^2: R1 for real images, R2 for fake ones.

    Reference: Mescheder et al. 2018, https://arxiv.org/abs/1801.04406, without the
      weight.
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
      without the weight.
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
