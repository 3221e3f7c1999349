"""Several steps in one call, compared with the same number of single calls."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan

from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import train_step
from sagan_jax.training.repeated import repeated


def _running_sum(state: Any, batch: Any) -> tuple[Any, Any]:
    total = state["sum"] + batch["image"].astype(jnp.float32).sum()
    return {"step": state["step"] + 1, "sum": total}, {"sum": total}


def test_every_batch_makes_one_step_in_order() -> None:
    state = {"step": jnp.int32(3), "sum": jnp.float32(1)}
    batches = {"image": jnp.arange(6, dtype=jnp.uint8).reshape(3, 2)}
    state, metrics = jax.jit(repeated(_running_sum))(state, batches)
    assert (int(state["step"]), float(state["sum"])) == (6, 16.0)
    assert metrics["sum"].shape == ()
    assert float(metrics["sum"]) == 16.0


@pytest.mark.slow
def test_two_steps_in_one_call_equal_two_calls() -> None:
    # Run with: pytest -m slow tests/training/test_repeated.py
    with tiny_gan.quick_compiles():
        first, second, _ = tiny_gan.history("d_first")
        run = tiny_gan.build("d_first", mesh__devices=1)
        mesh = mesh_lib.make_mesh(run.config)
        step = train_step.make_train_step(*run, mesh_lib.constrain(mesh))
        together = mesh_lib.jit_step(repeated(step), mesh, stacked=True)
        state = tiny_gan.compiled("d_first", 1).place(first.before)
        batches = mesh_lib.global_batches([first.batch, second.batch], mesh)
        after, metrics = jax.device_get(together(state, batches))
    assert (after.step, after.skipped) == (2, 0)
    for found, expected in (
        (after.generator, second.after.generator),
        (after.discriminator, second.after.discriminator),
    ):
        # Gradients are up to 30; Adam scales their rounding by at most 0.1.
        tiny_gan.assert_close(found.params, expected.params, 1e-5)
        tiny_gan.assert_close(found.spectral, expected.spectral, 1e-5)
        tiny_gan.assert_close(found.batch_stats, expected.batch_stats, 1e-5)
    for name, value in second.metrics.items():
        np.testing.assert_allclose(
            metrics[name], value, rtol=1e-4, atol=1e-5, err_msg=name
        )
