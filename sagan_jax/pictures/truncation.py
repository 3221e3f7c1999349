"""One set of samples at several bounds on the latents, a row for each bound."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sagan_jax.config import Config
from sagan_jax.evaluation import sampling
from sagan_jax.evaluation.sampling import Variables
from sagan_jax.networks import Generator
from sagan_jax.pictures import captions, sheets

BOUNDS = (0.5, 1.0, 1.5, 2.0, 0.0)
"""The bounds of a sheet if none are given; 0: not truncated."""


def picture(
    config: Config,
    generator: Generator,
    variables: Mapping[float, Variables],
    classes: Sequence[int] = (),
) -> NDArray[np.uint8]:
    """Returns a uint8 picture with a row of `evaluation.columns` images for each bound.

    Column i has one class and one key, from which `sampling.latents` draws z from the
    normal distribution truncated at the bound. This maps one uniform number to each
    coordinate: a smaller bound moves the same latent towards 0, as
    erf(z / sqrt 2) = erf(bound / sqrt 2) erf(z_0 / sqrt 2) with z_0 not truncated.

    Args:
      config: the config of the run.
      generator: the module.
      variables: the generator's variables for each bound, as evaluated with it.
      classes: the classes to spread over the columns; (): those of a sheet.

    Raises:
      UserError: a class that the generator does not have, or a bound out of range.
    """
    settings = config.evaluation
    known = sheets.sheet_labels(config, classes)[:: settings.columns]
    # Columns of one class lie side by side.
    labels = known[np.sort(np.arange(settings.columns) % len(known))]
    sections = []
    for bound, its_variables in variables.items():
        batches = sampling.sample(
            generator,
            its_variables,
            labels,
            seed=settings.seed,
            batch_size=settings.batch_size,
            truncation=bound,
        )
        words = f"|z| at most {bound:g}" if bound else "not truncated"
        sections.append((words, np.concatenate(list(batches))))
    return captions.captioned(sections, settings.columns)
