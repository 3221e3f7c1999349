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
    images = images.astype(np.float32) / 255.0
    scores = agreement.score(
        images,
        labels,
        distance=config.data.distance,
        difficulty=config.data.difficulty,
    )
    if generator.num_classes:
        scores["class_correctness"] = agreement.class_correctness(
            images,
            labels,
            num_classes=generator.num_classes,
            difficulty=config.data.difficulty,
        )
    return scores
