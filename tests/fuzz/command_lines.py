"""Random command lines through the parser, the checks, and some through --dry_run.

    python tests/fuzz/command_lines.py SEED COUNT DRY_RUNS

prints one line of JSON: counts of the outcomes, and every fault with its command line.
A fault is an exception that is not a UserError, a UserError that is not one sentence,
a warning, or a hang: more than 10 seconds of the process's own time, or two minutes of
the clock. Its own time does not pass while other processes have the cores, so that a
busy machine reports no hang; the clock finds a process that waits for something.
"""

import contextlib
import io
import json
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from absl import app, flags

import launch
from sagan_jax import config as config_lib
from sagan_jax.commands.options import KINDS
from sagan_jax.config import checks
from sagan_jax.errors import UserError

SECONDS = 10  # of this process, all threads together
SECONDS_OF_THE_CLOCK = 120
EXPERIMENTS = ["quickstart", "cifar10", "imagenet128", "imagenet128_best", "custom"]
SWEEPS = ["ablations/quickstart_attention"]
JUNK = ["", " ", "-1", "0", "1e400", "nan", "-inf", "None", "none", "True", "x", "%s"]
JUNK += ["1,2", "(1,", "[]", "{}", "'", '"', "\\", "é", "\x1b[1m", "a\nb", "\udce9"]
JUNK += ["9" * 400, "gs://b/r", "/dev/null", "--", "$HOME", "2.5", "1_0", "0x10"]
JUNK += ["[" * 300, "1" * 40, "~", "~no/x"]
FLAGS: dict[str, list[str]] = {
    "workdir": ["runs/a", "/tmp/b", "runs/lr[1e-4]"],
    "mode": ["train", "train", *launch.MODES],
    "step": ["3", "best", "all"],
    "truncations": ["0.5,1", "0"],
    "to": [*KINDS],
    "queries": ["spread", "8,8;0,31"],
    "labels": ["0,1", "3"],
    "count": ["1", "10"],
    "out": ["x.png", "out"],
    "dry_run": ["shapes", ""],
    "cells": ["1/1", "2/3"],
}
SMALL = {"train.d_steps": ["1"], "model.resolution": ["32", "64"]}


class Hang(Exception):  # noqa: N818
    """More than SECONDS, or SECONDS_OF_THE_CLOCK, for one input."""


def command_line(rng: random.Random) -> list[str]:
    """Returns a command line without the program's name; about half are valid."""
    wild = rng.random() < 0.5
    argv = _config(rng, wild)
    fields = config_lib.fields_of(config_lib.Config())
    for name, value, annotation in rng.choices(fields, k=rng.choice([0, 1, 1, 2, 4])):
        bad = wild and rng.random() < 0.5
        text = rng.choice(JUNK) if bad else _value(rng, name, value, annotation)
        argv += _written(rng, f"config.{_misspelt(rng, name) if bad else name}", text)
    for name in rng.sample(list(FLAGS), k=rng.choice([0, 0, 1, 2])):
        bad = wild and rng.random() < 0.5
        text = rng.choice(JUNK if bad else FLAGS[name])
        argv += _written(rng, name, text)
    if wild and rng.random() < 0.5:
        word = rng.choice(["extra", "--bogus", "--no", "-", "--", "--=", "-x=1", *JUNK])
        prefix = rng.choice(["", "", "--flagfile=", "--evaluation.seed=", "--config."])
        argv.insert(rng.randrange(len(argv) + 1), prefix + word)
    return argv


def _config(rng: random.Random, wild: bool) -> list[str]:
    sweep = rng.random() < 0.15
    value = f"experiments/{rng.choice(SWEEPS if sweep else EXPERIMENTS)}.py:smoke"
    if wild and rng.random() < 0.3:
        wrong = ["", "no.py", ".", "/", "README.md", "experiments/quickstart.py:big"]
        value = rng.choice([*wrong, *JUNK, "experiments/custom.py", "~/no.py:smoke"])
    if wild and rng.random() < 0.1:
        return []
    argv = _written(rng, "config", value)
    if "cifar10" in value:  # whose five updates take long to trace
        argv += ["--config.train.d_steps=1"]
    if sweep and not (wild and rng.random() < 0.3):
        argv += _written(rng, "mode", "sweep")
    return argv


def _written(rng: random.Random, name: str, value: str) -> list[str]:
    dashes = rng.choice(["--", "--", "-"])
    if value in ("True", "False") and rng.random() < 0.5:
        return [f"{dashes}{'' if value == 'True' else 'no'}{name}"]
    if rng.random() < 0.2 and name.partition(".")[2] not in _BOOLEANS:
        return [f"{dashes}{name}", value]
    return [f"{dashes}{name}={value}"]


_BOOLEANS = {
    n for n, _, kind in config_lib.fields_of(config_lib.Config()) if kind is bool
}


def _value(rng: random.Random, name: str, value: Any, annotation: Any) -> str:
    if name in SMALL:
        return rng.choice(SMALL[name])
    if name in checks.CHOICES:
        return rng.choice(checks.CHOICES[name])
    if annotation is bool:
        return rng.choice(["True", "False"])
    if name in checks._BOUNDS:
        low, high = checks._BOUNDS[name]
        if annotation is float:
            return repr(rng.choice([float(low), float(high), rng.uniform(low, high)]))
        return str(rng.choice([int(low), int(low) + 1, min(int(high), 8), int(high)]))
    if annotation is str:
        return rng.choice(["a", "b c", "é"])
    return ",".join(map(str, value or (16,)))


def _misspelt(rng: random.Random, name: str) -> str:
    place = rng.randrange(len(name))
    return name[:place] + rng.choice("axz._-=") * rng.choice([0, 1]) + name[place + 1 :]


def parse(argv: list[str]) -> Any:
    """Parses and checks a command line, as launch.py does, in a process of many."""
    values = flags.FLAGS
    for name in set(values) - _KNOWN:
        delattr(values, name)
    values.unparse_flags()
    sys.argv = ["launch.py", *argv]  # the flag library looks for fields there
    launch._parse(sys.argv)
    return values


def run(seed: int, count: int, dry_runs: int) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    faults, slowest = [], 0.0
    for number in range(count):
        argv = command_line(random.Random(f"{seed}/{number}"))
        began = time.monotonic()
        said = io.StringIO()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(SECONDS_OF_THE_CLOCK)
        try:
            with (
                warnings.catch_warnings(record=True) as found,
                contextlib.redirect_stdout(said),
                contextlib.redirect_stderr(said),
            ):
                warnings.simplefilter("always")
                outcome = _outcome(argv, dry=outcomes["described"] < dry_runs)
            if found:
                faults.append([argv, f"warning: {found[0].message}"])
            if outcome == "parsed" and said.getvalue():
                faults.append([argv, f"printed: {said.getvalue()}"])
        except BaseException:
            outcome = "fault"
            faults.append([argv, traceback.format_exc()])
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
        outcomes[outcome] += 1
        slowest = max(slowest, time.monotonic() - began)
    return {"outcomes": outcomes, "faults": faults, "slowest": round(slowest, 1)}


def _outcome(argv: list[str], *, dry: bool) -> str:
    try:
        values = parse(argv)
        is_training = values.mode in ("train", "sweep") and values["config"].present
        if not (dry and is_training):
            return "parsed"
        values.dry_run = "shapes"
        launch.main([])
    except UserError as error:
        sentence = str(error)
        if not sentence.endswith((".", "?")) or not sentence.isprintable():
            raise RuntimeError(f"not one sentence: {sentence!r}") from error
        return "refused"
    finally:
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_enable_x64", False)
    return "described"


def _alarm(number: int, _: Any) -> None:
    raise Hang(signal.Signals(number).name)


app.define_help_flags()
_KNOWN = set(flags.FLAGS)


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _alarm)
    signal.signal(signal.SIGPROF, _alarm)
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        print(json.dumps(run(*map(int, sys.argv[1:4]))))
        left = [str(path) for path in Path(empty).rglob("*")]
    sys.exit(f"files were written: {left}" if left else 0)
