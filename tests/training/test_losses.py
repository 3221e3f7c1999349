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


def test_wasserstein_discriminator_value_and_gradient() -> None:
    # mean fake = -1.5 / 4, mean real = 1.5 / 4.
    assert losses.wasserstein_discriminator(REAL, FAKE) == -0.75
    gradients = jax.grad(losses.wasserstein_discriminator, argnums=(0, 1))(REAL, FAKE)
    np.testing.assert_array_equal(gradients[0], [-0.25] * 4)
    np.testing.assert_array_equal(gradients[1], [0.25] * 4)


def test_wasserstein_generator_value_and_gradient() -> None:
    assert losses.wasserstein_generator(FAKE) == 0.375
    gradient = jax.grad(losses.wasserstein_generator)(FAKE)
    np.testing.assert_array_equal(gradient, [-0.25] * 4)


def test_least_squares_discriminator_value_and_gradient() -> None:
    # real: (9 + 1 + 0.25 + 4) / 8; fake: (9 + 0.25 + 0 + 4) / 8.
    assert losses.least_squares_discriminator(REAL, FAKE) == (14.25 + 13.25) / 8
    gradients = jax.grad(losses.least_squares_discriminator, (0, 1))(REAL, FAKE)
    np.testing.assert_array_equal(gradients[0], [-0.75, -0.25, -0.125, 0.5])
    np.testing.assert_array_equal(gradients[1], [-0.75, -0.125, 0.0, 0.5])


def test_least_squares_generator_value_and_gradient() -> None:
    # (16 + 2.25 + 1 + 1) / 8.
    assert losses.least_squares_generator(FAKE) == 20.25 / 8
    gradient = jax.grad(losses.least_squares_generator)(FAKE)
    np.testing.assert_array_equal(gradient, [-1.0, -0.375, -0.25, 0.25])


# Differences of log 3 and 0: softplus(log 3) = log 4, with slope 3/4 there.
PAIRS = (jnp.array([0.0, 2.0]), jnp.array([np.log(3.0), 2.0]))


def test_relativistic_discriminator_value_and_gradient() -> None:
    value = losses.relativistic_discriminator(*PAIRS)
    np.testing.assert_allclose(value, (np.log(4) + np.log(2)) / 2, rtol=1e-6)
    gradients = jax.grad(losses.relativistic_discriminator, (0, 1))(*PAIRS)
    np.testing.assert_allclose(gradients[0], [-0.375, -0.25], rtol=1e-6)
    np.testing.assert_allclose(gradients[1], [0.375, 0.25], rtol=1e-6)


def test_relativistic_generator_value_and_gradient() -> None:
    # softplus(-log 3) = log 4/3, with slope 1/4.
    value = losses.relativistic_generator(*PAIRS)
    np.testing.assert_allclose(value, (np.log(4 / 3) + np.log(2)) / 2, rtol=1e-6)
    gradient = jax.grad(losses.relativistic_generator, 1)(*PAIRS)
    np.testing.assert_allclose(gradient, [-0.125, -0.25], rtol=1e-6)


def test_only_pairs_count_in_a_relativistic_loss() -> None:
    def total(real: jax.Array, fake: jax.Array) -> float:
        d = losses.relativistic_discriminator(real, fake)
        return float(d + losses.relativistic_generator(real, fake))

    real, fake = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    np.testing.assert_allclose(total(real + 7, fake + 7), total(real, fake), rtol=1e-6)
    assert total(real, fake[::-1]) != pytest.approx(total(real, fake), rel=1e-2)


def test_only_a_paired_loss_of_the_generator_depends_on_real_logits() -> None:
    for name, loss in losses.LOSSES.items():
        gradient = jax.grad(loss.of_generator)(jnp.asarray(REAL), jnp.asarray(FAKE))
        assert (
            bool(jnp.abs(gradient).max() > 0) == loss.paired == (name == "relativistic")
        )


def test_losses_keep_float64() -> None:
    with jax.enable_x64(True):
        logits = jnp.zeros(3, jnp.float64)
        for loss in losses.LOSSES.values():
            assert loss.discriminator(logits, logits).dtype == jnp.float64
            assert loss.of_generator(logits, logits).dtype == jnp.float64


@pytest.mark.parametrize("name", losses.LOSSES)
def test_logits_with_a_second_axis_are_refused(name: str) -> None:
    loss, column = losses.LOSSES[name], jnp.zeros((3, 1))
    with pytest.raises(AssertionError, match="rank"):
        loss.discriminator(jnp.zeros(3), column)
    with pytest.raises(AssertionError, match="rank"):
        loss.of_generator(jnp.zeros(3), column)
