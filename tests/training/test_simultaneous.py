"""Both gradients from one pass of each network, compared with two separate passes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.training import simultaneous
from sagan_jax.training.losses import LOSSES

Z, PIXELS, HIDDEN = 4, 6, 8

# Logits of the fakes: in the whole range of the hinge, satisfied throughout, and with a
# sigmoid that float32 rounds to 0 or 1.
SHIFTS = {"mixed": -0.5, "satisfied": -8.0, "violated": 8.0, "far": -200.0}


def _arrays(dtype: Any, shift: float) -> tuple[Any, Any, jax.Array, jax.Array]:
    random = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(random.normal(size=shape), dtype)

    g = {"a": normal(Z, HIDDEN), "b": normal(HIDDEN, PIXELS)}
    d = {"a": normal(PIXELS, HIDDEN), "b": normal(HIDDEN) / 2}
    d["bias"] = jnp.asarray(shift, dtype)
    return g, d, normal(16, Z), normal(16, PIXELS)


def _fakes(g: Any, z: jax.Array) -> jax.Array:
    return jnp.tanh(jnp.tanh(z @ g["a"]) @ g["b"])


def _logits(d: Any, images: jax.Array) -> jax.Array:
    return jnp.tanh(images @ d["a"]) @ d["b"] + d["bias"]


def _both(loss: str, dtype: Any, shift: float) -> tuple[Any, Any]:
    """Returns the gradients under test, and those of two separate passes."""
    g, d, z, real = _arrays(dtype, shift)
    losses = LOSSES[loss]

    def judge(d: Any, fakes: jax.Array) -> Any:
        return (_logits(d, real), _logits(d, fakes)), {}

    found = simultaneous.gradients(losses, lambda g: (_fakes(g, z), {}), judge, g, d)
    on_real = _logits(d, real)
    of_g = jax.grad(lambda g: losses.of_generator(on_real, _logits(d, _fakes(g, z))))(g)
    of_d = jax.grad(
        lambda d: losses.discriminator(_logits(d, real), _logits(d, _fakes(g, z)))
    )(d)
    return (found.generator, found.discriminator), (of_g, of_d)


def _largest(tree: Any) -> float:
    return max(float(np.abs(x).max()) for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-14), ("float32", 2e-6)])
def test_gradients_equal_those_of_two_separate_passes(
    loss: str, shift: float, dtype: str, error: float
) -> None:
    # The errors are some ulps of a sum of 16 terms.
    with jax.enable_x64(dtype == "float64"):
        for found, expected in zip(*_both(loss, dtype, shift), strict=True):
            bound = error * _largest(expected)
            jax.tree.map(
                lambda a, b, bound=bound: np.testing.assert_allclose(
                    a, b, rtol=0, atol=bound
                ),
                found,
                expected,
            )


def test_the_generator_learns_from_fakes_that_satisfy_the_hinge() -> None:
    # D's own gradient by them is 0, and dividing by it would give no number.
    (of_g, _), _ = _both("hinge", "float32", SHIFTS["satisfied"])
    assert 0.01 < _largest(of_g) < np.inf


def _passes(function: Callable[..., Any]) -> int:
    """Returns the number of tanh in a program: two for each pass of a network."""
    return str(jax.make_jaxpr(function)()).count(" tanh ")


def test_each_network_makes_one_forward_pass() -> None:
    g, d, z, real = _arrays("float32", 0.0)

    def judge(d: Any, fakes: jax.Array) -> Any:
        return (_logits(d, real), _logits(d, fakes)), {}

    assert _passes(
        lambda: simultaneous.gradients(
            LOSSES["hinge"], lambda g: (_fakes(g, z), {}), judge, g, d
        )
    ) == _passes(lambda: judge(d, _fakes(g, z)))
