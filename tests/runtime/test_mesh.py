"""The same step on every number of devices, compiled once."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
from jax.sharding import PartitionSpec

from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.runtime import mesh as mesh_lib


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _mesh(devices: int, batch_size: int = 8) -> Any:
    config = Config()
    config.mesh.devices, config.train.batch_size = devices, batch_size
    return mesh_lib.make_mesh(config)


# g_first normalises in groups of 4: with 2, 4 and 8 devices, a group is on one, two and
# four of them.
DEVICES = (
    ("d_first", 8),
    ("g_first", 2),
    ("g_first", 4),
    pytest.param("d_first", 2, marks=pytest.mark.slow),
    pytest.param("d_first", 4, marks=pytest.mark.slow),
    pytest.param("g_first", 8, marks=pytest.mark.slow),
)


@pytest.mark.parametrize(("variant", "devices"), DEVICES)
def test_steps_do_not_depend_on_the_number_of_devices(
    variant: str, devices: int
) -> None:
    # Sums over the batch in another order change gradients of up to 30 by 1e-6. Adam as
    # in tiny_gan scales this by at most rate / eps = 0.1 in each of three steps. Norms
    # of gradients also change with single ReLU ties, which rounding can flip.
    for one, many in zip(
        tiny_gan.history(variant), tiny_gan.history(variant, devices), strict=True
    ):
        tiny_gan.assert_same_bits(many.draws, one.draws)
        for name in ("generator", "discriminator"):
            ours, theirs = (getattr(m.after, name) for m in (many, one))
            tiny_gan.assert_close(ours.variables, theirs.variables, 1e-5)
        tiny_gan.assert_close(many.after.ema, one.after.ema, 1e-5)
        for name, value in one.metrics.items():
            np.testing.assert_allclose(
                many.metrics[name], value, rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_batch_norm_groups_differ_from_the_whole_batch() -> None:
    # Otherwise the test above would not show that groups span devices.
    one, other = (tiny_gan.history(v)[0] for v in ("g_first", "g_first_twice"))
    np.testing.assert_array_equal(one.draws[0][0], other.draws[0][0])
    means = [m.after.generator.batch_stats["norm"]["var"] for m in (one, other)]
    assert np.abs(means[0] - means[1]).max() > 1e-3


@pytest.mark.parametrize("devices", [1, 8])
def test_the_step_is_compiled_once_and_donates_its_state(
    devices: int,
) -> None:
    tiny_gan.history("d_first", devices)
    step = tiny_gan.compiled("d_first", devices)
    state = step.place(tiny_gan.random_state(step.run))
    for number in range(2):
        given = state
        state, *_ = step(given, tiny_gan.random_batch(step.run, number))
        assert all(x.is_deleted() for x in jax.tree.leaves(given))
    assert step.traces == 1
    assert step.jitted._cache_size() == 1


def test_every_device_has_the_same_state() -> None:
    step = tiny_gan.compiled("d_first", 8)
    state = step.place(tiny_gan.random_state(step.run))
    state, *_ = step(state, tiny_gan.random_batch(step.run, 0))
    for path, array in jax.tree.leaves_with_path(state):
        copies = [np.asarray(shard.data) for shard in array.addressable_shards]
        assert len(copies) == 8, path
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0], err_msg=str(path))


def test_no_two_arrays_of_a_stepped_state_share_a_buffer() -> None:
    step = tiny_gan.compiled("d_first", 1)
    state = step.place(tiny_gan.random_state(step.run))
    state, *_ = step(state, tiny_gan.random_batch(step.run, 0))
    pointers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(state)]
    assert len(set(pointers)) == len(pointers)


def test_zero_devices_means_all_devices() -> None:
    assert _mesh(0).devices.shape == (8,)
    assert _mesh(2).devices.tolist() == jax.devices()[:2]


def test_more_devices_than_available_are_refused() -> None:
    with pytest.raises(UserError, match=r"mesh\.devices=9\b.*\b8\b.*choose"):
        _mesh(9, batch_size=9)


def test_a_batch_that_is_not_divisible_by_the_devices_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.batch_size=12 .*\b8\b.*mesh\.devices"):
        _mesh(8, batch_size=12)


def test_rows_are_split_over_the_devices_in_order() -> None:
    rows = {"image": np.arange(16, dtype=np.uint8).reshape(8, 2)}
    placed = mesh_lib.global_batch(rows, _mesh(4))["image"]
    np.testing.assert_array_equal(placed, rows["image"])
    for index, shard in enumerate(placed.addressable_shards):
        np.testing.assert_array_equal(
            shard.data, rows["image"][2 * index : 2 * index + 2]
        )


def test_stacked_batches_are_split_by_their_rows() -> None:
    batches = [{"image": np.full((8, 2), i, np.uint8)} for i in range(3)]
    placed = mesh_lib.global_batches(batches, _mesh(4))["image"]
    assert placed.shape == (3, 8, 2)
    for shard in placed.addressable_shards:
        np.testing.assert_array_equal(shard.data[:, :, 0], [[0, 0], [1, 1], [2, 2]])


def test_arrays_made_in_a_step_are_split_like_a_batch() -> None:
    split = mesh_lib.constrain(_mesh(4))
    z, labels = jax.jit(lambda: split((jnp.zeros((8, 3)), jnp.zeros(8))))()
    for array in (z, labels):
        assert array.sharding.is_equivalent_to(mesh_lib.split(_mesh(4)), array.ndim)
    assert mesh_lib.split(_mesh(4)).spec == PartitionSpec("data")


def test_a_replicated_array_is_complete_on_every_device() -> None:
    placed = jax.device_put(jnp.ones(5), mesh_lib.replicated(_mesh(2)))
    assert [shard.data.shape for shard in placed.addressable_shards] == [(5,), (5,)]
