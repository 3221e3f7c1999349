"""Several steps per call of the device: what is due stays at its steps."""

import contextlib
import functools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
import tiny_runs

from sagan_jax.commands import train as train_lib
from sagan_jax.training.train_step import TrainStep

STEPS, LOG, SAVE = 11, 5, 6


def _config(together: int) -> Any:
    return tiny_runs.config(
        train__steps=STEPS,
        train__log_every=LOG,
        train__sample_every=99,
        train__checkpoint_every=SAVE,
        train__steps_per_dispatch=together,
        train__keep_checkpoints=9,
        evaluation__num_samples=0,
    )


def _cheap_step(*args: Any) -> TrainStep:
    """Returns a step without networks, whose metrics depend on all images so far."""

    def step(state: Any, batch: Any, seed: Any) -> Any:
        # Few enough bits for exact sums, in one call or in several.
        pixels = batch["image"].astype(jnp.int32).sum() % 1009
        bias = state.generator.params["conv"]["bias"]
        moved = 0.5 * bias + pixels.astype(jnp.float32)
        state.generator.params["conv"]["bias"] = moved
        metrics = {"loss/generator": moved[0], "loss/discriminator": moved[1]}
        metrics["skipped"] = jnp.float32(0)
        return state.replace(step=state.step + 1), metrics

    return step


class _Calls:
    """The number of steps in each call of a run."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        jit_step = train_lib.mesh_lib.jit_step

        def recording(step: Any, mesh: Any, *, stacked: bool = False, **_: Any) -> Any:
            jitted = jit_step(step, mesh, stacked=stacked, seeded=True)

            def call(state: Any, batch: Any, seed: Any) -> Any:
                self.counts.append(len(batch["image"]) if stacked else 1)
                return jitted(state, batch, seed)

            return call

        with (
            mock.patch.object(train_lib, "make_train_step", _cheap_step),
            mock.patch.object(train_lib.mesh_lib, "jit_step", recording),
        ):
            yield


def _train(workdir: Path, together: int) -> list[int]:
    calls = _Calls()
    with calls.recorded():
        tiny_runs.train(_config(together), workdir)
    return calls.counts


@functools.cache
def _single() -> Path:
    workdir = tiny_runs.folder() / "single"
    assert _train(workdir, 1) == [1] * STEPS
    return workdir


def _assert_same_run(workdir: Path) -> None:
    assert tiny_runs.read_metrics(workdir) == tiny_runs.read_metrics(_single())
    assert tiny_runs.steps(workdir) == tiny_runs.steps(_single()) == [6, 11]
    samples = sorted(path.name for path in (workdir / "samples").iterdir())
    assert samples == sorted(path.name for path in (_single() / "samples").iterdir())


@pytest.mark.parametrize(
    ("together", "calls"),
    [
        (2, [2, 2, 1, 1, 2, 2, 1]),
        (5, [5, 1, 1, 1, 1, 1, 1]),
        (64, [1] * STEPS),
    ],
)
def test_a_call_ends_where_something_is_due(
    together: int, calls: list[int], tmp_path: Path
) -> None:
    # Due are steps 5 (log), 6 (checkpoint), 10 (log) and 11 (the last).
    assert _train(tmp_path / "run", together) == calls
    _assert_same_run(tmp_path / "run")


def test_a_run_that_is_stopped_and_resumed_makes_the_same_steps(tmp_path: Path) -> None:
    with tiny_runs.stopped_by(signal.SIGINT, step=3):
        assert _train(tmp_path / "run", 2) == [2, 2]
    assert tiny_runs.steps(tmp_path / "run") == [4]
    assert _train(tmp_path / "run", 2) == [1, 1, 2, 2, 1]
    lines = tiny_runs.read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [4, 5, 10, 11]
    assert lines[1:] == tiny_runs.read_metrics(_single())


def test_a_run_can_be_resumed_with_another_number(tmp_path: Path) -> None:
    with tiny_runs.stopped_by(signal.SIGINT, step=3):
        assert _train(tmp_path / "run", 1) == [1, 1, 1]
    assert _train(tmp_path / "run", 2) == [2, 1, 2, 2, 1]
    assert tiny_runs.read_metrics(tmp_path / "run")[1:] == tiny_runs.read_metrics(
        _single()
    )


def test_on_a_cpu_the_start_says_that_it_is_slow() -> None:
    assert train_lib._of_slow_loops(_config(1)) == []
    (remark,) = train_lib._of_slow_loops(_config(4))
    assert "train.steps_per_dispatch=4" in remark
    assert "choose 1" in remark
    with mock.patch.object(jax, "devices", return_value=[mock.Mock(platform="gpu")]):
        assert train_lib._of_slow_loops(_config(4)) == []
