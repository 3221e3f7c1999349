"""Every experiment: it validates, its step has shapes at full size, and it shrinks.

`custom` depends on images: see test_custom.py.
"""

import functools
import importlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import tiny_gan
import tiny_runs

import experiments
from sagan_jax import config as config_lib
from sagan_jax import networks
from sagan_jax.config import Config, objectives
from sagan_jax.errors import UserError
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.train_step import make_train_step

FOLDER = Path(experiments.__file__).parent
NAMES = sorted({p.stem for p in FOLDER.glob("*.py")} - {"__init__", "custom"})

# The fields that a smoke run changes; all others are the algorithm.
SHRUNK = {
    "name",
    *(f"model.{n}" for n in ("resolution", "num_classes", "latent_dim", "width")),
    *(f"model.{n}_width" for n in ("generator", "discriminator")),
    *(f"model.{n}_channel_multiples" for n in ("generator", "discriminator")),
    *("model.attention_resolutions", "model.batch_norm_group_size"),
    *(f"model.{n}_attention_resolutions" for n in ("generator", "discriminator")),
    *("data.source", "data.path", "data.num_images"),
    "regularizers.lecam_start",
    *(f"train.{n}" for n in ("batch_size", "steps", "ema_start")),
    *(f"train.{n}_every" for n in ("log", "sample", "checkpoint")),
    *(f"evaluation.{n}" for n in ("rows", "columns", "num_samples", "batch_size")),
    *(f"evaluation.standing_{n}" for n in ("batches", "batch_size")),
}


def _config(name: str, argument: str | None = None) -> Config:
    config = importlib.import_module(f"experiments.{name}").get_config(argument)
    if config.data.source in ("folder", "array_record"):
        config.data.path = "anywhere"
    return config


