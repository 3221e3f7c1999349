"""The step of a config in the cache directory."""

import dataclasses
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_runs

from sagan_jax.commands import stored_step
from sagan_jax.config import Config, TrainConfig
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training.state import GanState


def test_fields_outside_the_step_exist() -> None:
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(stored_step.OUTSIDE) < known


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        ("train.log_every", 7, True),
        ("train.trackers", ("wandb",), True),
        ("data.path", "elsewhere", True),
        ("evaluation.seed", 7, True),
        ("train.seed", 7, True),
        ("train.init_from", "runs/a", True),
        ("train.steps", 7, False),
        ("train.batch_size", 8, False),
        ("optim.beta2", 0.5, False),
        ("regularizers.r1", 0.5, False),
        ("train.ema_decays", (0.5,), False),
        ("model.width", 8, False),
    ],
)
def test_a_step_depends_on_the_fields_that_enter_it(
    field: str, value: object, same: bool
) -> None:
    config, other = Config(), Config()
    group, name = field.split(".")
    setattr(getattr(other, group), name, value)
    names = [stored_step.name(c, 1) for c in (config, other)]
    assert (names[0] == names[1]) is same
    assert names[0] != stored_step.name(config, 2)


def test_a_step_is_traced_once_and_then_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = tiny_runs.config()
    mesh = mesh_lib.make_mesh(config)
    traces = []

    def step(
        state: GanState, batch: dict[str, jax.Array], seed: jax.Array
    ) -> tuple[GanState, object]:
        traces.append(1)
        return state, batch["image"].astype("float32").mean()

    jitted = mesh_lib.jit_step(step, mesh, seeded=True)
    state = jax.device_put(
        GanState(jax.numpy.zeros((), int), jax.numpy.zeros((), int), {}, {}, {}),
        mesh_lib.replicated(mesh),
    )
    seed = mesh_lib.everywhere(np.uint32(0), mesh)
    for _ in range(2):
        _, remark = stored_step.StoredStep(config, mesh).get(jitted, (state, seed))
        assert remark == ""
    assert len(traces) == 1
    (entry,) = (tmp_path / "sagan_jax" / "programs").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    _, remark = stored_step.StoredStep(config, mesh).get(jitted, (state, seed))
    assert "damaged" in remark
    _, remark = stored_step.StoredStep(config, mesh).get(jitted, (state, seed))
    assert remark == ""


def test_without_a_cache_directory_the_step_is_compiled_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "")
    config = tiny_runs.config()
    mesh = mesh_lib.make_mesh(config)
    jitted = mesh_lib.jit_step(lambda state, batch: (state, 0.0), mesh)
    assert stored_step.StoredStep(config, mesh).get(jitted, (None, None)) == (
        jitted,
        "",
    )


def test_the_caller_is_called_while_the_step_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = tiny_runs.config()
    heard = threading.Event()

    class Jitted:
        def lower(self, *_: object) -> None:
            # Ends only if the caller is called while this runs.
            assert heard.wait(timeout=60)
            raise ValueError("not compiled")

    store = stored_step.StoredStep(config, mesh_lib.make_mesh(config))
    calls: list[int] = []

    def meanwhile() -> None:
        calls.append(1)
        if len(calls) > 3:  # after the entry was looked for
            heard.set()

    with pytest.raises(ValueError, match="not compiled"):
        store.get(Jitted(), (None, None), meanwhile)  # type: ignore[arg-type]
