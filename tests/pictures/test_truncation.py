"""Truncation sheets: the same latents in each row, within its bound."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import tiny_gan

from sagan_jax.evaluation import sampling
from sagan_jax.pictures import captions, grid, truncation


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.mark.parametrize("bound", [0.25, 1.0, 3.0])
def test_a_bound_moves_the_same_latents_towards_0(bound: float) -> None:
    generator = tiny_gan.build().generator
    free = np.asarray(sampling.latents(7, np.arange(50), generator))
    bounded = np.asarray(sampling.latents(7, np.arange(50), generator, bound))
    assert np.abs(bounded).max() <= bound
    erf = np.vectorize(lambda z: math.erf(z / math.sqrt(2)))
    # Of uniform numbers in float32, whose inverse is steep where erf is nearly 1.
    np.testing.assert_allclose(erf(bounded), erf(bound) * erf(free), atol=2e-6)


def test_each_row_shows_the_samples_of_its_bound() -> None:
    run = tiny_gan.build(evaluation__columns=5, evaluation__batch_size=16)
    variables = tiny_gan.random_state(run).generator.variables
    bounds = (0.5, 0.0)
    picture = truncation.picture(
        run.config, run.generator, dict.fromkeys(bounds, variables), classes=(3, 1)
    )
    expected = []
    for bound, words in zip(bounds, ("|z| at most 0.5", "not truncated"), strict=True):
        images = sampling.sample(
            run.generator,
            variables,
            [3, 3, 3, 1, 1],
            seed=1234,
            batch_size=16,
            truncation=bound,
        )
        sheet = grid.sheet(np.concatenate(list(images)), 5)
        expected += [captions.strip(words, sheet.shape[1]), sheet]
    np.testing.assert_array_equal(picture, np.concatenate(expected))
