"""Keys and draws under the settings of jax and flax that change others' numbers."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.configurations import config as flax_config

from sagan_jax.runtime import keys

SEEDS = [0, 7, 3_000_000_000, 2**32 - 1]


@contextlib.contextmanager
def _setting(name: str, value: Any) -> Iterator[None]:
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


SETTINGS: dict[str, Callable[[], Any]] = {
    "x64": functools.partial(_setting, "jax_enable_x64", True),
    "rbg": functools.partial(_setting, "jax_default_prng_impl", "rbg"),
    "unsafe_rbg": functools.partial(_setting, "jax_default_prng_impl", "unsafe_rbg"),
    "layout": functools.partial(_setting, "jax_threefry_partitionable", False),
    "offset": functools.partial(_setting, "jax_random_seed_offset", 5),
    "separator": lambda: flax_config.temp_flip_flag("fix_rng_separator", True),
}
under_settings = pytest.mark.parametrize(
    "setting", SETTINGS.values(), ids=SETTINGS.keys()
)


@keys.pinned()
def _draws() -> list[jax.Array]:
    key, label_key = jax.random.split(jax.random.fold_in(keys.key(3_000_000_000), 1))
    params = nn.Dense(2, dtype=jnp.float32).init(key, jnp.zeros((1, 3), jnp.float32))
    return [
        jax.random.normal(key, (5, 3), jnp.float32),
        jax.random.truncated_normal(key, -0.5, 0.5, (3,), jnp.float32),
        jax.random.randint(label_key, (9,), 0, 10, jnp.int32),
        params["params"]["kernel"],
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_is_threefrys(seed: int) -> None:
    theirs = jax.random.key(seed, impl="threefry2x32")
    assert bool(keys.key(seed) == theirs)
    assert bool(jax.jit(keys.key)(np.uint32(seed)) == theirs)


@under_settings
def test_no_setting_changes_a_draw(setting: Callable[[], Any]) -> None:
    usual = _draws()
    with setting():
        for drawn in (_draws(), jax.jit(_draws)()):
            for ours, theirs in zip(drawn, usual, strict=True):
                np.testing.assert_array_equal(ours, theirs)
                assert ours.dtype == theirs.dtype
