"""Starts the process of a cell, waits for it, and stops it with the sweep."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sagan_jax import config as config_lib
from sagan_jax.commands.experiment_files import SHIPPED
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import lock
from sagan_jax.runtime.stop import StopRequest

Answer = dict[str, Any]

_POLL = 0.1  # seconds
_PATIENCE = 120.0
"""Seconds to wait for a cell that outlived an earlier sweep."""


def train(
    config: Config,
    workdir: Path,
    plan_hash: str,
    stop: StopRequest,
    *,
    command: str,
    keep_memory: bool,
) -> Answer:
    """Trains a cell in a process of its own, and returns what became of it.

    Args:
      config: the config of the cell.
      workdir: its workdir, which may hold an earlier part of the run.
      plan_hash: the plan of the sweep.
      stop: asked again and again; the cell then saves and leaves.
      command: the command that resumes the sweep, for the records of the cell.
      keep_memory: see `Options.keep_memory`.

    Returns:
      {'line': ...} if the cell ended, {'reason': ...} if it failed, and {} if it was
      stopped.

    Raises:
      UserError: the cell of an earlier sweep still runs.
    """
    if not _is_free(workdir, stop):
        return {}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer:
        task = {
            "config": config_lib.to_json(config),
            "workdir": str(workdir),
            "plan_hash": plan_hash,
            "command": command,
            "keep_memory": keep_memory,
            "answer": answer.fileno(),
        }
        with _started(answer.fileno()) as process:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(task).encode() + b"\n")
                process.stdin.flush()
            code = _awaited(process, stop)
        answer.seek(0)
        text = answer.read()
    if text:
        found: Answer = json.loads(text)
        return found
    if stop.requested:
        return {}
    return {"reason": _in_words(code)}


@contextlib.contextmanager
def _started(answer: int) -> Iterator[subprocess.Popen[bytes]]:
    """Yields the process of a cell; a way out by an error kills it."""
    path = os.pathsep.join(filter(None, [str(SHIPPED), os.environ.get("PYTHONPATH")]))
    # A terminal sends Ctrl-C to this process and to its cell. The cell leaves it to
    # this one: a second signal would end it before it has saved.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sagan_jax.commands.cell"],
            stdin=subprocess.PIPE,
            pass_fds=[answer],
            env=os.environ | {"PYTHONPATH": path},
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # type: ignore[union-attr]


def _awaited(process: subprocess.Popen[bytes], stop: StopRequest) -> int:
    told = False
    while True:
        try:
            return process.wait(_POLL)
        except subprocess.TimeoutExpired:
            if stop.requested and not told:
                told = True
                print("stopping: the cell saves its state", flush=True)
                assert process.stdin is not None
                process.stdin.close()  # the end of its input, even if this one dies


def _is_free(workdir: Path, stop: StopRequest) -> bool:
    """Waits until no process trains in `workdir`; False if asked to stop before."""
    told, until = False, time.monotonic() + _PATIENCE
    while not stop.requested:
        try:
            with lock.held(workdir):
                return True
        except UserError:
            if time.monotonic() > until:
                raise
        if not told:
            told = True
            print("waiting for the cell of an earlier sweep to save", flush=True)
        time.sleep(_POLL)
    return False


def _in_words(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with code {code}"
