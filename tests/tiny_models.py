"""A run with one checkpoint of random weights, and a model folder of such weights."""

import functools
import shutil
from pathlib import Path
from typing import Any

import jax
import pytest
import tiny_gan
import tiny_runs

from sagan_jax import config as config_lib
from sagan_jax.training.state import GanState
from sagan_jax.workdir import model_files, models
from sagan_jax.workdir.model_files import DISCRIMINATOR, GENERATOR, LIVE
from sagan_jax.workdir.run import Run

STEP = 4
_SHAPES = Run._shapes
_known: dict[str, Any] = {}


@functools.cache
def state() -> GanState:
    """Returns the state of the run, whose arrays have no special values."""
    found = tiny_gan.random_state(tiny_gan.build())
    found.step[...] = STEP
    return found


@functools.cache
def run() -> Run:
    """Returns the run; nobody may change its files."""
    path = tiny_runs.folder() / "random"
    return tiny_runs.save(path, tiny_runs.config(), state())


def trees() -> dict[str, Any]:
    """Returns the arrays of the folder; their `u` is not iterated, which takes long."""
    live = state().generator.variables
    return {
        GENERATOR: {**live, "params": state().ema},
        DISCRIMINATOR: state().discriminator.variables,
        LIVE: models.live_part(live),
    }


@functools.cache
def _written() -> Path:
    return write(tiny_runs.folder() / "written", trees())


def write(path: Path, trees: Any, config: Any = None, **notes: str) -> Path:
    """Writes a model folder with a short card, and returns its path."""
    path.mkdir()
    facts = {"step": str(STEP), "parameters": "averaged", "checkpoint": "c" * 64}
    config = model_files.stripped(config or tiny_runs.config())
    model_files.write(path, config, trees, facts | notes)
    model_files.write_card(path, "A card.\n")
    return path


def folder(path: Path) -> Path:
    """Returns a model folder to change, with the arrays of `trees`."""
    return Path(shutil.copytree(_written(), path))


def describe_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traces the networks of a config once, which takes half a second, not each time.

    The shapes of a state are a pure function of the config.
    """

    def described(self: Run) -> Any:
        key = config_lib.to_json(self.config)
        if key not in _known:
            _known[key] = _SHAPES(self)
        return _known[key]

    monkeypatch.setattr(Run, "_shapes", described)


def assert_same(found: Any, expected: Any) -> None:
    """Raises if two trees differ in any bit."""
    tiny_gan.assert_same_bits(jax.device_get(found), jax.device_get(expected))
