"""Sampling as the ports do it: with the moments of a batch, and with a moving u."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import tiny_gan

from sagan_jax.config import Config
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import sampling
from sagan_jax.networks.dcgan import DcganGenerator

LABELS = np.zeros(6, np.int64)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@functools.cache
def _port(**fields: Any) -> tuple[DcganGenerator, Any]:
    generator = DcganGenerator(
        resolution=16,
        width=8,
        latent_dim=16,
        channel_multiples=(1, 1),
        attention_resolutions=(8,),
        **fields,
    )
    z = sampling.latents(0, np.arange(2), generator)
    return generator, jax.jit(generator.init)(jax.random.key(3), z)


def _sampled(generator: Any, variables: Any, batch_size: int) -> np.ndarray:
    batches = sampling.sample(
        generator, variables, LABELS, seed=0, batch_size=batch_size
    )
    return np.concatenate(list(batches)).astype(int)


def test_statistics_of_the_batch_are_those_of_each_pass() -> None:
    config = Config()
    config.evaluation.statistics = "batch"
    generator, variables = _port()
    sampler = generator_lib.evaluated(config, generator)
    found = _sampled(sampler, variables, 3)
    train = jax.jit(functools.partial(generator.apply, train=True))
    for rows in (slice(0, 3), slice(3, 6)):
        z = sampling.latents(0, np.arange(6)[rows], generator)
        expected = (np.asarray(train(variables, z)) + 1) * 127.5
        np.testing.assert_allclose(found[rows], expected, atol=1)
    assert np.abs(found - _sampled(generator, variables, 3)).max() > 1


def test_other_statistics_leave_the_generator_as_it_is() -> None:
    config, (generator, _) = Config(), _port()
    for config.evaluation.statistics in ("running", "standing"):
        assert generator_lib.evaluated(config, generator) is generator


def test_a_moving_u_is_that_of_the_passes_before() -> None:
    generator, variables = _port(spectral_norm_in_evaluation=True)
    found = _sampled(generator, variables, 3)
    apply = jax.jit(functools.partial(generator.apply, mutable=["spectral"]))
    for rows in (slice(0, 3), slice(3, 6)):
        z = sampling.latents(0, np.arange(6)[rows], generator)
        images, updates = apply(variables, z)
        np.testing.assert_allclose(
            found[rows], (np.asarray(images) + 1) * 127.5, atol=1
        )
        variables = {**variables, **updates}
    # From random vectors, the first iterations are far from the largest sigma.
    other, same = _port()
    assert np.abs(found[3:] - _sampled(other, same, 3)[3:]).max() > 1
