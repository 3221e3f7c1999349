"""Sweeps: which cells are trained, what is recorded of them, and the table."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_runs

from sagan_jax.commands import cell, sweep
from sagan_jax.commands.options import Options
from sagan_jax.config import Config, Sweep
from sagan_jax.config import sweep as sweep_lib
from sagan_jax.errors import UserError
from sagan_jax.evaluation import cell as cell_lib
from sagan_jax.files import json_lines, lock
from sagan_jax.runtime.stop import StopRequest
from sagan_jax.workdir.run import Run
from sagan_jax.workdir.sweep_dir import SweepDir

GAMMA = "gamma/generator/attention16"
ROOT = Path(__file__).resolve().parents[2]
FILE = """
from experiments import quickstart
from sagan_jax.config import Sweep, shrink_sweep
def get_config(argument=None):
    base = quickstart.get_config("smoke")
    base.train.batch_size, base.train.steps = 4, 24
    base.train.checkpoint_every = base.train.log_every = 4
    base.train.sample_every = 99
    base.mesh.devices, base.evaluation.num_samples = 1, 8
    sweep = Sweep(
        name="tiny",
        base=base,
        variants={"attention": {}, "none": {"model.attention_resolutions": ()}},
        seeds=(0, 1, 2),
        measures=("score", "gamma/generator/attention16"),
        contrasts=(("attention", "none"),),
    )
    return shrink_sweep(sweep, argument)
"""


def _sweep(**changes: Any) -> Sweep:
    scope: dict[str, Any] = {}
    exec(FILE, scope)
    found = scope["get_config"]()
    assert isinstance(found, Sweep)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def _options(**changes: Any) -> Options:
    return Options(config=Config(), command="COMMAND", **changes)


class Cells:
    """Stands for the processes of cells; each answers at once."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.trained: list[tuple[str, int]] = []

    def __call__(
        self, config: Config, workdir: Path, plan: str, stop: Any, **_: Any
    ) -> Any:
        variant, seed = workdir.parent.name, config.train.seed
        self.trained.append((variant, seed))
        answer = self.answers.get(f"{variant}{seed}", {"score": 0.25 * seed})
        if callable(answer):
            return answer(stop)
        if "reason" in answer:
            return answer
        return {"line": {"status": "done", "step": 24, "numbers": answer}}


def _train(
    path: Path, stand_in: Cells, plan: Sweep | None = None, **options: Any
) -> str:
    found = plan or _sweep()
    return sweep.train(found, SweepDir(path), _options(**options), stand_in)


ALL = [(variant, seed) for seed in (0, 1, 2) for variant in ("attention", "none")]


def test_every_cell_is_trained_once(tmp_path: Path) -> None:
    first, second = Cells(), Cells()
    assert _train(tmp_path, first) == _train(tmp_path, second) == ""
    assert first.trained == ALL
    assert second.trained == []
    lines = SweepDir(tmp_path).read_lines()
    assert [(line["variant"], line["seed"]) for line in lines] == ALL
    plan = json.loads(SweepDir(tmp_path).plan.read_text())
    assert {line["plan_hash"] for line in lines} == {sweep_lib.plan_hash(plan)}


def test_a_stop_ends_the_sweep_and_the_rest_is_trained_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(stop: StopRequest) -> Any:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        return {}

    first, second = Cells(none0=stopped), Cells()
    assert _train(tmp_path, first) == ""
    assert capsys.readouterr().out.endswith("stopped; resume with: COMMAND\n")
    _train(tmp_path, second)
    assert first.trained == ALL[:2]
    assert second.trained == ALL[1:]


def test_a_cell_that_failed_is_recorded_and_tried_again(tmp_path: Path) -> None:
    first, second = Cells(none0={"reason": "no disk"}), Cells()
    assert _train(tmp_path, first).startswith("1 cell(s) failed; run the same command")
    assert first.trained == ALL
    table = SweepDir(tmp_path).table
    assert "- none, seed 0: failed: no disk" in table.read_text()
    assert _train(tmp_path, second) == ""
    assert second.trained == [("none", 0)]
    assert "failed:" not in table.read_text()


def test_a_page_that_cannot_be_written_does_not_stop_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SweepDir(tmp_path).report.mkdir(parents=True)
    cells = Cells()
    assert _train(tmp_path, cells) == ""
    assert cells.trained == ALL
    assert "note: no page was written: " in capsys.readouterr().out


def test_parts_share_the_cells_out(tmp_path: Path) -> None:
    parts = [Cells(), Cells()]
    for number, cells in enumerate(parts, 1):
        _train(tmp_path, cells, cells=f"{number}/2")
    assert parts[0].trained == ALL[::2]
    assert parts[1].trained == ALL[1::2]


@pytest.mark.parametrize(("held", "asked"), [("", ""), ("1/2", ""), ("", "1/2")])
def test_cells_that_are_being_trained_are_refused(
    held: str, asked: str, tmp_path: Path
) -> None:
    directory = SweepDir(tmp_path)
    place = directory.part(*_options(cells=held).part())
    place.mkdir(parents=True)
    with lock.held(place), pytest.raises(UserError, match="in use by another process"):
        _train(tmp_path, Cells(), cells=asked)
    assert not directory.lines.exists()


