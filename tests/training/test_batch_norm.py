"""A step whose discriminator has batch norm, against calls of the networks alone."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import tiny_gan

from sagan_jax import pixels


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _close(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4),
        found,
        expected,
    )


@functools.cache
def _step() -> tuple[Any, Any, Any, Any]:
    """Returns the networks, the first step, and its fakes: D's and G's."""
    run = tiny_gan.compiled("batch_norm", 1).run
    moment = tiny_gan.history("batch_norm")[0]
    generate = jax.jit(functools.partial(run.generator.apply, train=True))
    variables = moment.before.generator.variables
    fakes = [(generate(variables, z, labels), labels) for z, labels in moment.draws[:2]]
    return run, moment, fakes[0], fakes[1]


@functools.cache
def _judge() -> Any:
    run = _step()[0]

    @jax.jit
    def judge(variables: Any, images: Any, labels: Any) -> Any:
        return run.discriminator.apply(
            variables, images, labels, train=True, mutable=["batch_stats"]
        )

    return judge


def _real(moment: Any) -> tuple[Any, Any]:
    return pixels.decode(moment.batch["image"]), moment.batch["label"]


def test_real_and_fake_images_are_judged_with_their_own_moments() -> None:
    _, moment, fake, _ = _step()
    variables = moment.before.discriminator.variables
    on_real, on_fake = (
        _judge()(variables, *images)[0] for images in (_real(moment), fake)
    )
    _close(moment.metrics["logits/real"], np.mean(on_real))
    _close(moment.metrics["logits/fake"], np.mean(on_fake))
    # One call for both would give others.
    together = [np.concatenate(pair) for pair in zip(_real(moment), fake, strict=True)]
    mixed = _judge()(variables, *together)[0][: len(on_real)]
    assert abs(np.mean(mixed) - np.mean(on_real)) > 0.01


def test_the_running_statistics_move_for_real_and_then_for_fake_images() -> None:
    _, moment, fake, _ = _step()
    variables = moment.before.discriminator.variables
    for images in (_real(moment), fake):
        variables = {**variables, **_judge()(variables, *images)[1]}
    # The generator's update, which comes after, has not moved them.
    _close(moment.after.discriminator.batch_stats, variables["batch_stats"])


def test_the_halves_of_the_hinge_loss_add_up_to_it() -> None:
    _, moment, _, _ = _step()
    halves = moment.metrics["margin/real"] + moment.metrics["margin/fake"]
    np.testing.assert_allclose(halves, moment.metrics["loss/discriminator"], rtol=1e-5)
    # The variant's random networks have logits on both sides of the margins.
    assert moment.metrics["margin/real"] > 0.01


def test_u_moves_once() -> None:
    _, moment, _, _ = _step()
    before = moment.before.discriminator
    expected, _ = tiny_gan.power_iterated(before.params, before.spectral)
    _close(moment.after.discriminator.spectral, expected)


def test_the_generator_learns_from_the_moments_of_its_own_images() -> None:
    _, moment, _, fake = _step()
    logits, _ = _judge()(moment.after.discriminator.variables, *fake)
    _close(moment.metrics["loss/generator"], -np.mean(logits))
