"""Which checkpoint a collapsed run goes back to."""

import json
import re
from pathlib import Path

import pytest
import tiny_gan

from sagan_jax.config import Config
from sagan_jax.training.collapse import Sign
from sagan_jax.workdir import rollback
from sagan_jax.workdir.run import Run


def _run(path: Path, steps: list[int]) -> Run:
    for step in steps:
        (path / "checkpoints" / str(step)).mkdir(parents=True)
    return Run(path, Config())


@pytest.mark.parametrize(
    ("since", "target", "left"),
    [(35, 30, [40]), (40, 30, [40]), (30, 20, [30, 40]), (10, 20, [30, 40])],
    ids=["between", "at a checkpoint", "earlier", "before all kept ones"],
)
def test_a_run_goes_back_to_the_newest_checkpoint_before_the_sign(
    since: int, target: int, left: list[int], tmp_path: Path
) -> None:
    run = _run(tmp_path, [20, 30, 40])
    sentence = rollback.go_back(run, Sign("won", since, "words"), 45)
    assert re.match(rf"rollback 1: .*\b45 .*\b{target}\b.*seed", sentence)
    assert run.steps()[-1] == target
    for step in left:
        assert (run.checkpoints / f"{step}.left").is_dir()
    line = json.loads((tmp_path / "rollbacks.jsonl").read_text())
    del line["time"]
    assert line == {
        "from": 45,
        "to": target,
        "sign": "won",
        "since": since,
        "sentence": "words",
    }


def test_without_a_checkpoint_a_run_goes_back_to_step_0(tmp_path: Path) -> None:
    sentence = rollback.go_back(_run(tmp_path, []), Sign("won", 3, "words"), 5)
    assert re.match(r"rollback 1: .*\b5 .*\b0\b", sentence)


def test_rollbacks_are_counted_in_the_workdir(tmp_path: Path) -> None:
    run = _run(tmp_path, [])
    assert rollback.count(run) == 0
    for number in (1, 2):
        rollback.go_back(run, Sign("won", 3, "words"), 5)
        assert rollback.count(run) == number


def test_each_rollback_has_its_own_seed_and_changes_no_other_field() -> None:
    config = tiny_gan.build().config
    assert rollback.reseeded(config, 0) == config
    ones = [rollback.reseeded(config, n) for n in range(4)]
    assert len({one.train.seed for one in ones}) == 4
    for one in ones:
        one.train.seed = config.train.seed
        assert one == config