@functools.cache
def _shapes(name: str) -> Any:
    """Returns the shapes of the state before and after a step, and of the metrics."""
    config = _config(name)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    state = jax.eval_shape(lambda: state_lib.create(*parts))
    count = config.train.batch_size * config.train.d_steps
    side = config.model.resolution
    batch = {
        "image": jax.ShapeDtypeStruct((count, side, side, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((count,), jnp.int32),
    }
    return state, *jax.eval_shape(make_train_step(*parts), state, batch)


def test_the_experiments_are_these() -> None:
    assert NAMES == [
        "celeba128_port",
        "cifar10",
        "imagenet128",
        "imagenet128_best",
        "lsun64_port",
        "quickstart",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_validates(name: str) -> None:
    config_lib.validate(_config(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_named_after_its_file(name: str) -> None:
    assert _config(name).name == name


@pytest.mark.parametrize("name", ["cifar10", "imagenet128"])
def test_an_experiment_on_images_requires_their_folder(name: str) -> None:
    config = importlib.import_module(f"experiments.{name}").get_config()
    with pytest.raises(UserError, match=r"set --config\.data\.path=DIR"):
        config_lib.validate(config)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_at_full_size_keeps_every_shape(name: str) -> None:
    before, after, _ = _shapes(name)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(
        lambda x: (x.shape, x.dtype), after
    )


@pytest.mark.parametrize("name", NAMES)
def test_metrics_at_full_size_are_scalars(name: str) -> None:
    _, _, metrics = _shapes(name)
    assert {x.shape for x in metrics.values()} == {()}


@pytest.mark.parametrize("name", NAMES)
def test_attention_is_at_the_configured_resolution(name: str) -> None:
    _, _, metrics = _shapes(name)
    model, gates = _config(name).model, set()
    for network in ("generator", "discriminator"):
        sides = getattr(model, f"{network}_attention_resolutions")
        sides = model.attention_resolutions if sides == config_lib.SAME else sides
        gates |= {f"gamma/{network}/attention{side}" for side in sides}
    assert gates
    assert {n for n in metrics if n.startswith("gamma/")} == gates


@pytest.mark.parametrize(("name", "kept"), [("quickstart", True), ("cifar10", False)])
def test_the_moving_average_exists_if_configured(name: str, kept: bool) -> None:
    state, _, _ = _shapes(name)
    assert bool(jax.tree.leaves(state.ema)) is kept


def test_imagenet128_has_the_settings_of_the_release() -> None:
    config = _config("imagenet128")
    assert config.train.order == "generator_first"
    assert config.model.stop_gradient_uv is False
    assert config.model.batch_norm_group_size == 64
    assert (config.train.ema_decay, config.optim.beta2) == (0.0, 0.999)


def test_celeba128_port_runs_as_its_code_or_as_its_prose() -> None:
    experiment = importlib.import_module("experiments.celeba128_port")
    code, prose = experiment.get_config("code"), experiment.get_config("prose")
    assert (code, prose.name) == (experiment.get_config(), "celeba128_port_prose")
    assert (code.optim.generator_lr, code.optim.discriminator_lr) == (1e-4, 4e-4)
    assert (prose.optim.generator_lr, prose.optim.discriminator_lr) == (1e-3, 4e-3)
    assert (code.model.leaky_slope, prose.model.leaky_slope) == (0.1, 0.02)
    assert (code.train.updates, prose.train.updates) == ("simultaneous", "alternating")
    for argument in ("code,smoke", "prose,smoke"):
        small = experiment.get_config(argument)
        config_lib.validate(small)
        assert small.name.endswith("smoke")


def test_lsun64_port_may_have_the_loss_of_its_code() -> None:
    experiment = importlib.import_module("experiments.lsun64_port")
    found = experiment.get_config("wgan_gp,smoke")
    config_lib.validate(found)
    assert not objectives.remarks(found)  # no spectral norm beside the penalty
    assert found.train.loss == "wasserstein"
    assert found.regularizers.gradient_penalty == 10
    networks_of = networks.build(found.model)
    state = jax.eval_shape(
        lambda: state_lib.create(found, *networks_of, optim.make_optimizers(found))
    )
    assert not state.discriminator.spectral
    with pytest.raises(UserError, match=":wgan_gp"):
        experiment.get_config("wgan")


@pytest.mark.parametrize("name", ["celeba128_port", "lsun64_port"])
def test_a_port_has_the_batch_and_the_optimisers_of_its_source(name: str) -> None:
    config = _config(name)
    assert (config.train.batch_size, config.model.num_classes) == (64, 0)
    assert (config.optim.beta1, config.optim.beta2) == (0.0, 0.9)
    assert (config.optim.generator_lr, config.optim.discriminator_lr) == (1e-4, 4e-4)
    assert config.train.steps == {"celeba128_port": 300_000}.get(name, 100_000)


@pytest.mark.parametrize("name", NAMES)
def test_smoke_validates_without_any_folder(name: str) -> None:
    config = importlib.import_module(f"experiments.{name}").get_config("smoke")
    config_lib.validate(config)
    assert config.name == f"{name}_smoke"


@pytest.mark.parametrize("name", NAMES)
def test_smoke_keeps_the_algorithm(name: str) -> None:
    ours, theirs = _config(name, "smoke"), _config(name)
    groups = ("name", "model", "data", "optim", "train", "evaluation", "mesh")
    groups += ("regularizers",)
    changed = {n for n, *_ in config_lib.differences(ours, theirs, groups)}
    assert changed <= SHRUNK


@pytest.mark.parametrize("name", NAMES)
def test_smoke_saves_several_checkpoints(name: str) -> None:
    train = _config(name, "smoke").train
    assert train.steps // train.checkpoint_every >= 3


@pytest.mark.parametrize("name", [*NAMES, "custom"])
def test_a_header_names_hardware_time_and_result(name: str) -> None:
    header = importlib.import_module(f"experiments.{name}").__doc__ or ""
    assert all(f"{word}: " in header for word in ("Hardware", "Time", "Expected"))


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_argument_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^config argument 'big' .*:smoke"):
        _config(name, "big")


def test_smoke_of_a_port_trains_samples_and_scores(tmp_path: Path) -> None:
    config = _config("lsun64_port", "smoke")
    config.mesh.devices, config.train.steps = 1, 2
    with tiny_gan.quick_compiles():
        run = tiny_runs.train(config, tmp_path / "run")
    assert run.output.startswith("2 steps done;")
    assert tiny_runs.steps(run.workdir) == [2]
    (scores,) = tiny_runs.read_lines(run.workdir / "results.jsonl")
    assert (scores["statistics"], scores["n"]) == ("batch", 32)


# test_launch runs the smoke run of quickstart, from the command line.


@pytest.mark.parametrize("name", ["cifar10", "imagenet128"])
def test_smoke_trains_from_end_to_end(name: str, tmp_path: Path) -> None:
    config = _config(name, "smoke")
    config.mesh.devices = 1
    # A third update of D adds time but is compiled like the second.
    config.train.d_steps = min(2, config.train.d_steps)
    config.train.steps = 2
    run = tiny_runs.train(config, tmp_path / "run")
    assert run.output.startswith("2 steps done;")
    assert tiny_runs.steps(run.workdir) == [2]
    assert [line["step"] for line in tiny_runs.read_metrics(run.workdir)] == [1, 2]
    (scores,) = tiny_runs.read_lines(run.workdir / "results.jsonl")
    assert (scores["ema"], scores["n"]) == (False, 32)
