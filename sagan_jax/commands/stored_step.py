"""The training step of a config, compiled once and stored in the cache directory."""

import dataclasses
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import jax

from sagan_jax.commands import dry_run
from sagan_jax.config import Config
from sagan_jax.files import cache
from sagan_jax.runtime import dependencies, stored
from sagan_jax.training.state import GanState

OUTSIDE = (
    "seed",  # an argument of the step
    "init_from",
    "log_every",
    "sample_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_every",
    "rollbacks",
    "trackers",
)
"""Fields of `config.train` that no program depends on."""


_POLL = 0.2
"""Seconds between two looks at whether the run is asked to stop."""


class StoredStep:
    """Loads a step in a thread of its own, while the caller makes the state.

    Args:
      config: the config; one program serves all seeds.
      mesh: the devices.
    """

    def __init__(self, config: Config, mesh: jax.sharding.Mesh) -> None:
        self._config, self._devices = config, list(mesh.devices.flat)
        directory = cache.directory("programs")
        self._path = directory and stored.path_of(directory, name(config, mesh.size))
        self._facts: dict[str, str] = {}
        if self._path and _is_supported(self._devices):
            self._facts = dependencies.facts(self._devices)
            path, facts, devices = self._path, self._facts, self._devices
            self._loading = _in_thread(lambda: stored.load(path, facts, devices))

    def get(
        self,
        jitted: jax.stages.Wrapped,
        arguments: tuple[GanState, Any],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[Any, str]:
        """Returns the step, and a line about an entry that could not be used, or ''.

        Args:
          jitted: the step, to compile if it is not stored.
          arguments: the state and the seed that it will be called with.
          meanwhile: called again and again while the step is loaded or compiled.
        """
        if not self._path or not self._facts:
            return jitted, ""
        found = _awaited(self._loading, meanwhile)
        if found.program is not None:
            return found.program, ""
        state, seed = arguments
        batch = dry_run.batch(self._config)
        path, facts = self._path, self._facts
        compiling = _in_thread(
            lambda: stored.compile_and_save(
                path, facts, lambda: jitted.lower(state, batch, seed)
            )
        )
        return _awaited(compiling, meanwhile), found.remark


def name(config: Config, devices: int) -> str:
    """Returns what a step depends on of its config, and the number of devices."""
    parts = {
        group: dataclasses.asdict(getattr(config, group))
        for group in ("model", "optim", "train", "regularizers")
    }
    parts["train"] = {k: v for k, v in parts["train"].items() if k not in OUTSIDE}
    return json.dumps([parts, devices], sort_keys=True)


def _in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Returns the future of `work`, which does not keep the process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _awaited(future: Future[Any], meanwhile: Callable[[], None]) -> Any:
    # Signals are handled between two calls of C++, and a compiler is one long call.
    while True:
        meanwhile()
        try:
            return future.result(timeout=_POLL)
        except TimeoutError:
            if future.done():
                raise  # by `work` itself


def _is_supported(devices: list[jax.Device]) -> bool:
    # On other platforms, and with several processes, jax's own cache is used.
    cpu = devices[0].platform == "cpu" and jax.process_count() == 1
    return cpu and hasattr(os, "geteuid")
