"""Several training steps in one call of the device."""

from typing import Any

import jax

from sagan_jax.training.train_step import Batch, Metrics, TrainStep


def repeated(step: TrainStep) -> TrainStep:
    """Returns a function that makes one step for each of K batches.

    It takes a state and batches with a leading axis [K, ...], and returns the last
    state and the metrics of the last step. Its random draws are those of K separate
    steps; its sums may be rounded differently, as in any other program.
    """

    def steps(state: Any, batches: Batch, *seed: jax.Array) -> tuple[Any, Metrics]:
        state, metrics = jax.lax.scan(
            lambda state, batch: step(state, batch, *seed), state, batches
        )
        return state, jax.tree.map(lambda values: values[-1], metrics)

    return steps
