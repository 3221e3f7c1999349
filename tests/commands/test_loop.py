"""The steady state of training: nothing is read from the device unless it is logged."""

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
import tiny_gan
import tiny_runs

from sagan_jax import networks
from sagan_jax.commands import loop
from sagan_jax.pictures import sheets
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir import telemetry


class _Reads:
    """Counts how often the value of a device array is copied to the host."""

    def __init__(self) -> None:
        self.count = 0
        self.after_step: list[int] = []

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        # float, int, bool, .item() and device_get all read this property; numpy takes
        # an array on a CPU through the buffer protocol instead.
        array = type(jax.device_put(1.0))
        value = array._value

        def read(this: Any) -> Any:
            self.count += 1
            return value.fget(this)

        def counting(function: Any) -> Any:
            def call(this: Any, *args: Any, **options: Any) -> Any:
                self.count += isinstance(this, jax.Array)
                return function(this, *args, **options)

            return call

        advance = telemetry.Telemetry.advance

        def advance_and_note(this: Any) -> None:
            self.after_step.append(self.count)
            advance(this)

        with (
            mock.patch.object(array, "_value", property(read)),
            mock.patch.object(np, "asarray", counting(np.asarray)),
            mock.patch.object(np, "array", counting(np.array)),
            mock.patch.object(telemetry.Telemetry, "advance", advance_and_note),
        ):
            yield

    def between_steps(self) -> list[int]:
        """Returns the reads from the end of each step to the end of the next."""
        return np.diff(self.after_step).tolist()


def _few_events(**changes: Any) -> Any:
    """Returns a config that only logs at steps 4 and 8."""
    rare = {"train__log_every": 4, "train__sample_every": 99, "train__steps": 8}
    rare |= {"train__checkpoint_every": 99, "evaluation__num_samples": 0}
    return tiny_runs.config(**rare | changes)


@pytest.mark.parametrize(
    "read",
    [
        float,
        bool,
        jax.device_get,
        lambda x: x.item(),
        lambda x: np.asarray(x),
        lambda x: np.array(x),
    ],
    ids=["float", "bool", "device_get", "item", "asarray", "array"],
)
def test_every_way_to_read_an_array_is_counted(read: Any) -> None:
    reads = _Reads()
    with reads.counted():
        read(jax.device_put(2.0) + 1.0)
    assert reads.count > 0


def test_steps_that_log_nothing_read_nothing(tmp_path: Path) -> None:
    reads = _Reads()
    with reads.counted():
        tiny_runs.train(_few_events(), tmp_path / "run")
    # From step 1 to 2, 2 to 3, ...; after step 1 the first sheets are drawn, and step 4
    # is logged before step 5 is made.
    assert [count == 0 for count in reads.between_steps()] == [
        *(False, True, True),
        False,
        *(True, True, True),
    ]


def test_a_read_in_every_step_is_detected(tmp_path: Path) -> None:
    due = loop.schedule.due

    def read_and_due(config: Any, step: int, **options: Any) -> Any:
        float(jax.device_put(1.0))
        return due(config, step, **options)

    reads = _Reads()
    with reads.counted(), mock.patch.object(loop.schedule, "due", read_and_due):
        tiny_runs.train(_few_events(train__steps=4), tmp_path / "run")
    assert min(reads.between_steps()) > 0


def test_steps_make_no_implicit_transfers(tmp_path: Path) -> None:
    # On a CPU the guard sees what goes to the device, not what comes back.
    block = jax.block_until_ready
    guard = contextlib.ExitStack()
    steps = 0

    def enter_guard(array: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 1:
            guard.enter_context(jax.transfer_guard("disallow"))
        return block(array)

    save = sheets.save

    def save_unguarded(*args: Any) -> Any:
        guard.close()  # a sheet puts labels on the device
        return save(*args)

    with (
        guard,
        mock.patch.object(loop.jax, "block_until_ready", enter_guard),
        mock.patch.object(sheets, "save", save_unguarded),
    ):
        tiny_runs.train(_few_events(), tmp_path / "run")
    assert steps == 6


def test_a_stop_request_before_the_first_step_prevents_it(tmp_path: Path) -> None:
    record_start = run_lib.Run.record_start

    def stop_and_record(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return record_start(*args, **options)

    with mock.patch.object(run_lib.Run, "record_start", stop_and_record):
        run = tiny_runs.train(tiny_runs.config(), tmp_path / "run")
    assert re.fullmatch("stopped .*first step.*resume.*COMMAND\n", run.output)
    assert run.traces == 0
    assert tiny_runs.steps(run.workdir) == []
    after = tiny_runs.train(tiny_runs.config(), run.workdir)
    assert after.output.startswith("6 steps")
    assert tiny_runs.read_metrics(run.workdir) == tiny_runs.read_metrics(
        tiny_runs.whole().workdir
    )


def test_the_first_sheets_show_the_state_before_the_first_step(tmp_path: Path) -> None:
    config = tiny_runs.config(train__steps=1, evaluation__num_samples=0)
    save, drawn = sheets.save, []

    def save_and_note(
        config: Any, generator: Any, state: Any, folder: Path, variables: Any
    ) -> Any:
        drawn.append(jax.device_get((state.generator.variables, state.ema)))
        return save(config, generator, state, folder, variables)

    with mock.patch.object(sheets, "save", save_and_note):
        tiny_runs.train(config, tmp_path / "run")
    run = tiny_gan.Run(*_parts_of(config))
    with tiny_runs.cached_compiles():
        created = jax.jit(lambda: state_lib.create(*run))()
    tiny_gan.assert_same_bits(
        drawn[0], jax.device_get((created.generator.variables, created.ema))
    )
    assert len(drawn) == 2


def test_a_run_that_is_killed_before_the_first_sheets_draws_them_later(
    tmp_path: Path,
) -> None:
    # Every step is saved: the first one must not be before the sheets are drawn.
    config = tiny_runs.config(train__checkpoint_every=1, train__steps=1)

    class KilledError(Exception):
        pass

    with (
        mock.patch.object(sheets, "save_real", side_effect=KilledError),
        pytest.raises(KilledError),
    ):
        tiny_runs.train(config, tmp_path / "run")
    assert tiny_runs.steps(tmp_path / "run") == []
    tiny_runs.train(config, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run" / "samples").iterdir()}
    assert {"real.png", "step_00000000.png", "step_00000001.png"} <= names


def _parts_of(config: Any) -> tuple[Any, ...]:
    return config, *networks.build(config.model), optim.make_optimizers(config)
