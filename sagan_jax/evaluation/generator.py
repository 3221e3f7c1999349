"""The generator that is sampled and scored: which parameters, which statistics."""

from collections.abc import Mapping
from typing import Any

import jax

from sagan_jax.config import Config
from sagan_jax.evaluation import sampling
from sagan_jax.networks import Generator
from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState, Tree
from sagan_jax.workdir.run import Run


def evaluated_variables(
    config: Config, generator: Generator, live: dict[str, Tree], average: Tree
) -> dict[str, Tree]:
    """Returns the variables to sample and score with, as config.evaluation asks.

    Args:
      config: the run's config.
      generator: the module.
      live: the live collections.
      average: averaged parameters, from state.average; {} for the live ones.
    """
    average = average if config.evaluation.ema else {}
    variables = state_lib.generator_variables(generator, live, average)
    return with_statistics(config, generator, variables)


def of_state(config: Config, generator: Generator, state: GanState) -> dict[str, Tree]:
    """Returns the variables to sample and score a running state with.

    They lie on one device of this process, because only one process draws pictures.
    """
    average = state_lib.average(config, state.ema, state.averages)
    live, average = jax.tree.map(
        lambda x: x.addressable_data(0), (state.generator.variables, average)
    )
    return evaluated_variables(config, generator, live, average)


def evaluated(config: Config, generator: Generator) -> Generator:
    """Returns the module to sample and score with, as config.evaluation asks.

    With `statistics='batch'` it normalises images with the moments of their own batch,
    as ports do that sample in training mode.
    """
    if config.evaluation.statistics != "batch":
        return generator
    return generator.clone(batch_moments=True)


def load(
    run: Run, step: int | str | None = None, changes: Mapping[str, Any] | None = None
) -> tuple[Generator, dict[str, Tree], Config, int]:
    """Returns generator, evaluated variables, the config in use, and the step.

    Args:
      run: the run.
      step: the step of a checkpoint; None: the newest that is not damaged.
      changes: fields of config.evaluation that override the run's own.

    Raises:
      UserError: no such checkpoint, or a damaged one; a field out of range.
    """
    run = run.with_evaluation(changes or {})
    generator, variables, step = run.load_generator(step)
    return (
        evaluated(run.config, generator),
        with_statistics(run.config, generator, variables),
        run.config,
        step,
    )


def with_statistics(
    config: Config, generator: Generator, variables: dict[str, Tree]
) -> dict[str, Tree]:
    """Returns the variables with the batch statistics that config.evaluation asks for.

    With `statistics='batch'` there are none to choose: see `evaluated`.
    Standing statistics depend on `evaluation.truncation`: they are those of images like
    the ones that will be drawn.
    """
    evaluation = config.evaluation
    if evaluation.statistics != "standing":
        return variables
    return sampling.standing_statistics(
        generator,
        variables,
        seed=evaluation.seed,
        batches=evaluation.standing_batches,
        batch_size=evaluation.standing_batch_size,
        truncation=evaluation.truncation,
    )
