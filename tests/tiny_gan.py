"""The smallest run with every part, and a record of its first steps.

A step takes seconds to compile, so each variant is compiled once for a number of
devices and makes three steps. Tests compare the states before and after each of them.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sagan_jax import networks
from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import optim, train_step
from sagan_jax.training import state as state_lib
from sagan_jax.training.optim import Optimizers
from sagan_jax.training.state import GanState

STEPS = 3
GENERATOR_FIRST = {"train.order": "generator_first"}
VARIANTS: dict[str, dict[str, Any]] = {
    "d_first": {},
    "d_first_twice": {"train.d_steps": 2, "train.ema_start": 2, "optim.beta1": 0.5},
    "g_first": {
        **GENERATOR_FIRST,
        "model.batch_norm_group_size": 4,
        "train.loss": "non_saturating",
    },
    "g_first_twice": {**GENERATOR_FIRST, "train.d_steps": 2},
    "simultaneous": {"train.updates": "simultaneous"},
    "batch_norm": {
        "model.discriminator_normalization": "both",
        "model.attention_resolutions": (),
        "train.ema_decay": 0.0,
        "train.log_margins": True,
    },
    "unconditional": {
        "model.num_classes": 0,
        "train.ema_decay": 0.0,
        "optim.discriminator_lr": 0.0,
    },
}


class Run(NamedTuple):
    """A config, and the networks and optimizers built from it."""

    config: Config
    generator: Generator
    discriminator: Discriminator
    optimizers: Optimizers


class Moment(NamedTuple):
    """One step, in numpy trees; `draws` has each (z, labels) in order."""

    before: GanState
    batch: dict[str, np.ndarray]
    after: GanState
    metrics: dict[str, np.ndarray]
    draws: list[Any]


def build(variant: str = "d_first", **changes: Any) -> Run:
    """Returns a variant; `changes` sets fields, as in `train__seed=1`."""
    config = shrink(Config(), "smoke")
    config.model.discriminator_channel_multiples = (1, 1)
    # Changes must be visible in a few steps, and updates smooth: with eps = 1e-8 the
    # first one is the sign of the gradient, which is unstable near zero.
    config.model.batch_norm_decay, config.model.batch_norm_last_decay = 0.9, 0.8
    config.train.ema_decay = 0.9
    config.optim.generator_lr, config.optim.discriminator_lr = 2.5e-4, 1e-3
    config.optim.eps = 1e-2
    named = {k.replace("__", "."): v for k, v in changes.items()}
    for name, value in (VARIANTS[variant] | named).items():
        group, field = name.split(".")
        setattr(getattr(config, group), field, value)
    generator, discriminator = networks.build(config.model)
    return Run(config, generator, discriminator, optim.make_optimizers(config))


def random_state(run: Run) -> GanState:
    """Returns a numpy state without special values such as zeros or unit vectors.

    Gates are open, so that attention takes part, and the average differs from params.
    """
    random = np.random.default_rng(0)
    fill: dict[str, Callable[[tuple[int, ...]], Any]] = {
        "kernel": lambda s: random.normal(size=s) / np.sqrt(np.prod(s[:-1])),
        "embedding": lambda s: random.normal(size=s),
        "u": lambda s: random.normal(size=s),
        "scale": lambda s: random.uniform(0.5, 1.5, s),
        "bias": lambda s: random.normal(0.0, 0.2, s),
        "gamma": lambda s: np.full(s, 0.5),
        "mean": lambda s: random.normal(0.0, 0.2, s),
        "var": lambda s: random.uniform(0.5, 2.0, s),
    }

    def leaf(path: Any, shape: Any) -> np.ndarray:
        name = getattr(path[-1], "key", None)
        if name is None or "opt_state" in jax.tree_util.keystr(path):
            return np.zeros(shape.shape, shape.dtype)
        return np.asarray(fill[name](shape.shape), shape.dtype)

    shapes = jax.eval_shape(
        lambda: state_lib.create(
            run.config, run.generator, run.discriminator, run.optimizers
        )
    )
    state = jax.tree.map_with_path(leaf, shapes)
    # Puts logits on both sides of the hinge's margins, for real and fake images.
    state.discriminator.params["dense"]["bias"][:] = 12.0
    return state


def random_batch(run: Run, step: int) -> dict[str, np.ndarray]:
    model, train = run.config.model, run.config.train
    random = np.random.default_rng(step)
    count = train.batch_size * train.d_steps
    shape = (count, model.resolution, model.resolution, model.channels)
    return {
        "image": random.integers(0, 256, shape, np.uint8),
        "label": random.integers(0, max(1, model.num_classes), count, np.int32),
    }


class Compiled:
    """The compiled step of a variant, with a count of its traces."""

    def __init__(self, variant: str, devices: int):
        self.run = build(variant, mesh__devices=devices)
        self.mesh = mesh_lib.make_mesh(self.run.config)
        self.traces = 0
        self.jitted = mesh_lib.jit_step(self._step, self.mesh)

    def _step(self, state: GanState, batch: Any) -> Any:
        self.traces += 1
        split, draws = mesh_lib.constrain(self.mesh), []

        def constrain(tree: Any) -> Any:
            draws.append(tree)
            return split(tree)

        state, metrics = train_step.make_train_step(*self.run, constrain)(state, batch)
        return state, (metrics, draws)

    def place(self, state: GanState) -> GanState:
        """Returns copies on every device, which a step may donate."""
        copies = jax.tree.map(lambda x: jnp.array(x, copy=True), state)
        return jax.device_put(copies, mesh_lib.replicated(self.mesh))

    def __call__(self, state: GanState, batch: Any) -> tuple[GanState, Any, Any]:
        state, (metrics, draws) = self.jitted(
            state, mesh_lib.global_batch(batch, self.mesh)
        )
        return state, metrics, draws


@contextlib.contextmanager
def quick_compiles() -> Iterator[None]:
    """Disables optimisations of machine code, which cost more time than they save."""
    name = "jax_disable_most_optimizations"
    jax.config.update(name, True)
    try:
        yield
    finally:
        jax.config.update(name, False)


@functools.cache
def compiled(variant: str, devices: int) -> Compiled:
    return Compiled(variant, devices)


def history(variant: str, devices: int = 1) -> tuple[Moment, ...]:
    """Returns the first three steps of a variant, starting at `random_state`."""
    return _history(variant, devices)


@functools.cache
def _history(variant: str, devices: int) -> tuple[Moment, ...]:
    step = compiled(variant, devices)
    before, moments = random_state(step.run), []
    state = step.place(before)
    for number in range(STEPS):
        batch = random_batch(step.run, number)
        state, *rest = step(state, batch)
        # Copies, since device_get may return buffers that the next step donates.
        after = jax.tree.map(np.array, jax.device_get(state))
        moments.append(Moment(before, batch, after, *jax.device_get(rest)))
        before = after
    return tuple(moments)


def power_iterated(params: Any, spectral: Any) -> tuple[Any, list[float]]:
    """Returns one power iteration of every u in float64, and the sigmas."""
    if "u" not in spectral:
        pairs = {k: power_iterated(params[k], spectral[k]) for k in spectral}
        sigmas = [sigma for _, below in pairs.values() for sigma in below]
        return {k: u for k, (u, _) in pairs.items()}, sigmas
    table = params.get("embedding")
    kernel = np.asarray(params["kernel"] if table is None else table.T, np.float64)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = matrix @ np.asarray(spectral["u"], np.float64)
    v = v / np.linalg.norm(v)
    u = matrix.T @ v
    return {"u": u / np.linalg.norm(u)}, [float(np.linalg.norm(u))]


def assert_same_bits(one: Any, other: Any) -> None:
    """Raises if two trees differ in structure or in any value; NaNs are equal."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def assert_close(one: Any, other: Any, atol: float) -> None:
    """Raises if two trees differ in structure, or by more than `atol`."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)
