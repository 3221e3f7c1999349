"""The evaluated generator of a run, and its scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.evaluation import sampling
from sagan_jax.networks import Generator
from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState, Tree
from sagan_jax.workdir import checkpoint, run_config


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


def evaluated(config: Config, generator: Generator, state: GanState) -> dict[str, Any]:
    """Returns the variables that a run's pictures and scores are made with."""
    # One device's copy: pictures are the business of one process alone.
    live, ema = jax.tree.map(
        lambda x: x.addressable_data(0), (state.generator.variables, state.ema)
    )
    return evaluated_variables(config, generator, live, ema)
