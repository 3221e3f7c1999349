"""Whole runs of the tiny GAN on two devices, trained once and shared by tests."""

import atexit
import contextlib
import functools
import io
import json
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp
import tiny_gan
from jax.experimental.compilation_cache import compilation_cache

from sagan_jax.commands import train as train_lib
from sagan_jax.config import Config
from sagan_jax.evaluation import progress
from sagan_jax.workdir import checkpoint, telemetry
from sagan_jax.workdir import run as run_lib

STEPS = 6
STOP_AT = 3
PACE = ("time", "images_per_second")


class Run(NamedTuple):
    """The workdir of a run, its output, and how often its step was traced."""

    workdir: Path
    output: str
    traces: int


def config(**changes: Any) -> Config:
    """Returns the config of these runs; `changes` are fields, with __ as the dot."""
    few = {"evaluation__rows": 4, "evaluation__columns": 2, "mesh__devices": 2}
    few |= {"evaluation__num_samples": 16, "train__batch_size": 4}
    return tiny_gan.build(**{**few, **changes}).config


def train(config: Config, workdir: Path, command: str = "COMMAND") -> Run:
    """Trains in this process; runs with equal programs share one compilation."""
    traces = 0
    make = train_lib.make_train_step

    def make_counted(*args: Any) -> Any:
        step = make(*args)

        @functools.wraps(step)
        def counted(*args: Any) -> Any:
            nonlocal traces
            traces += 1
            return step(*args)

        return counted

    printed = io.StringIO()
    with (
        mock.patch.object(train_lib, "make_train_step", make_counted),
        cached_compiles(),
        contextlib.redirect_stdout(printed),
    ):
        train_lib.train(config, workdir, command)
    return Run(workdir, printed.getvalue(), traces)


@contextlib.contextmanager
def stopped_by(number: int, step: int = STOP_AT) -> Iterator[None]:
    """Sends the signal `number` to this process after `step` steps of a run."""
    advance = telemetry.Telemetry.advance
    made = 0

    def advance_and_stop(self: telemetry.Telemetry) -> None:
        nonlocal made
        advance(self)
        made += 1
        if made == step:
            signal.raise_signal(number)

    with mock.patch.object(telemetry.Telemetry, "advance", advance_and_stop):
        yield


@contextlib.contextmanager
def stopped_while_scoring(number: int, step: int) -> Iterator[None]:
    """Sends the signal `number` while the run is scored at `step`."""
    observe = progress.observe

    def stop_and_observe(*args: Any) -> Any:
        if args[4] == step:
            signal.raise_signal(number)
        return observe(*args)

    with mock.patch.object(progress, "observe", stop_and_observe):
        yield


@functools.cache
def whole() -> Run:
    """Returns an uninterrupted run."""
    return train(config(), folder() / "whole")


@functools.cache
def interrupted() -> tuple[Run, Run]:
    """Returns a run that SIGINT stopped, and the same run after it was resumed."""
    with stopped_by(signal.SIGINT):
        before = train(config(), folder() / "interrupted")
    return before, train(config(), folder() / "interrupted")


@functools.cache
def folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="sagan_jax_"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@contextlib.contextmanager
def cached_compiles() -> Iterator[None]:
    """Caches compiled programs in `folder()`, and compiles with few optimisations."""
    name = "jax_compilation_cache_dir"
    before = getattr(jax.config, name)
    jax.config.update(name, str(folder() / "compiled"))
    compilation_cache.reset_cache()
    try:
        with tiny_gan.quick_compiles():
            yield
    finally:
        jax.config.update(name, before)
        compilation_cache.reset_cache()


def read_state(workdir: Path, step: int) -> Any:
    """Returns the complete state of a checkpoint as numpy arrays, read with orbax."""
    with ocp.StandardCheckpointer() as checkpointer:
        path = workdir.absolute() / "checkpoints" / str(step) / "default"
        tree = checkpointer.metadata(path).item_metadata.tree
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), tree
        )
        return jax.tree.map(np.asarray, checkpointer.restore(path, wanted))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps(workdir: Path) -> list[int]:
    """Returns the steps that have a checkpoint."""
    return checkpoint.steps(workdir / "checkpoints")


def save(workdir: Path, config: Config, state: Any) -> run_lib.Run:
    """Makes a run with one checkpoint."""
    run = run_lib.begin(workdir, config)
    run.record_start(step=0, command="COMMAND", images="")
    with checkpoint.open_manager(run.checkpoints, config.train) as manager:
        manager.save(state)
    return run


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl without times and speeds."""
    return [
        {name: value for name, value in line.items() if name not in PACE}
        for line in read_lines(workdir / "metrics.jsonl")
    ]


def tree_of(root: Path) -> dict[str, bytes | None]:
    """Returns every path below `root`, with the content of files."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }
