"""Mutated files of a workdir and of prepared data: one sentence, or none, always.

SEED and COUNT name the short form. `SAGAN_JAX_FUZZ=10` multiplies the count:

    SAGAN_JAX_FUZZ=10 python -m pytest tests/fuzz

A file of the workdir is harmed, and everything that reads it is called, as far as it
needs no compiling. A UserError is an answer; any other exception is a fault.
"""

import dataclasses
import json
import os
import random
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny_runs

from sagan_jax import networks
from sagan_jax.commands import sample, sweep
from sagan_jax.config import Sweep
from sagan_jax.config import sweep as sweep_lib
from sagan_jax.data import prepared
from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import progress, results
from sagan_jax.files import json_lines
from sagan_jax.pictures import film, grid, report
from sagan_jax.training.collapse import Watch, recent
from sagan_jax.training.state import GanState
from sagan_jax.workdir import checkpoint, rollback
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.run import Run
from sagan_jax.workdir.sweep_dir import SweepDir

SEED = 16
COUNT = 200 * int(os.environ.get("SAGAN_JAX_FUZZ", "1"))
SECONDS = 10  # of this process for one input; more is a hang

FILES = {
    "config.json": 5,
    "metrics.jsonl": 3,
    "results.jsonl": 3,
    "evaluations.jsonl": 3,
    "starts.jsonl": 3,
    "rollbacks.jsonl": 1,
    "attention.jsonl": 1,
    "samples/step_00000010.png": 1,
    "sweep/cells.jsonl": 3,
    "sweep/plan.json": 1,
    "checkpoints/20/manifest.json": 2,
    "data/description.json": 3,
}
"""The files that are harmed, and how often one is chosen among the others."""

SWEEP = Sweep(
    name="tiny",
    base=tiny_runs.config(),
    variants={"a": {}, "b": {"optim.beta2": 0.5}},
    seeds=(0, 1),
    measures=("score",),
    contrasts=(("a", "b"),),
)

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**64, -(10**30), 0.5, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", "x", "../../etc", "/dev/zero", "\0", "\ud800"),
    *("é" * 300, "9" * 5000, [], {}, [[]], [None], {"a": 1}, [1, "a"], {"": {}}),
)
"""Values that take the place of others in JSON."""


def _state(step: int) -> GanState:
    kernel = np.arange(64, dtype=np.float32)
    return GanState(
        np.array(step, np.int32), np.array(0, np.int32), {"kernel": kernel}, {}, {}
    )


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a workdir with two checkpoints, all logs, and prepared data in it."""
    workdir = tmp_path_factory.mktemp("fuzz") / "run"
    run = run_lib.begin(workdir, tiny_runs.config(train__steps=30))
    run.record_start(step=0, command="COMMAND", images="ab12")
    run.record_start(step=10, command="COMMAND", images="ab12")
    with checkpoint.open_manager(run.checkpoints, run.config.train) as manager:
        for step in (10, 20):
            manager.save(_state(step))
    for step in range(1, 21):
        scalars = {"loss/discriminator": 1.0, "gradient_norm/generator": 0.1}
        scalars |= {"largest_sigma/generator": 2.0, "skipped": 0.0}
        json_lines.append(run.metrics, {"step": step, "time": 1.5, **scalars})
    for step in (10, 20):
        line = {"step": step, "time": 1.5, "num_samples": 8, "seed": 1, "FID": 5.5}
        json_lines.append(run.evaluations, {**line, "reference": "", "score": 0.1})
        line |= {"rollbacks": 0, "run_steps": 30, "truncation": 0.0}
        json_lines.append(run.results, line)
    json_lines.append(run.rollbacks, {"from": 5, "to": 2, "sign": "won", "since": 4})
    for step in (10, 20):
        line = {"step": step, "entropy/attention16": 0.5, "gamma/attention16": 0.1}
        json_lines.append(run.attention_log, line)
        level = np.full((8, 8, 3), step, np.uint8)
        grid.save_png(level, run.samples / f"step_{step:08d}.png")
    _begin_sweep(SweepDir(workdir / "sweep"))
    (workdir / "data").mkdir()
    shards = [prepared.Shard(prepared.shard_name(0, 1), 3, 100, "ab" * 32)]
    described = prepared.Description(
        1, True, "photos", "ab", 32, 3, "center", True, ["a", "b"], [1, 2], 3, 3
    )
    prepared.write_description(
        str(workdir / "data"), dataclasses.replace(described, shards=shards)
    )
    return workdir


def _begin_sweep(directory: SweepDir) -> None:
    plan = sweep_lib.plan(SWEEP)
    directory.path.mkdir()
    directory.write_plan(plan)
    line = {"plan_hash": sweep_lib.plan_hash(plan), "status": "done", "step": 6}
    line |= {"curves": [{"step": 3, "score": 0.5}], "provenance": {"revision": "ab"}}
    line["plan"] = {name: plan[name] for name in plan if name != "configs"}
    for variant, seed in sweep_lib.cells(SWEEP):
        found = {"variant": variant, "seed": seed, "numbers": {"score": 0.1 + seed}}
        json_lines.append(directory.lines, line | found)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yields every container in a JSON value with each of its keys."""
    if not isinstance(value, dict | list):
        return
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _with_odd_value(text: bytes, chance: random.Random) -> bytes:
    """Changes, removes, renames or adds a value in one line, or in the whole file."""
    lines = text.split(b"\n") if b'\n{"' in text else [text]
    index = chance.randrange(len(lines))
    try:
        tree = json.loads(lines[index])
        place, key = chance.choice(list(_places(tree)))
    except (ValueError, IndexError, RecursionError):
        return text + json.dumps(chance.choice(ODD)).encode()
    kind = chance.randrange(6)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place[chance.choice(["", "x", "step", "model", "é"])] = place.pop(key)
    else:
        place[key] = chance.choice(ODD)
    lines[index] = json.dumps(tree).encode()
    return b"\n".join(lines)


