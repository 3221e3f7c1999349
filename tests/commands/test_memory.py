"""The memory setting of a training: what it asks for, and what it prints."""

import pytest

from experiments import quickstart
from sagan_jax.commands import memory
from sagan_jax.commands.options import Options
from sagan_jax.networks import costs
from sagan_jax.runtime import allocator, devices


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns the bytes that `allocator.keep` is asked for."""
    found: list[int] = []

    def keep(step_bytes: int) -> allocator.Kept:
        found.append(step_bytes)
        return allocator.Kept(True, "memory: kept")

    monkeypatch.setattr(allocator, "keep", keep)
    monkeypatch.setattr(devices, "run_in_calling_thread", lambda: None)
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    return found


def test_the_memory_of_a_step_is_asked_for(
    asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    config = quickstart.get_config()
    memory.keep(Options(config=config))
    assert asked == [costs.step_bytes(config)]
    assert capsys.readouterr().out == "memory: kept\n"


def test_steps_run_in_the_thread_that_keeps(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[bool] = []
    monkeypatch.setattr(devices, "run_in_calling_thread", lambda: called.append(True))
    memory.keep(Options(config=quickstart.get_config()))
    assert called == [True]


@pytest.mark.parametrize("variable", [True, False])
def test_several_devices_keep_nothing(
    variable: bool,
    asked: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = quickstart.get_config()
    if variable:
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    else:
        config.mesh.devices = 2
    memory.keep(Options(config=config))
    assert asked == []
    assert capsys.readouterr().out == ""


def test_the_flag_turns_it_off(
    asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    memory.keep(Options(config=quickstart.get_config(), keep_memory=False))
    assert asked == []
    assert capsys.readouterr().out == ""
