"""The communication of a step that is compiled for 8 devices.

Gradients, batch-norm moments and metrics are means over the global batch, so a step
needs all-reduces. Any other collective would mean that rows move between devices.
"""

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import linear_gan
import pytest
import tiny_gan

from sagan_jax.config import RegularizerConfig
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import state as state_lib
from sagan_jax.training import train_step

ROWS = 16
COLLECTIVE = re.compile(
    r"\b(all-reduce|all-gather|all-to-all|ragged-all-to-all|reduce-scatter|"
    r"collective-permute|collective-broadcast)(?:-start)?\("
)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _collectives(compiled: jax.stages.Compiled) -> set[str]:
    """Returns the kinds of collectives in a compiled program."""
    text = compiled.as_text()
    assert text is not None
    return set(COLLECTIVE.findall(text))


def test_a_step_only_needs_all_reduces() -> None:
    # Two discriminator updates, so that the slices of the batch take part.
    run = tiny_gan.build("d_first_twice", mesh__devices=8)
    mesh = mesh_lib.make_mesh(run.config)
    step = train_step.make_train_step(*run, mesh_lib.constrain(mesh))
    state = jax.eval_shape(functools.partial(state_lib.create, *run))
    batch = tiny_gan.random_batch(run, 0)
    compiled = mesh_lib.jit_step(step, mesh).lower(state, batch).compile()
    assert _collectives(compiled) == {"all-reduce"}


# How a step arranges rows, and two ways that it avoids, with a linear discriminator to
# compile quickly. In a whole step, concatenation adds 3 all-to-alls and 2 all-gathers;
# blocks add 4 all-to-alls, 26 all-gathers and 28 collective-permutes.


def _concatenated(real: jax.Array, fake: jax.Array) -> jax.Array:
    return jnp.concatenate([real, fake])


def _in_blocks(x: jax.Array, d_steps: int) -> jax.Array:
    return jnp.moveaxis(x.reshape(d_steps, -1, *x.shape[1:]), 0, 1)


@pytest.mark.parametrize(
    ("join", "slices", "only_all_reduces"),
    [
        (train_step._interleave, train_step._every, True),
        (_concatenated, train_step._every, False),
        (train_step._interleave, _in_blocks, False),
    ],
    ids=["as in a step", "concatenated", "in blocks"],
)
def test_other_arrangements_of_rows_need_other_collectives(
    join: Callable[[Any, Any], Any],
    slices: Callable[[Any, int], Any],
    only_all_reduces: bool,
) -> None:
    mesh = mesh_lib.make_mesh(tiny_gan.build(mesh__devices=8).config)

    def loss(kernel: jax.Array, real: jax.Array, fake: jax.Array) -> jax.Array:
        logits = jnp.tanh(join(slices(real, 2)[:, 1], slices(fake, 2)[:, 1]) @ kernel)
        return jnp.square(logits[0::2]).mean() - logits[1::2].mean()

    whole, rows = mesh_lib.replicated(mesh), mesh_lib.split(mesh)
    gradient = jax.jit(
        jax.grad(loss), in_shardings=(whole, rows, rows), out_shardings=whole
    )
    images = jnp.zeros((ROWS, 5))
    compiled = gradient.lower(jnp.zeros(5), images, images).compile()
    assert (_collectives(compiled) == {"all-reduce"}) is only_all_reduces


def test_augmented_images_and_penalties_stay_on_their_device() -> None:
    # All terms at once, though a config may not have them all.
    config = tiny_gan.build(mesh__devices=8).config
    config.model.num_classes, config.train.loss = 3, "relativistic"
    config.train.batch_size = 16
    config.regularizers = RegularizerConfig(
        r1=1.0,
        r2=1.0,
        every=2,
        gradient_penalty=10.0,
        lecam=0.3,
        augment=("color", "translation", "cutout"),
    )
    parts = linear_gan.parts(config)
    mesh = mesh_lib.make_mesh(config)
    step = train_step.make_train_step(*parts, mesh_lib.constrain(mesh))
    state = jax.eval_shape(functools.partial(state_lib.create, *parts))
    batch = {
        "image": jax.ShapeDtypeStruct((16, 4, 4, 1), jnp.uint8),
        "label": jax.ShapeDtypeStruct((16,), jnp.int32),
    }
    compiled = mesh_lib.jit_step(step, mesh).lower(state, batch).compile()
    assert _collectives(compiled) == {"all-reduce"}
