"""Whole runs of the tiny GAN on two devices, made once and read by several tests."""

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
from sagan_jax.workdir import telemetry

STEPS = 6
STOP_AT = 3
PACE = ("time", "images_per_second")


class Run(NamedTuple):
    """Where a run is, what it printed, and how often its step was traced."""

    workdir: Path
    output: str
    traces: int


def config(**changes: Any) -> Config:
    """Returns the config of these runs; `changes` are dotted names with __."""
    few = {"evaluation__rows": 4, "evaluation__columns": 2, "mesh__devices": 2}
    few |= {"evaluation__num_samples": 16, "train__batch_size": 4}
    return tiny_gan.build(**{**few, **changes}).config


def train(config: Config, workdir: Path, command: str = "COMMAND") -> Run:
    """Trains in this process; equal programs are compiled once for all runs."""
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

    said = io.StringIO()
    with (
        mock.patch.object(train_lib, "make_train_step", make_counted),
        cached_compiles(),
        contextlib.redirect_stdout(said),
    ):
        train_lib.train(config, workdir, command)
    return Run(workdir, said.getvalue(), traces)


@contextlib.contextmanager
def stopped_by(number: int, step: int = STOP_AT) -> Iterator[None]:
    """Sends the signal `number` to this process when a run has made `step` steps."""
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


@functools.cache
def whole() -> Run:
    """Returns a run of all steps at once."""
    return train(config(), folder() / "whole")


@functools.cache
def interrupted() -> tuple[Run, Run]:
    """Returns a run that SIGINT stopped, and its continuation in the same workdir."""
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
    """Keeps compiled programs under `folder()`, and compiles them quickly."""
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
    """Returns the whole state of a checkpoint in numpy, as orbax alone reads it."""
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


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl without what depends on the clock."""
    return [
        {name: value for name, value in line.items() if name not in PACE}
        for line in read_lines(workdir / "metrics.jsonl")
    ]


def tree_of(root: Path) -> dict[str, bytes | None]:
    """Returns every path below `root` and, of files, what is in them."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }
