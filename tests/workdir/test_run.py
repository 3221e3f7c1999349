"""A run on disk, as other programs and other modes open it."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_gan
import tiny_runs
from PIL import Image

import sagan_jax
from sagan_jax import networks
from sagan_jax.errors import UserError
from sagan_jax.pictures import sheets
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir import run as run_lib


def _load(workdir: Any, **arguments: Any) -> Any:
    with tiny_runs.cached_compiles():
        return sagan_jax.load(workdir, **arguments)


def _sheet(workdir: Path, **arguments: Any) -> np.ndarray:
    generator, variables, config = _load(workdir, **arguments)
    with tiny_runs.cached_compiles():
        return sheets.sheet(config, generator, variables)


def _written_sheet(workdir: Path, step: int) -> np.ndarray:
    with Image.open(workdir / "samples" / f"step_{step:08d}.png") as image:
        return np.asarray(image)


def test_load_returns_generator_variables_and_config() -> None:
    generator, variables, config = _load(str(tiny_runs.whole().workdir))
    assert generator == networks.build(tiny_runs.config().model)[0]
    assert set(variables) == {"params", "batch_stats", "spectral"}
    assert config == tiny_runs.config()


def test_a_loaded_generator_reproduces_the_last_sheet_of_training() -> None:
    workdir = tiny_runs.whole().workdir
    np.testing.assert_array_equal(_sheet(workdir), _written_sheet(workdir, 6))


def test_a_step_can_be_chosen() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir, step=4, ema=False)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 4)["generator"]
    tiny_gan.assert_same_bits(jax.device_get(variables["params"]), saved["params"])


def test_load_returns_the_moving_average_by_default() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 6)
    tiny_gan.assert_same_bits(jax.device_get(variables["params"]), saved["ema"])


def test_load_returns_the_live_generator_if_ema_is_false() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir, ema=False)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 6)["generator"]
    live = {name: saved[name] for name in ("params", "batch_stats", "spectral")}
    tiny_gan.assert_same_bits(jax.device_get(variables), live)


def test_the_moving_average_comes_with_the_live_running_statistics() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir)
    saved = tiny_runs.read_state(tiny_runs.whole().workdir, 6)["generator"]
    tiny_gan.assert_same_bits(
        jax.device_get(variables["batch_stats"]), saved["batch_stats"]
    )


def test_the_moving_average_comes_with_u_of_its_own_kernels() -> None:
    _, variables, _ = _load(tiny_runs.whole().workdir)
    kernel = np.asarray(variables["params"]["dense"]["kernel"], np.float64)
    u = np.asarray(variables["spectral"]["dense"]["u"], np.float64)
    top = np.linalg.svd(kernel, compute_uv=False)[0]
    # After some 20 iterations, the error depends on the gap to the second value.
    np.testing.assert_allclose(np.linalg.norm(kernel @ u), top, rtol=1e-2)


def test_a_run_without_a_moving_average_loads_the_live_generator(
    tmp_path: Path,
) -> None:
    config = tiny_runs.config(train__ema_decay=0.0)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    with tiny_runs.cached_compiles():
        state = jax.jit(lambda: state_lib.create(*parts))()
    tiny_runs.save(tmp_path, config, state)
    _, variables, _ = _load(tmp_path, ema=True)
    tiny_gan.assert_same_bits(
        jax.device_get(variables), jax.device_get(state.generator.variables)
    )


def test_a_run_trained_on_two_devices_is_loaded_onto_one() -> None:
    assert tiny_runs.config().mesh.devices == 2
    _, variables, _ = _load(tiny_runs.whole().workdir)
    assert {len(x.devices()) for x in jax.tree.leaves(variables)} == {1}


@pytest.mark.parametrize("devices", [1, 4])
def test_a_state_saved_on_two_devices_is_restored_onto_other_numbers(
    devices: int,
) -> None:
    workdir = tiny_runs.whole().workdir
    config = tiny_runs.config(mesh__devices=devices)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    everywhere = mesh_lib.replicated(mesh_lib.make_mesh(config))
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere),
        jax.eval_shape(lambda: state_lib.create(*parts)),
    )
    state = checkpoint.resume(workdir / "checkpoints", like)
    assert state is not None
    assert {len(x.devices()) for x in jax.tree.leaves(state)} == {devices}
    saved = tiny_runs.read_state(workdir, 6)["discriminator"]["params"]
    tiny_gan.assert_same_bits(jax.device_get(state.discriminator.params), saved)


def test_a_missing_step_is_reported_with_the_available_ones() -> None:
    workdir = tiny_runs.whole().workdir
    with pytest.raises(UserError, match=r"step=5 .*checkpoint.*2, 4, 6\b"):
        sagan_jax.load(workdir, step=5)


def test_a_folder_without_a_run_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"workdir='{tmp_path}' .*config.json.*--workdir"
    ):
        sagan_jax.load(tmp_path)


def test_a_run_without_a_checkpoint_is_not_loaded(tmp_path: Path) -> None:
    run = run_lib.begin(tmp_path, tiny_runs.config())
    run.record_start(step=0, command="C", images="")
    with pytest.raises(UserError, match=f"workdir='{tmp_path}' .*checkpoint_every"):
        sagan_jax.load(tmp_path)


def test_a_damaged_config_is_reported_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=f"{tmp_path}/config.json.*not valid JSON"):
        sagan_jax.load(tmp_path)


@pytest.mark.parametrize("step", [4, "4", np.int64(4)])
def test_a_step_may_be_text_and_a_workdir_too(step: Any) -> None:
    workdir = tiny_runs.whole().workdir
    _, _, found = run_lib.Run(
        str(workdir),  # type: ignore[arg-type]
        run_lib.open_run(str(workdir)).config,
    ).load_generator(step)
    assert found == 4


@pytest.mark.parametrize("step", ["best", 4.0, -1, True])
def test_what_is_no_step_is_refused(step: Any) -> None:
    with pytest.raises(UserError, match=rf"^step={step!r} is not"):
        _load(tiny_runs.whole().workdir, step=step)
