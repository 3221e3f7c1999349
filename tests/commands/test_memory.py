"""The memory setting of a training: what it asks for, and what it prints."""

import pytest

from experiments import quickstart
from sagan_jax.commands import memory
from sagan_jax.commands.options import Options
from sagan_jax.networks import costs
from sagan_jax.runtime import allocator


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Returns the bytes that `allocator.keep` is asked for."""
    found: list[int] = []

    def keep(step_bytes: int) -> allocator.Kept:
        found.append(step_bytes)
        return allocator.Kept(True, "memory: kept")

    monkeypatch.setattr(allocator, "keep", keep)
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    return found


def test_the_memory_of_a_step_is_asked_for(
    asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    config = quickstart.get_config()
    memory.keep(Options(config=config))
    assert asked == [costs.step_bytes(config)]
    assert capsys.readouterr().out == "memory: kept\n"


def test_every_device_has_a_state_of_its_own(
    asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = quickstart.get_config()
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    memory.keep(Options(config=config))
    config.mesh.devices = 2
    memory.keep(Options(config=config))
    assert asked == [8 * costs.step_bytes(config, 8), 2 * costs.step_bytes(config, 2)]


def test_the_flag_turns_it_off(
    asked: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    memory.keep(Options(config=quickstart.get_config(), keep_memory=False))
    assert asked == []
    assert capsys.readouterr().out == ""
