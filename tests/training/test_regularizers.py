"""Regularizers and their gradients, compared with hand-computed numbers.

The judging function is D(x) = a |x|^2 / 2 with a scalar a: its gradient by an image is
a x, of squared norm a^2 |x|^2.
"""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan

from sagan_jax.networks import Discriminator
from sagan_jax.training import regularizers

A = 0.5


def _judge(a: jax.Array | float) -> regularizers.Judge:
    return lambda images: 0.5 * a * jnp.square(images).sum((1, 2, 3))


def _images(*values: tuple[float, float]) -> jax.Array:
    """Returns images of 1x2 pixels and one channel."""
    return jnp.array(values)[:, None, :, None]


# Squared norms 25 and 4.
IMAGES = _images((3.0, 4.0), (2.0, 0.0))


def test_squared_slopes() -> None:
    found = regularizers.squared_slopes(_judge(A), IMAGES)
    np.testing.assert_allclose(found, [6.25, 1.0], rtol=1e-6)


def test_zero_centred_value_and_gradient() -> None:
    # 1/2 a^2 (25 + 4) / 2, and its derivative a (25 + 4) / 2.
    value, slope = jax.value_and_grad(
        lambda a: regularizers.zero_centred(_judge(a), IMAGES)
    )(A)
    np.testing.assert_allclose(value, 0.25 * 29 / 4, rtol=1e-6)
    np.testing.assert_allclose(slope, 0.5 * 29 / 2, rtol=1e-6)


def test_one_centred_value_and_gradient() -> None:
    # At weight 1/2 between (6, 8) and (0, 0), and at weight 0: (3, 4) and (2, 0), with
    # norms a 5 and a 2: mean (5 a - 1)^2, (2 a - 1)^2.
    real, fake = _images((6.0, 8.0), (9.0, 9.0)), _images((0.0, 0.0), (2.0, 0.0))
    weights = jnp.array([0.5, 0.0])
    value, slope = jax.value_and_grad(
        lambda a: regularizers.one_centred(_judge(a), real, fake, weights)
    )(A)
    np.testing.assert_allclose(value, (1.5**2 + 0.0) / 2, rtol=1e-6)
    np.testing.assert_allclose(slope, (2 * 1.5 * 5 + 0.0) / 2, rtol=1e-6)


def test_one_centred_of_a_flat_judge_is_one_without_a_gradient() -> None:
    def penalty(a: jax.Array) -> jax.Array:
        weights = jnp.array([0.5, 0.5])
        return regularizers.one_centred(_judge(a), IMAGES, IMAGES, weights)

    value, slope = jax.value_and_grad(penalty)(0.0)
    assert value == 1.0
    assert slope == 0.0  # not NaN, which a root of 0 has


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [3.0] * 4), (2, [0, 3, 0, 3]), (4, [0, 0, 0, 3])]
)
def test_a_lazy_term_is_there_in_the_last_of_its_steps(
    count: int, expected: list[float]
) -> None:
    found = [
        regularizers.every(jnp.int32(step), count, lambda: jnp.float32(3.0))
        for step in range(4)
    ]
    np.testing.assert_array_equal(found, expected)


def test_a_lazy_term_has_its_gradient_only_then() -> None:
    def term(a: jax.Array, step: int) -> jax.Array:
        return regularizers.every(
            jnp.int32(step), 2, lambda: regularizers.zero_centred(_judge(a), IMAGES)
        )

    np.testing.assert_allclose(jax.grad(term)(A, 1), 0.5 * 29 / 2, rtol=1e-6)
    assert jax.grad(term)(A, 0) == 0.0


REAL, FAKE = jnp.array([2.0, -1.0]), jnp.array([0.0, 1.5])
AVERAGES = {"real": jnp.float32(1.0), "fake": jnp.float32(-0.5)}


def test_lecam_value_and_gradient() -> None:
    # real - (-0.5): 2.5 and -0.5 (cut); 1 - fake: 1 and -0.5 (cut).
    value, (by_real, by_fake) = jax.value_and_grad(
        lambda real, fake: regularizers.lecam(AVERAGES, real, fake), (0, 1)
    )(REAL, FAKE)
    assert value == 6.25 / 2 + 1 / 2
    np.testing.assert_array_equal(by_real, [2.5, 0.0])
    np.testing.assert_array_equal(by_fake, [-1.0, 0.0])


def test_lecam_has_no_gradient_by_its_averages() -> None:
    slopes = jax.grad(lambda averages: regularizers.lecam(averages, REAL, FAKE))(
        AVERAGES
    )
    assert slopes == {"real": 0.0, "fake": 0.0}


def test_averages_copy_the_batch_until_they_start() -> None:
    found = regularizers.moved_averages(AVERAGES, REAL, FAKE, 0.9, jnp.bool_(False))
    assert found == {"real": 0.5, "fake": 0.75}


def test_averages_decay_after_that() -> None:
    found = regularizers.moved_averages(AVERAGES, REAL, FAKE, 0.9, jnp.bool_(True))
    np.testing.assert_allclose(found["real"], 0.9 * 1.0 + 0.1 * 0.5, rtol=1e-6)
    np.testing.assert_allclose(found["fake"], 0.9 * -0.5 + 0.1 * 0.75, rtol=1e-6)


def test_r1_of_a_discriminator_has_the_gradient_of_its_differences() -> None:
    # The second derivative passes through spectral norm, attention and the forms of the
    # convolutions; central differences in float64 know nothing of them.
    with jax.enable_x64(True), tiny_gan.quick_compiles():
        network = Discriminator(
            resolution=32,
            num_classes=0,
            width=8,
            channel_multiples=(1, 1),
            attention_resolutions=(16,),
            stop_gradient_uv=False,
            dtype=jnp.float64,
        )
        keys = jax.random.split(jax.random.key(0), 3)
        images = jax.random.normal(keys[0], (1, 32, 32, 3), jnp.float64)
        variables = jax.jit(network.init)(keys[1], images)
        flat, unflatten = jax.flatten_util.ravel_pytree(variables["params"])
        direction = jax.random.normal(keys[2], flat.shape, flat.dtype)

        @jax.jit
        def penalty(distance: jax.Array) -> jax.Array:
            # Gates at 0 would hide the attention.
            params = unflatten(flat + 0.1 + distance * direction)
            return regularizers.zero_centred(
                lambda x: network.apply({**variables, "params": params}, x), images
            )

        expected = (penalty(1e-6) - penalty(-1e-6)) / 2e-6
        assert abs(expected) > 1e-3
        # A kink of ReLU between the two points would show as more than this.
        np.testing.assert_allclose(jax.grad(penalty)(0.0), expected, rtol=1e-5)
