"""Both optimizers, and their schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sagan_jax.config import Config, OptimConfig
from sagan_jax.training import optim

GRADIENTS = jnp.array([2.0, -0.5, 1e-3, -30.0])


def _updates(adam: optax.GradientTransformation, *gradients: jax.Array) -> jax.Array:
    """Returns the update for the last of several successive gradients."""
    params = jnp.zeros_like(gradients[0])
    state = adam.init(params)
    for gradient in gradients:
        change, state = adam.update(gradient, state, params)
    return change


def test_first_updates_have_the_ratio_of_the_rates() -> None:
    adams = optim.make_optimizers(Config())
    of_g = _updates(adams.generator, GRADIENTS)
    of_d = _updates(adams.discriminator, GRADIENTS)
    np.testing.assert_allclose(of_d / of_g, np.full(4, 4.0), rtol=1e-6)


def test_first_update_is_the_rate_times_the_negative_sign() -> None:
    # m / sqrt(v) = g / |g|, except for eps = 1e-8 relative to the smallest, 1e-3.
    change = _updates(optim.make_optimizers(Config()).generator, GRADIENTS)
    np.testing.assert_allclose(change, -1e-4 * np.sign(GRADIENTS), rtol=2e-5)


def test_published_adam_has_no_momentum() -> None:
    # With beta1 = 0, an earlier gradient only affects the scale.
    zeros = jnp.zeros_like(GRADIENTS)
    change = _updates(optim.make_optimizers(Config()).generator, GRADIENTS, zeros)
    np.testing.assert_array_equal(change, np.zeros(4))


def test_beta1_is_the_momentum() -> None:
    config = Config()
    config.optim.beta1 = 0.5
    zeros = jnp.zeros_like(GRADIENTS)
    change = _updates(optim.make_optimizers(config).generator, GRADIENTS, zeros)
    assert (np.sign(change) == -np.sign(GRADIENTS)).all()


def test_second_moment_and_eps_follow_the_config() -> None:
    config = Config()
    config.optim.beta2, config.optim.eps = 0.75, 0.5
    # v = 0.75 * 0.25 * 4 + 0.25 * 16 = 4.75, over 1 - 0.75**2 = 0.4375.
    change = _updates(
        optim.make_optimizers(config).generator, jnp.array([2.0]), jnp.array([4.0])
    )
    expected = -1e-4 * 4 / ((4.75 / 0.4375) ** 0.5 + 0.5)
    np.testing.assert_allclose(change, [expected], rtol=1e-6)


def test_constant_schedule() -> None:
    rate = optim.schedule(OptimConfig(), 3e-4, 100)
    assert [rate(count) for count in (0, 50, 100, 1000)] == [3e-4] * 4


@pytest.mark.parametrize(
    ("count", "factor"),
    [(0, 1.0), (50, 1.0), (75, 0.6), (100, 0.2), (1000, 0.2)],
)
def test_linear_schedule(count: int, factor: float) -> None:
    fields = OptimConfig(schedule="linear", decay_start=0.5, decay_to=0.2)
    rate = optim.schedule(fields, 1e-3, 100)
    np.testing.assert_allclose(rate(count), 1e-3 * factor, rtol=1e-6)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.0), (1.0, 0.5)])
def test_linear_schedule_holds_at_its_edges(start: float, end: float) -> None:
    fields = OptimConfig(schedule="linear", decay_start=start, decay_to=end)
    rate = optim.schedule(fields, 1.0, 10)
    halfway = {0.0: 0.5, 1.0: 1.0}[start]
    np.testing.assert_allclose([rate(0), rate(5)], [1.0, halfway], rtol=1e-6)
    np.testing.assert_allclose(rate(11), end, atol=1e-6)


def test_both_rates_decay_together_for_any_d_steps() -> None:
    config = Config()
    config.optim.schedule, config.optim.decay_start = "linear", 0.0
    config.optim.decay_to, config.train.steps, config.train.d_steps = 0.0, 4, 3
    adams = optim.make_optimizers(config)
    ones = jnp.ones(1)
    # For equal gradients, update number k is the rate at k - 1.
    for step in range(4):
        of_g = _updates(adams.generator, *[ones] * (step + 1))
        of_d = _updates(adams.discriminator, *[ones] * (3 * step + 1))
        np.testing.assert_allclose(of_g, [-1e-4 * (1 - step / 4)], rtol=1e-5)
        np.testing.assert_allclose(of_d, [-4e-4 * (1 - step / 4)], rtol=1e-5)
