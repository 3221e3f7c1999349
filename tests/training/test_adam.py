"""Adam without a first moment, compared with optax.adam."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sagan_jax.training import adam

FEW, MANY = 3, 300
RATE = optax.linear_schedule(1e-3, 1e-5, MANY)


def _params() -> Any:
    random = np.random.default_rng(0)
    shapes = {"kernel": (3, 3, 8, 16), "bias": (16,), "gamma": ()}
    return {k: jnp.float32(random.normal(size=s)) for k, s in shapes.items()}


def _gradients(step: int, params: Any) -> Any:
    """Returns gradients of many scales, some of them exactly 0."""
    random = np.random.default_rng(step + 1)

    def leaf(x: jax.Array) -> jax.Array:
        scale = 10.0 ** random.uniform(-10, 5, x.shape)
        return jnp.float32(scale * random.normal(size=x.shape)) * (
            random.uniform(size=x.shape) > 0.1
        )

    return jax.tree.map(leaf, params)


def _trained(optimizer: optax.GradientTransformation, steps: int) -> tuple[Any, Any]:
    """Returns parameters and state after some updates, compiled as in training."""

    @jax.jit
    def update(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
        changes, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, changes), state

    params = _params()
    state = optimizer.init(params)
    for step in range(steps):
        params, state = update(params, state, _gradients(step, params))
    return params, state


ours = functools.partial(adam.adam, RATE, beta2=0.999, eps=1e-8)


def _assert_equal(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_updates_equal_those_of_optax_bit_for_bit() -> None:
    params, (state, schedule) = _trained(ours(beta1=0.0), MANY)
    expected, (full, of_optax) = _trained(
        optax.adam(RATE, b1=0.0, b2=0.999, eps=1e-8), MANY
    )
    _assert_equal(params, expected)
    _assert_equal(state.nu, full.nu)
    assert state.count == full.count == schedule.count == of_optax.count == MANY


def test_the_state_is_one_copy_of_the_parameters() -> None:
    state = ours(beta1=0.0).init(_params())
    scalars = 2  # updates so far, for the bias correction and for the schedule
    held = sum(x.size for x in jax.tree.leaves(state)) - scalars
    assert held == sum(x.size for x in jax.tree.leaves(_params()))


def test_with_momentum_it_is_the_adam_of_optax() -> None:
    params, (state, _) = _trained(ours(beta1=0.5), FEW)
    expected, (full, _) = _trained(optax.adam(RATE, b1=0.5, b2=0.999, eps=1e-8), FEW)
    assert isinstance(state, optax.ScaleByAdamState)
    _assert_equal((params, state), (expected, full))


def test_a_state_of_earlier_versions_becomes_one_without_first_moments() -> None:
    _, now = _trained(ours(beta1=0.0), FEW)
    _, earlier = _trained(optax.adam(RATE, b1=0.0, b2=0.999, eps=1e-8), FEW)
    like = adam.with_first_moment(now)
    assert jax.tree.structure(like) == jax.tree.structure(earlier)
    converted = adam.without_first_moment(earlier)
    assert jax.tree.structure(converted) == jax.tree.structure(now)
    _assert_equal(converted, now)


def test_a_tree_without_an_optimizer_is_left_as_it_is() -> None:
    tree = {"a": np.ones(2), "b": ()}
    assert adam.with_first_moment(tree) == adam.without_first_moment(tree) == tree
