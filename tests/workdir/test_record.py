"""A workdir whose logs speak of checkpoints that are not there."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_runs

from sagan_jax.commands import loop
from sagan_jax.errors import UserError
from sagan_jax.files import json_lines
from sagan_jax.training.state import GanState
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.run import Run


def _config(**changes: Any) -> Any:
    return tiny_runs.config(train__checkpoint_every=100, **changes)


def _started(workdir: Path) -> Run:
    run = run_lib.begin(workdir, _config())
    run.record_start(step=0, command="COMMAND", images="")
    return run


def _log(run: Run, *steps: int) -> None:
    for step in steps:
        json_lines.append(run.metrics, {"step": step})


PROOFS: dict[str, Callable[[Run], None]] = {
    "metrics beyond the second save": lambda run: _log(run, 10, 200, 201),
    "a later start": lambda run: run.record_start(step=201, command="", images=""),
    "a result": lambda run: json_lines.append(run.results, {"step": 201}),
    "an evaluation": lambda run: json_lines.append(run.evaluations, {"step": 201}),
}


@pytest.mark.parametrize("proof", PROOFS)
@pytest.mark.parametrize("place", ["missing", "empty", "unfinished"])
def test_a_record_without_its_checkpoints_is_refused_untouched(
    proof: str, place: str, tmp_path: Path
) -> None:
    run = _started(tmp_path / "run")
    PROOFS[proof](run)
    if place != "missing":
        run.checkpoints.mkdir()
    if place == "unfinished":
        (run.checkpoints / "100.orbax-checkpoint-tmp").mkdir()
    before = tiny_runs.tree_of(tmp_path)
    with pytest.raises(UserError, match=r"workdir=.* of 201 steps .*mount") as caught:
        run_lib.begin(run.workdir, _config(train__steps=400))
    assert "--workdir" in str(caught.value)
    with pytest.raises(UserError, match=r"of 201 steps but no checkpoint"):
        run.load_generator()
    assert tiny_runs.tree_of(tmp_path) == before


def test_a_run_killed_before_its_first_checkpoint_starts_by_itself(
    tmp_path: Path,
) -> None:
    run = _started(tmp_path / "run")
    # The save at step 100 may go on until the one at step 200 waits for it.
    _log(run, 10, 100, 190, 200)
    again = run_lib.begin(run.workdir, _config(train__steps=400))
    assert again.changes == (("train.steps", 6, 400),)
    with pytest.raises(UserError, match="no checkpoint yet; train"):
        run.load_generator()


def test_the_remedy_of_another_workdir_and_of_restoring_both_work(
    tmp_path: Path,
) -> None:
    run = _started(tmp_path / "run")
    state = GanState(
        np.array(201, np.int32), np.array(0, np.int32), {"a": np.zeros(9)}, {}, {}
    )
    with checkpoint.open_manager(run.checkpoints, run.config.train) as manager:
        manager.save(state)
    _log(run, 201)
    shutil.move(run.checkpoints, tmp_path / "away")
    with pytest.raises(UserError, match="another --workdir"):
        run_lib.begin(run.workdir, _config())
    run_lib.begin(tmp_path / "another", _config())
    shutil.move(tmp_path / "away", run.checkpoints)
    assert run_lib.begin(run.workdir, _config()).steps() == [201]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_link_that_leads_nowhere_is_refused(is_new: bool, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    if is_new:
        workdir.mkdir()
    else:
        _log(_started(workdir), 300)
    (workdir / "checkpoints").symlink_to("/mnt/not_there")
    before = tiny_runs.tree_of(tmp_path)
    with pytest.raises(UserError, match=r"workdir: .*/mnt/not_there.*mount"):
        run_lib.begin(workdir, _config())
    assert tiny_runs.tree_of(tmp_path) == before


def test_a_file_in_the_place_of_checkpoints_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(UserError, match=r"workdir: .*checkpoints.* is a file.*move"):
        run_lib.begin(tmp_path, _config())


def test_checkpoints_without_their_config_are_no_new_run(tmp_path: Path) -> None:
    run = _started(tmp_path / "run")
    (run.checkpoints / "7").mkdir(parents=True)
    (run.workdir / "config.json").unlink()
    before = tiny_runs.tree_of(tmp_path)
    with pytest.raises(UserError, match=r"no config\.json; restore.*starts\.jsonl"):
        run_lib.begin(run.workdir, _config())
    assert tiny_runs.tree_of(tmp_path) == before


def test_lower_rates_need_the_other_workdir_that_the_advice_names(
    tmp_path: Path,
) -> None:
    run = _started(tmp_path / "run")
    lower = _config(optim__generator_lr=1e-6, optim__discriminator_lr=1e-6)
    with pytest.raises(UserError, match=r"optim\.generator_lr .*another --workdir"):
        run_lib.begin(run.workdir, lower)
    run_lib.begin(tmp_path / "another", lower)
    assert "new --workdir" in loop.ADVICE
    # The other half of the advice works in the same workdir.
    changed = run_lib.begin(run.workdir, _config(train__rollbacks=1)).changes
    assert changed == (("train.rollbacks", 0, 1),)


def test_a_look_at_a_run_writes_nothing(tmp_path: Path) -> None:
    run = _started(tmp_path / "run")
    before = tiny_runs.tree_of(tmp_path)
    # Another seed and number of steps, as a start that finds nothing to do has them.
    again = run_lib.begin(run.workdir, _config(train__steps=4, evaluation__seed=99))
    assert tiny_runs.tree_of(tmp_path) == before
    again.record_start(step=3, command="COMMAND", images="")
    assert run_lib.open_run(run.workdir).config == again.config
    changes = tiny_runs.read_lines(run.starts)[-1]["changes"]
    assert changes == {"train.steps": [6, 4], "evaluation.seed": [1234, 99]}