def _with_other_bytes(text: bytes, chance: random.Random) -> bytes:
    content = bytearray(text)
    begin, length = chance.randrange(len(content)), chance.choice((1, 4, 64, 4096))
    piece = content[begin : begin + length]
    other = {
        "flip": bytes(byte ^ (1 << chance.randrange(8)) for byte in piece),
        "zero": bytes(len(piece)),
        "noise": chance.randbytes(length),
        "drop": b"",
        "twice": piece * 2,
        "deep": b"[" * 5000,
        "digits": b"9" * chance.choice((20, 400, 5000)),
        "newlines": b"\n\r\x0b\n",
    }
    content[begin : begin + length] = other[chance.choice(sorted(other))]
    return bytes(content)


def _harmed(text: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(10)
    if kind == 0:
        return chance.choice((b"", b"null", b"[]", b"{}", b"\xff\xfe", b"3", b"\n\n"))
    if kind == 1:
        return text[: chance.randrange(len(text))]
    harm = _with_odd_value if kind < 7 else _with_other_bytes
    for _ in range(chance.choice((1, 1, 1, 3))):
        text = harm(text, chance) or b"{}"
    return text


class _EnoughError(Exception):
    """Stands for the part of a command that compiles."""


def _compile(*args: Any, **options: Any) -> Any:
    raise _EnoughError


def _begin(workdir: Path) -> None:
    run_lib.begin(workdir, tiny_runs.config(train__steps=30), "ab12")


def _resume(workdir: Path) -> None:
    run = Run(workdir, tiny_runs.config())
    if (workdir / "checkpoints" / "20" / "manifest.json").stat().st_size != _SIZE:
        run.resume(_state(0))
    rollback.count(run)
    watch = Watch(recent(json_lines.newest_first(run.metrics), 20))
    watch.read(21, {"gradient_norm/generator": 0.1, "largest_sigma/generator": 2.0})
    progress.is_observed(run, 20)
    progress.best_step(run)
    results.is_finished(run)
    for path in (run.metrics, run.evaluations):
        json_lines.drop_after(path, 10)
        json_lines.append(path, {"step": 11})
        assert json_lines.read(path)[-1] == {"step": 11}


_SIZE = 0  # of the healthy manifest; checkpoints are read only where it was harmed


def _sample(workdir: Path) -> None:
    run = run_lib.open_run(workdir)
    networks.build(run.config.model)
    with mock.patch.object(generator_lib, "load", _compile):
        sample.save(run, labels=(0,), changes={"seed": 3})


def _evaluate(workdir: Path) -> None:
    run = run_lib.open_run(workdir)
    with (
        mock.patch.object(generator_lib, "load", _compile),
        mock.patch.object(results, "Scorer"),
    ):
        results.evaluate(run, "all", truncations=(0.5,))


def _evaluate_best(workdir: Path) -> None:
    run = Run(workdir, tiny_runs.config())
    with (
        mock.patch.object(generator_lib, "load", _compile),
        mock.patch.object(results, "Scorer"),
    ):
        results.evaluate(run, "best")


def _open_data(workdir: Path) -> None:
    described = prepared.read_description(str(workdir / "data"))
    assert len(described) >= 0
    assert described.shard_count >= 0


def _report(workdir: Path) -> None:
    run = run_lib.open_run(workdir)
    page = report.of_run(run, None, "none")
    assert page.encode()
    if len(film.sheets_of(run.samples)) > 1:
        film.film(film.sheets_of(run.samples))


def _plan(workdir: Path) -> None:
    sweep.describe(SWEEP, SweepDir(workdir / "sweep"))


def _table(workdir: Path) -> None:
    with mock.patch.object(sweep, "plots"):
        sweep.report(SweepDir(workdir / "sweep"))


READERS = (
    _report,
    _plan,
    _table,
    _begin,
    _sample,
    _evaluate,
    _evaluate_best,
    _open_data,
    _resume,
)


def _fault(read: Callable[[Path], None], workdir: Path) -> str:
    """Returns what is wrong with the answer of a reader; '' if nothing."""
    begin = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(workdir)
    except UserError as error:
        if "\n" in str(error) or len(str(error)) > 2000:
            return f"no single sentence: {str(error)[:300]!r}"
    except _EnoughError:
        pass
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    seconds = time.process_time() - begin
    return f"{seconds:.0f} s" if seconds > SECONDS else ""


def test_every_reader_of_a_harmed_file_answers_in_one_sentence(
    healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(SEED)
    manifest = healthy / "checkpoints" / "20" / "manifest.json"
    monkeypatch.setitem(globals(), "_SIZE", manifest.stat().st_size)
    faults = []
    for number in range(COUNT):
        workdir = Path(shutil.copytree(healthy, tmp_path / "run"))
        (name,) = chance.choices(list(FILES), list(FILES.values()))
        path = workdir / name
        path.write_bytes(_harmed(path.read_bytes(), chance))
        for read in READERS:
            if fault := _fault(read, workdir):
                faults.append(f"{number} {name} {read.__name__}: {fault}")
        shutil.rmtree(workdir)
    assert not faults, "\n".join(faults)


def test_healthy_files_are_refused_by_nobody(healthy: Path, tmp_path: Path) -> None:
    workdir = Path(shutil.copytree(healthy, tmp_path / "run"))
    for read in READERS:
        try:
            read(workdir)
        except _EnoughError:
            continue
        assert read not in (_sample, _evaluate, _evaluate_best)
