"""The training step of a config, compiled once and stored in the cache directory."""

import dataclasses
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from sagan_jax.commands import dry_run
from sagan_jax.config import Config
from sagan_jax.files import cache
from sagan_jax.runtime import dependencies, stored
from sagan_jax.training.state import GanState

OUTSIDE = (
    "log_every",
    "sample_every",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_every",
    "rollbacks",
)
"""Fields of `config.train` that no program depends on."""


class StoredStep:
    """Loads a step in a thread of its own, while the caller makes the state.

    Args:
      config: the config, with the seed that the step uses.
      mesh: the devices.
    """

    def __init__(self, config: Config, mesh: jax.sharding.Mesh) -> None:
        self._config, self._devices = config, list(mesh.devices.flat)
        directory = cache.directory("programs")
        self._path = directory and stored.path_of(directory, name(config, mesh.size))
        self._facts: dict[str, str] = {}
        if self._path and _is_supported(self._devices):
            self._facts = dependencies.facts(self._devices)
            pool = ThreadPoolExecutor(1)
            self._loading = pool.submit(
                stored.load, self._path, self._facts, self._devices
            )
            pool.shutdown(wait=False)

    def get(self, jitted: jax.stages.Wrapped, state: GanState) -> tuple[Any, str]:
        """Returns the step, and a line about an entry that could not be used, or ''.

        Args:
          jitted: the step, to compile if it is not stored.
          state: the state that it will be called with.
        """
        if not self._path or not self._facts:
            return jitted, ""
        found = self._loading.result()
        if found.program is not None:
            return found.program, ""
        batch = dry_run.batch(self._config)
        program = stored.compile_and_save(
            self._path, self._facts, lambda: jitted.lower(state, batch)
        )
        return program, found.remark


def name(config: Config, devices: int) -> str:
    """Returns what a step depends on of its config, and the number of devices."""
    parts = {
        group: dataclasses.asdict(getattr(config, group))
        for group in ("model", "optim", "train")
    }
    parts["train"] = {k: v for k, v in parts["train"].items() if k not in OUTSIDE}
    return json.dumps([parts, devices], sort_keys=True)


def _is_supported(devices: list[jax.Device]) -> bool:
    # On other platforms, and with several processes, jax's own cache is used.
    cpu = devices[0].platform == "cpu" and jax.process_count() == 1
    return cpu and hasattr(os, "geteuid")