def test_other_halves_are_not_refused(tmp_path: Path) -> None:
    place = SweepDir(tmp_path).part(1, 2)
    place.mkdir(parents=True)
    with lock.held(place):
        assert _train(tmp_path, Cells(), cells="2/2") == ""


def test_another_plan_is_refused(tmp_path: Path) -> None:
    _train(tmp_path, Cells())
    other = _sweep(seeds=(0, 1))
    sentence = r"seeds is \[0, 1, 2\] there and \[0, 1\] here"
    with pytest.raises(UserError, match=sentence):
        _train(tmp_path, Cells(), other)
    other = _sweep()
    other.base.train.steps = 99
    with pytest.raises(UserError, match=r"other values of train\.steps"):
        _train(tmp_path, Cells(), other)
    SweepDir(tmp_path).plan.unlink()
    with pytest.raises(UserError, match=r"cells\.jsonl' holds a line of another plan"):
        _train(tmp_path, Cells(), other)


def test_the_table_is_made_from_the_lines_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(tmp_path / "a", Cells(none1={"score": 0.75}))
    sweep.report(SweepDir(tmp_path / "a"))
    lines = SweepDir(tmp_path / "b").lines
    lines.parent.mkdir()
    lines.write_bytes(SweepDir(tmp_path / "a").lines.read_bytes())
    sweep.main(Options(config=None, workdir=str(tmp_path / "b")))
    for name in ("table.md", "table.csv", "seeds.png"):
        assert (tmp_path / "a" / name).read_bytes() == (
            tmp_path / "b" / name
        ).read_bytes()
    assert (
        '<td class="number">-0.1667</td>' in SweepDir(tmp_path / "b").report.read_text()
    )
    # 0.25 - 0.75, and nothing in the other seeds.
    assert "| attention - none | 3 | -0.1667 |" in capsys.readouterr().out


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _sweep()
    options = Options(
        config=found.base, sweep=found, workdir=str(tmp_path), dry_run="shapes"
    )
    sweep.main(options)
    said = capsys.readouterr().out
    assert sweep_lib.plan_hash(sweep_lib.plan(found)) in said
    assert "6 cells, 144 steps in total" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"measures": ("scores",)},
            r"'scores', which no cell has; did you mean 'score'",
        ),
        (
            {"variants": {"a": {"model.attention_resolutions": (7,)}}, "contrasts": ()},
            r"variants\['a'\]: .*attention_resolutions",
        ),
    ],
)
def test_a_variant_that_cannot_be_built_is_refused_before_any_run(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        sweep.check(_sweep(**changes))


@pytest.mark.parametrize("measure", ["FD-768", "MIND-768_floor", "MIND", "KID_rbf_std"])
def test_scores_of_any_layer_and_kernel_may_be_measured(measure: str) -> None:
    sweep.check(_sweep(measures=(measure,)))


@pytest.mark.parametrize(
    "measure",
    [
        "FD-768",
        "KD-768_std",
        "FD-DINOv2-L",
        "KD-DINOv2-B_std",
        "intra-FD-DINOv2-S_floor",
        "precision-DINOv2-L",
        "FD-my.module:function",
    ],
)
def test_scores_of_other_taps_and_encoders_are_measures(measure: str) -> None:
    sweep.check(_sweep(measures=(measure,)))
    with pytest.raises(UserError, match="which no cell has"):
        sweep.check(_sweep(measures=(measure.replace("-", "_"),)))


@pytest.mark.parametrize("cells", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_part_is_refused(cells: str) -> None:
    with pytest.raises(UserError, match=r"is not a part of the cells; write 1/2"):
        _options(cells=cells).part()


def _in_this_process(
    config: Config, workdir: Path, plan: str, stop: Any, **_: Any
) -> Any:
    options = Options(config=config, workdir=str(workdir))

    def train(_: Options) -> None:
        tiny_runs.train(config, workdir)

    return cell.trained(options, plan, train)


def test_two_variants_with_two_seeds_are_trained_and_compared(tmp_path: Path) -> None:
    found = _sweep(seeds=(0, 1))
    found.base.train.steps = 2
    # Variants of one program, which is compiled once for all four cells.
    found.variants = {"attention": {}, "none": {"data.difficulty": "full"}}
    directory = SweepDir(tmp_path)
    assert sweep.train(found, directory, _options(), _in_this_process) == ""
    lines = directory.read_lines()
    assert [line["status"] for line in lines] == ["done"] * 4
    for line in lines:
        workdir = directory.cell(line["variant"], line["seed"])
        (result,) = tiny_runs.read_lines(workdir / "results.jsonl")
        assert line["numbers"]["score"] == result["score"]
        last = tiny_runs.read_metrics(workdir)[-1]
        assert line["numbers"][GAMMA] == last[GAMMA] != 0
        assert tiny_runs.steps(workdir) == [2]
    assert len({line["numbers"][GAMMA] for line in lines}) == 4


def test_a_cell_that_diverged_has_ended_with_its_reason(tmp_path: Path) -> None:
    run = Run(tmp_path, _sweep().base)

    def diverge(_: Options) -> None:
        for step, skipped in ((4, 0.0), (8, 2.0)):
            json_lines.append(run.metrics, {"step": step, "skipped": skipped, GAMMA: 1})
        run.checkpoints.mkdir()
        raise UserError("2 steps were not finite.")

    options = Options(config=run.config, workdir=str(tmp_path))
    line = cell.trained(options, "PLAN", diverge)["line"]
    assert (line["status"], line["step"]) == ("diverged", 8)
    assert line["reason"] == "2 steps were not finite."
    assert line["numbers"] == {GAMMA: 1.0}
    # A start that was killed before it could answer trains no further.
    again = cell.trained(options, "PLAN", lambda _: pytest.fail("trained"))["line"]
    assert again == line | {"reason": "steps were not finite, up to step 8"}


def test_a_sign_of_collapse_at_the_end_is_reported(tmp_path: Path) -> None:
    found = _sweep().base
    found.train.steps = found.train.checkpoint_every = 8
    run = Run(tmp_path, found)

    def collapse(_: Options) -> None:
        json_lines.append(run.metrics, {"step": 8, "skipped": 0, "collapse_signs": 2})
        for step, score in ((4, 0.5), (8, 0.75)):
            json_lines.append(run.evaluations, {"step": step, "score": score, "n": 9})
        json_lines.append(run.results, {"step": 8, "rollbacks": 0, "score": 1.0})
        attention = {"step": 8, "distance": {"attention16": 0.25}}
        json_lines.append(tmp_path / "attention.jsonl", attention)
        (run.checkpoints / "8").mkdir(parents=True)

    options = Options(config=found, workdir=str(tmp_path))
    line = cell.trained(options, "PLAN", collapse)["line"]
    assert (line["status"], line["step"]) == ("collapsed", 8)
    assert line["reason"] == "signs of collapse at the last step: 2"
    distance = {"attention/distance/attention16": 0.25}
    assert line["numbers"] == {"score": 1.0} | distance
    assert line["curves"] == [{"step": 4, "score": 0.5}, {"step": 8, "score": 0.75}]


def test_another_failure_is_no_divergence(tmp_path: Path) -> None:
    def fail(_: Options) -> None:
        raise UserError("no disk.")

    options = Options(config=_sweep().base, workdir=str(tmp_path))
    with pytest.raises(UserError, match=r"^no disk\.$"):
        cell.trained(options, "PLAN", fail)


@pytest.mark.slow  # three starts of a process that compiles
def test_a_cell_killed_half_way_resumes_and_gives_the_same_table(
    tmp_path: Path,
) -> None:
    text = FILE.replace("(0, 1, 2)", "(0,)").replace('(("attention", "none"),)', "()")
    text = re.sub(r', "none": .*}', "}", text)
    (tmp_path / "tiny.py").write_text(text)
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }

    def start(workdir: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "launch.py"), "--mode=sweep"]
        command += ["--config=tiny.py", f"--workdir={workdir}"]
        command += ["--config.train.steps=80"]  # of the base
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE
        )

    directory = SweepDir(tmp_path / "killed")
    sweeping = start("killed")
    half_way = directory.cell("attention", 0) / "checkpoints" / "8"
    while not half_way.exists():
        assert sweeping.poll() is None
        time.sleep(0.01)
    sweeping.kill()  # its cell saves and leaves
    sweeping.communicate()
    assert not directory.lines.exists()
    said, _ = start("killed").communicate(timeout=300)
    assert "resumed at step" in said
    start("whole").communicate(timeout=300)
    for name in ("table.md", "table.csv"):
        killed, whole = (tmp_path / run / name for run in ("killed", "whole"))
        assert killed.read_bytes() == whole.read_bytes()
    (line,) = directory.read_lines()
    assert (line["step"], line["numbers"][GAMMA] != 0) == (80, True)


def test_a_sweep_into_the_workdir_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a run; pass another --workdir"):
        sweep.describe(_sweep(), SweepDir(tmp_path))


def test_a_plan_of_a_part_that_cannot_be_is_refused(tmp_path: Path) -> None:
    options = _options(
        sweep=_sweep(), dry_run="shapes", cells="3/2", workdir=str(tmp_path)
    )
    with pytest.raises(UserError, match="cells='3/2' is not a part"):
        sweep.main(options)


def test_a_gate_that_was_not_finite_is_no_number_of_a_cell(tmp_path: Path) -> None:
    run = Run(tmp_path, tiny_runs.config())
    json_lines.append(run.metrics, {"step": 4, GAMMA: math.nan, "gamma/b/c": 0.5})
    assert cell_lib.numbers(run, None) == {"gamma/b/c": 0.5}
