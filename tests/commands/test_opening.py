"""Modes other than train: the run's own settings, the devices asked for now."""

from pathlib import Path
from unittest import mock

import jax
import pytest
import tiny_runs

from sagan_jax.commands.opening import open_run
from sagan_jax.commands.options import Options
from sagan_jax.config import MeshConfig
from sagan_jax.errors import UserError
from sagan_jax.workdir import run as run_lib


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """Returns a run that was trained by several processes on many devices."""
    config = tiny_runs.config(mesh__distributed=True, mesh__devices=64)
    run_lib.begin(tmp_path, config).record_start(step=0, command="C", images="")
    return tmp_path


def test_a_run_of_several_processes_is_opened_by_one(workdir: Path) -> None:
    with mock.patch.object(jax.distributed, "initialize") as initialize:
        run = open_run(Options(config=None, workdir=str(workdir)))
    initialize.assert_not_called()
    assert run.config.mesh == MeshConfig(distributed=True, devices=64)


def test_several_processes_open_a_run_if_asked_to(workdir: Path) -> None:
    several = MeshConfig(distributed=True)
    with mock.patch.object(jax.distributed, "initialize") as initialize:
        open_run(Options(config=None, workdir=str(workdir), mesh=several))
    initialize.assert_called_once_with()


def test_several_processes_that_are_not_there_are_one_sentence(workdir: Path) -> None:
    several = MeshConfig(distributed=True)
    alone = ValueError("coordinator_address should be defined.\nmore")
    with (
        mock.patch.object(jax.distributed, "initialize", side_effect=alone),
        pytest.raises(UserError, match=r"^mesh\.distributed=True.*SLURM"),
    ):
        open_run(Options(config=None, workdir=str(workdir), mesh=several))


def test_without_a_workdir_or_a_config_there_is_nothing_to_open() -> None:
    with pytest.raises(UserError, match="--config is missing"):
        open_run(Options(config=None))


@pytest.mark.parametrize(
    ("workdir", "source", "is_on_hub"),
    [
        ("hf://me/cats@v1", "hf://me/cats@v1", True),
        ("runs/hf", "runs/hf", False),
        ("./m", "m", False),
    ],
)
def test_a_workdir_may_be_an_address_on_the_hub(
    workdir: str, source: str, is_on_hub: bool
) -> None:
    options = Options(config=None, workdir=workdir)
    assert options.source() == source
    assert options.is_on_hub == is_on_hub


def test_a_run_is_not_trained_on_the_hub() -> None:
    with pytest.raises(UserError, match=r"workdir='hf://me/cats' is a URL"):
        Options(config=None, workdir="hf://me/cats").workdir_path()
