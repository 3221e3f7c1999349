"""Scores of synthetic far pairs, which need no network and no weights."""

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
) -> dict[str, Any]:
    """Returns agreement and class correctness of `count` images of balanced classes.

    No classifier and no weights are needed: see metrics.agreement. 'class_correctness'
    is left out where the generator is unconditional.
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
    images = np.concatenate(list(batches)).astype(np.float32) / 255.0
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
