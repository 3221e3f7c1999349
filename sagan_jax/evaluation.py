"""The evaluated generator of a run, and its scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax import checkpoint, run_config, sampling, visual
from sagan_jax import config as config_lib
from sagan_jax import state as state_lib
from sagan_jax.config import Config
from sagan_jax.metrics import agreement
from sagan_jax.networks import Generator
from sagan_jax.state import Tree


def evaluated_variables(
    config: Config, generator: Generator, live: dict[str, Tree], ema: Tree
) -> dict[str, Tree]:
    """Returns the variables that are sampled and scored, as config.evaluation says.

    Args:
      config: of the run.
      generator: the module.
      live: the live collections.
      ema: averaged params, {} where the run keeps none.
    """
    average = ema if config.evaluation.ema else {}
    variables = state_lib.generator_variables(generator, live, average)
    return _with_statistics(config, generator, variables)


def load(
    workdir: Path, step: int | None, changes: Mapping[str, Any] | None = None
) -> tuple[Generator, dict[str, Tree], Config, int]:
    """Returns generator, evaluated variables, the run's config, and the step.

    Args:
      workdir: of the run.
      step: None: the newest that is whole.
      changes: fields of config.evaluation, by name, that differ from the run's own.

    Raises:
      UserError: no run, or no such checkpoint, or a damaged one; a field out of range.
    """
    run = run_config.read(workdir)
    for name, value in (changes or {}).items():
        setattr(run.evaluation, name, value)
    config_lib.validate(run, with_data=False)
    generator, variables, _, step = checkpoint.load_with_step(
        workdir, step, run.evaluation.ema
    )
    return generator, _with_statistics(run, generator, variables), run, step


def sheet_labels(config: Config, classes: Sequence[int] = ()) -> np.ndarray:
    """Returns the labels of a sheet, a row of `evaluation.columns` for each class.

    Without `classes` these are `evaluation.rows` of them, spread over all.
    """
    count, rows = config.model.num_classes, config.evaluation.rows
    if classes:
        wanted = np.asarray(classes)
    elif count:
        wanted = np.linspace(0, count - 1, min(rows, count)).round().astype(int)
    else:
        wanted = np.zeros(rows, int)
    return np.repeat(wanted, config.evaluation.columns)


def sheet(
    config: Config,
    generator: Generator,
    variables: dict[str, Tree],
    classes: Sequence[int] = (),
) -> np.ndarray:
    """Returns a uint8 picture of samples; latents are those of every other sheet.

    Raises:
      UserError: a class that the generator does not have.
    """
    batches = sampling.sample(
        generator,
        variables,
        sheet_labels(config, classes),
        seed=config.evaluation.seed,
        batch_size=config.evaluation.batch_size,
        truncation=config.evaluation.truncation,
    )
    return visual.sheet(np.concatenate(list(batches)), config.evaluation.columns)


def _with_statistics(
    config: Config, generator: Generator, variables: dict[str, Tree]
) -> dict[str, Tree]:
    evaluation = config.evaluation
    if evaluation.statistics == "running":
        return variables
    return sampling.standing_statistics(
        generator,
        variables,
        seed=evaluation.seed,
        batches=evaluation.standing_batches,
        batch_size=evaluation.standing_batch_size,
        truncation=evaluation.truncation,
    )


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
