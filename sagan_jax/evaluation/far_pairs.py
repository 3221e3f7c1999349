"""Scores of synthetic far pairs, which need no network and no weights."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sagan_jax.config import Config
from sagan_jax.evaluation import sampling
from sagan_jax.metrics import agreement
from sagan_jax.networks import Generator
from sagan_jax.training.state import Tree


def score_far_pairs(
    config: Config,
    generator: Generator,
    variables: dict[str, Tree],
    *,
    count: int,
    seed: int,
    truncation: float = 0.0,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Returns agreement and class correctness of `count` images of balanced classes.

    This needs no classifier and no weights; see metrics.agreement.

    Args:
      config: the run's config.
      generator: the module.
      variables: the generator's variables.
      count: number of generated images.
      seed: seed of the latents.
      truncation: bound on |z|; see `sampling.latents`.
      check: called before each batch; it may raise to stop the scoring.

    Returns:
      Scores by name; without 'class_correctness' if the generator is unconditional.
    """
    labels = sampling.balanced_labels(count, generator.num_classes)
    batches = sampling.sample(
        generator,
        variables,
        labels,
        seed=seed,
        batch_size=config.evaluation.batch_size,
        truncation=truncation,
    )
    images = np.concatenate(list(sampling.checked(batches, check)))
    return score_images(config, images, labels, num_classes=generator.num_classes)


def score_images(
    config: Config, images: np.ndarray, labels: np.ndarray, *, num_classes: int
) -> dict[str, Any]:
    """Returns agreement and class correctness of generated images.

    Args:
      config: the run's config.
      images: uint8 [N, H, W, 3].
      labels: [N] classes that they were generated for.
      num_classes: number of classes of the generator; 0: class correctness is left out.
    """
    floats = images.astype(np.float32) / 255.0
    scores: dict[str, Any] = agreement.score(
        floats,
        labels,
        distance=config.data.distance,
        difficulty=config.data.difficulty,
    )
    if num_classes:
        scores["class_correctness"] = agreement.class_correctness(
            floats,
            labels,
            num_classes=num_classes,
            difficulty=config.data.difficulty,
        )
    return scores
