"""The state before the first step, and the variables of the evaluated generator."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan

from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(scope="module")
def created() -> GanState:
    return jax.jit(functools.partial(state_lib.create, *tiny_gan.build()))()


def _leaves(tree: Any, name: str) -> list[np.ndarray]:
    return [
        np.asarray(x)
        for path, x in jax.tree.leaves_with_path(tree)
        if getattr(path[-1], "key", "") == name
    ]


# The initial state.


def test_a_run_starts_at_step_0(created: GanState) -> None:
    for count in (created.step, created.skipped):
        assert count.dtype == jnp.int32
        assert count.shape == ()
        assert count == 0


def test_a_state_contains_only_arrays(created: GanState) -> None:
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(created))


def test_no_two_arrays_of_a_new_state_share_a_buffer(created: GanState) -> None:
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(created)]
    assert len(set(pointers)) == len(pointers)


def test_the_average_starts_as_a_copy(created: GanState) -> None:
    tiny_gan.assert_same_bits(created.ema, created.generator.params)


def test_adam_starts_at_zero(created: GanState) -> None:
    for network in (created.generator, created.discriminator):
        adam = network.opt_state[0]
        assert adam.count == 0
        assert jax.tree.structure(adam.nu) == jax.tree.structure(network.params)
        assert not any(x.any() for x in jax.tree.leaves(adam.nu))


def test_gates_start_at_0_and_statistics_at_0_and_1(created: GanState) -> None:
    assert [float(x) for x in _leaves(created, "gamma")[:2]] == [0.0, 0.0]
    stats = created.generator.batch_stats
    assert not any(x.any() for x in _leaves(stats, "mean"))
    assert all((x == 1).all() for x in _leaves(stats, "var"))


def test_each_network_has_the_collections_that_it_moves(created: GanState) -> None:
    assert created.discriminator.batch_stats == {}
    assert _leaves(created.generator.spectral, "u")
    assert _leaves(created.discriminator.spectral, "u")
    names = {"params", "batch_stats", "spectral"}
    assert created.generator.variables.keys() == names


def test_the_networks_are_initialised_from_different_keys(created: GanState) -> None:
    g = created.generator.params["attention16"]["query"]["kernel"]
    d = created.discriminator.params["attention16"]["query"]["kernel"]
    assert g.shape == d.shape
    assert not (g == d).any()


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_every_valid_seed_works(seed: int) -> None:
    run = tiny_gan.build(train__seed=seed)
    shapes = jax.eval_shape(functools.partial(state_lib.create, *run))
    assert shapes.step.shape == ()


def test_eval_shape_gives_the_shapes_of_the_state(created: GanState) -> None:
    shapes = jax.eval_shape(functools.partial(state_lib.create, *tiny_gan.build()))
    assert jax.tree.structure(shapes) == jax.tree.structure(created)
    for shape, array in zip(
        jax.tree.leaves(shapes), jax.tree.leaves(created), strict=True
    ):
        assert (shape.shape, shape.dtype) == (array.shape, array.dtype)


def test_without_a_decay_there_is_no_average() -> None:
    run = tiny_gan.build("unconditional")
    shapes = jax.eval_shape(functools.partial(state_lib.create, *run))
    assert shapes.ema == {}


# The evaluated generator.


@pytest.fixture(scope="module")
def evaluated() -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Returns live collections, averaged params, and the evaluated variables."""
    run = tiny_gan.build()
    live = tiny_gan.random_state(run).generator.variables
    spectral = live["spectral"]
    for _ in range(200):  # one iteration per step, as in training
        spectral, _ = tiny_gan.power_iterated(live["params"], spectral)
    live["spectral"] = jax.tree.map(np.float32, spectral)
    random = np.random.default_rng(1)
    ema = jax.tree.map(
        lambda x: np.float32(x + 0.02 * np.abs(x).mean() * random.normal(size=x.shape)),
        live["params"],
    )
    return live, ema, state_lib.generator_variables(run.generator, live, ema)


def _matrices(params: Any, spectral: Any, found: Any) -> Any:
    """Yields (matrix, u) for every kernel, with u from `found`."""
    if "u" in spectral:
        kernel = np.asarray(params["kernel"], np.float64)
        yield kernel.reshape(-1, kernel.shape[-1]), np.asarray(found["u"], np.float64)
        return
    for name in spectral:
        yield from _matrices(params[name], spectral[name], found[name])


def _worst_sigma(params: Any, spectral: Any) -> float:
    """Returns the largest relative error of sigma after one iteration, by an SVD."""
    worst = 0.0
    for matrix, u in _matrices(params, spectral, spectral):
        v = matrix @ u / np.linalg.norm(matrix @ u)
        top = np.linalg.svd(matrix, compute_uv=False)[0]
        worst = max(worst, abs(np.linalg.norm(matrix.T @ v) / top - 1))
    return worst


def test_the_average_is_evaluated_with_live_statistics(evaluated: Any) -> None:
    live, ema, variables = evaluated
    assert variables.keys() == live.keys()
    tiny_gan.assert_same_bits(variables["params"], ema)
    tiny_gan.assert_same_bits(variables["batch_stats"], live["batch_stats"])


def test_u_is_adapted_to_the_averaged_kernels(evaluated: Any) -> None:
    live, ema, variables = evaluated
    assert _worst_sigma(ema, live["spectral"]) > 1e-4
    assert _worst_sigma(ema, variables["spectral"]) < 1e-4
    for _, u in _matrices(ema, live["spectral"], variables["spectral"]):
        np.testing.assert_allclose(np.linalg.norm(u), 1.0, rtol=1e-5)


def test_twenty_iterations_are_made(evaluated: Any) -> None:
    live, ema, variables = evaluated
    expected = live["spectral"]
    for _ in range(20):
        expected, _ = tiny_gan.power_iterated(ema, expected)
    tiny_gan.assert_close(variables["spectral"], expected, 1e-5)


def test_the_live_collections_do_not_change() -> None:
    run = tiny_gan.build()
    live = tiny_gan.random_state(run).generator.variables
    before = jax.tree.map(np.array, live)
    state_lib.generator_variables(run.generator, live, live["params"])
    tiny_gan.assert_same_bits(live, before)


def test_without_an_average_the_live_generator_is_evaluated() -> None:
    run = tiny_gan.build()
    live = tiny_gan.random_state(run).generator.variables
    tiny_gan.assert_same_bits(
        state_lib.generator_variables(run.generator, live, {}), live
    )


def test_an_average_without_spectral_norm_needs_no_iterations() -> None:
    run = tiny_gan.build(model__generator_normalization="none", model__num_classes=0)
    live = tiny_gan.random_state(run).generator.variables
    assert live["spectral"] == {}
    ema = jax.tree.map(lambda x: 2 * x, live["params"])
    variables = state_lib.generator_variables(run.generator, live, ema)
    tiny_gan.assert_same_bits(variables, {**live, "params": ema})
