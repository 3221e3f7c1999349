"""Every sweep that is shipped: it validates, at full size and shrunk."""

import importlib
from pathlib import Path

import pytest

import experiments
from sagan_jax.commands import sweep
from sagan_jax.config import Sweep
from sagan_jax.config import sweep as sweep_lib

FOLDER = Path(experiments.__file__).parent / "ablations"
NAMES = sorted({path.stem for path in FOLDER.glob("*.py")} - {"__init__"})


def _sweep(name: str, argument: str | None = None) -> Sweep:
    module = importlib.import_module(f"experiments.ablations.{name}")
    found = module.get_config(argument)
    assert isinstance(found, Sweep)
    return found


def test_there_are_sweeps() -> None:
    assert "quickstart_attention" in NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("argument", [None, "smoke"])
def test_a_sweep_validates(name: str, argument: str | None) -> None:
    sweep.check(_sweep(name, argument))


@pytest.mark.parametrize("name", NAMES)
def test_a_smoke_sweep_is_short(name: str) -> None:
    small = _sweep(name, "smoke")
    assert len(small.seeds) <= 2
    assert small.name == f"{name}_smoke"
    assert sweep_lib.config_of(small, next(iter(small.variants)), 0).train.steps <= 10


@pytest.mark.parametrize("name", NAMES)
def test_a_header_names_hardware_time_and_result(name: str) -> None:
    header = importlib.import_module(f"experiments.ablations.{name}").__doc__ or ""
    assert all(f"{word}: " in header for word in ("Hardware", "Time", "Expected"))
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
