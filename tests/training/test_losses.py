"""Losses and their gradients, compared with hand-computed numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.training import losses

REAL = np.array([-2.0, 0.0, 0.5, 3.0], np.float32)
FAKE = np.array([-3.0, -0.5, 0.0, 2.0], np.float32)


def test_hinge_discriminator_value() -> None:
    # real: (3 + 1 + 0.5 + 0) / 4; fake: (0 + 0.5 + 1 + 3) / 4.
    assert losses.hinge_discriminator(REAL, FAKE) == 2.25


def test_hinge_discriminator_gradient() -> None:
    gradients = jax.grad(losses.hinge_discriminator, argnums=(0, 1))(REAL, FAKE)
    np.testing.assert_array_equal(gradients[0], [-0.25, -0.25, -0.25, 0.0])
    np.testing.assert_array_equal(gradients[1], [0.0, 0.25, 0.25, 0.25])


def test_hinge_discriminator_is_constant_beyond_the_margins() -> None:
    far = jnp.array([1.5, 40.0])
    assert losses.hinge_discriminator(far, -far) == 0.0
    gradients = jax.grad(losses.hinge_discriminator, argnums=(0, 1))(far, -far)
    np.testing.assert_array_equal(gradients, np.zeros((2, 2)))


def test_hinge_discriminator_is_lower_for_correct_logits() -> None:
    good, bad = jnp.array([5.0, 5.0]), jnp.array([-5.0, -5.0])
    assert losses.hinge_discriminator(good, bad) == 0.0
    assert losses.hinge_discriminator(bad, good) == 12.0


def test_hinge_generator_value() -> None:
    assert losses.hinge_generator(FAKE) == 0.375


def test_hinge_generator_gradient_is_the_same_everywhere() -> None:
    np.testing.assert_array_equal(jax.grad(losses.hinge_generator)(FAKE), [-0.25] * 4)


def test_non_saturating_discriminator_value() -> None:
    # -log sigmoid(0) = log 2; -log sigmoid(log 3) = log 4/3; 1 - sigmoid(-log 3) = 3/4.
    real, fake = jnp.array([0.0, np.log(3.0)]), jnp.array([0.0, -np.log(3.0)])
    expected = np.log(2) + np.log(4 / 3)
    value = losses.non_saturating_discriminator(real, fake)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_non_saturating_discriminator_gradient() -> None:
    # sigmoid(real) - 1 and sigmoid(fake), over the batch of 2.
    real, fake = jnp.array([0.0, np.log(3.0)]), jnp.array([0.0, -np.log(3.0)])
    gradient = jax.grad(losses.non_saturating_discriminator, argnums=(0, 1))(real, fake)
    np.testing.assert_allclose(gradient[0], [-0.25, -0.125], rtol=1e-6)
    np.testing.assert_allclose(gradient[1], [0.25, 0.125], rtol=1e-6)


def test_non_saturating_generator_value() -> None:
    fake = jnp.array([0.0, -np.log(3.0)])
    expected = (np.log(2) + np.log(4)) / 2
    value = losses.non_saturating_generator(fake)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_non_saturating_generator_gradient() -> None:
    fake = jnp.array([0.0, -np.log(3.0)])
    gradient = jax.grad(losses.non_saturating_generator)(fake)
    np.testing.assert_allclose(gradient, [-0.25, -0.375], rtol=1e-6)


def test_non_saturating_losses_are_finite_for_huge_logits() -> None:
    huge = jnp.array([1e4, -1e4])
    assert losses.non_saturating_discriminator(huge, huge) == 1e4
    assert losses.non_saturating_generator(huge) == 5e3
    gradient = jax.grad(losses.non_saturating_generator)(huge)
    np.testing.assert_array_equal(gradient, [0.0, -0.5])


def test_losses_keep_float64() -> None:
    with jax.enable_x64(True):
        logits = jnp.zeros(3, jnp.float64)
        for loss in losses.LOSSES.values():
            assert loss.discriminator(logits, logits).dtype == jnp.float64
            assert loss.generator(logits).dtype == jnp.float64


@pytest.mark.parametrize("name", ["hinge", "non_saturating"])
def test_logits_with_a_second_axis_are_refused(name: str) -> None:
    loss, column = losses.LOSSES[name], jnp.zeros((3, 1))
    with pytest.raises(AssertionError, match="rank"):
        loss.discriminator(jnp.zeros(3), column)
    with pytest.raises(AssertionError, match="rank"):
        loss.generator(column)
