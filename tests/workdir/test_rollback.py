"""Which checkpoint a collapsed run goes back to; whole runs are in test_loop.py."""

import json
from pathlib import Path

import pytest
import tiny_gan

from sagan_jax.training.collapse import Sign
from sagan_jax.workdir import checkpoint, rollback


def _workdir(path: Path, steps: list[int]) -> Path:
    for step in steps:
        (path / "checkpoints" / str(step)).mkdir(parents=True)
    return path


@pytest.mark.parametrize(
    ("since", "target", "left"),
    [(35, 30, [40]), (40, 30, [40]), (30, 20, [30, 40]), (10, 20, [30, 40])],
    ids=["between", "at a checkpoint", "earlier", "before all that are kept"],
)
def test_a_run_goes_back_to_before_the_sign(
    since: int, target: int, left: list[int], tmp_path: Path
) -> None:
    workdir = _workdir(tmp_path, [20, 30, 40])
    said = rollback.go_back(workdir, Sign("won", since, "words"), 45)
    assert said == f"rollback 1: from step 45 to {target}, with other draws."
    assert checkpoint.steps(workdir)[-1] == target
    for step in left:
        assert (workdir / "checkpoints" / f"{step}.left").is_dir()
    line = json.loads((workdir / rollback.FILE).read_text())
    del line["time"]
    assert line == {
        "from": 45,
        "to": target,
        "sign": "won",
        "since": since,
        "sentence": "words",
    }


def test_without_a_checkpoint_a_run_begins_anew(tmp_path: Path) -> None:
    said = rollback.go_back(tmp_path, Sign("won", 3, "words"), 5)
    assert said == "rollback 1: from step 5 to 0, with other draws."


def test_rollbacks_are_counted_in_the_workdir(tmp_path: Path) -> None:
    assert rollback.count(tmp_path) == 0
    for number in (1, 2):
        rollback.go_back(tmp_path, Sign("won", 3, "words"), 5)
        assert rollback.count(tmp_path) == number


def test_each_rollback_has_a_seed_of_its_own_and_changes_nothing_else() -> None:
    config = tiny_gan.build().config
    assert rollback.reseeded(config, 0) == config
    ones = [rollback.reseeded(config, n) for n in range(4)]
    assert len({one.train.seed for one in ones}) == 4
    for one in ones:
        one.train.seed = config.train.seed
        assert one == config
