r"""How long a training takes to start: medians of several runs.

    python benchmarks/startup.py experiments/quickstart.py --out startup.jsonl
    python benchmarks/startup.py experiments/imagenet128.py data.source=synthetic \
        model.num_classes=4 train.batch_size=8 --what compile

Prints one line of JSON for each of:
  compile  from tracing the step to its executable, with empty caches;
  cold     from the command to its first logged step, with empty caches;
  warm     the same with the caches that an earlier start left;
  resume   from the command to its first new step, after a run was stopped.

Seconds of commands begin when the process is started and end at the time that
metrics.jsonl gives for the step. Nothing else should run on the machine.
"""

import argparse
import ast
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sagan_jax.commands import experiment_files
from sagan_jax.config import Config

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = ROOT / "launch.py"
KINDS = ("compile", "cold", "warm", "resume")
MOST_SECONDS = 900.0
"""A start that takes longer has failed."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line of JSON for each kind of start."""
    options = _parser().parse_args(argv)
    if options.worker:
        print(compile_seconds(overridden(options.config, options.overrides)))
        return
    for kind in options.what:
        seconds = list(_measured(kind, options))
        line = {
            "what": kind,
            "config": options.config,
            "overrides": options.overrides,
            **summary(seconds),
            "cores": os.cpu_count(),
        }
        text = json.dumps(line)
        print(text, flush=True)
        if options.out:
            with options.out.open("a", encoding="utf-8") as file:
                file.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG", help="experiment file")
    parser.add_argument(
        "overrides", nargs="*", metavar="FIELD=VALUE", help="such as train.batch_size=8"
    )
    parser.add_argument(
        "--what", nargs="+", choices=KINDS, default=list(KINDS), help="default: all"
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="starts of each kind (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="file to append the lines to")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Returns the median, the extremes and the single values, rounded to 10 ms."""
    return {
        "median_seconds": round(statistics.median(seconds), 2),
        "min_seconds": round(min(seconds), 2),
        "max_seconds": round(max(seconds), 2),
        "runs": [round(value, 2) for value in seconds],
    }


def overridden(path: str, overrides: Sequence[str]) -> Config:
    """Returns the config of an experiment file with some fields replaced.

    Args:
      path: the file, as for --config.
      overrides: FIELD=VALUE each.
    """
    config = experiment_files.load(path)
    for override in overrides:
        name, _, text = override.partition("=")
        group, field = name.split(".")
        try:
            value: Any = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = text
        setattr(getattr(config, group), field, value)
    return config


def compile_seconds(config: Config) -> float:
    """Returns the seconds from tracing a step to its executable, in this process.

    The process is set up as launch.py does it.
    """
    import jax

    from sagan_jax import networks
    from sagan_jax.commands import dry_run, memory
    from sagan_jax.commands.options import Options
    from sagan_jax.runtime import mesh as mesh_lib
    from sagan_jax.runtime import stored
    from sagan_jax.training import optim, state
    from sagan_jax.training.train_step import make_train_step

    memory.keep(Options(config=config))
    mesh_lib.start(config)
    mesh = mesh_lib.make_mesh(config)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    shapes = jax.eval_shape(lambda: state.create(*parts))
    step = mesh_lib.jit_step(make_train_step(*parts, mesh_lib.constrain(mesh)), mesh)
    batch = dry_run.batch(config)
    begin = time.perf_counter()
    stored.lowered(lambda: step.lower(shapes, batch)).compile()
    return time.perf_counter() - begin


def _measured(kind: str, options: argparse.Namespace) -> Iterator[float]:
    """Yields the seconds of each start of a kind."""
    with contextlib.ExitStack() as stack:
        for run in range(options.runs):
            # Each start with empty caches has a directory of its own.
            if run == 0 or kind in ("compile", "cold"):
                stack.close()
                place = Path(stack.enter_context(_directory()))
                environment = _with_caches(place / "cache")
                if kind in ("warm", "resume"):
                    first_step(options, place / "run", environment, signal.SIGINT)
            if kind == "compile":
                yield _worker(options, environment)
            elif kind == "resume":
                yield first_step(options, place / "run", environment, signal.SIGINT)
            else:
                workdir = place / f"run{run}"
                yield first_step(options, workdir, environment, signal.SIGKILL)


def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="startup_", ignore_cleanup_errors=True)


def _with_caches(place: Path) -> dict[str, str]:
    """Returns the environment with all caches below `place`."""
    kept = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    return kept | {"XDG_CACHE_HOME": str(place), "PYTHONPATH": str(ROOT)}


def _worker(options: argparse.Namespace, environment: dict[str, str]) -> float:
    command = [sys.executable, __file__, options.config, *options.overrides, "--worker"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def first_step(
    options: argparse.Namespace,
    workdir: Path,
    environment: dict[str, str],
    stop: signal.Signals,
) -> float:
    """Returns the seconds until a command has logged a step that was not there before.

    Args:
      options: the experiment and its overrides.
      workdir: the directory of the run; a run in it is resumed.
      environment: the environment variables of the command.
      stop: the signal that ends the command; SIGINT saves its state.

    Raises:
      RuntimeError: the command ended, or took more than MOST_SECONDS.
    """
    fields = [f"--config.{override}" for override in options.overrides]
    every = ["--config.train.log_every=1", "--config.train.steps=100000"]
    command = [sys.executable, str(LAUNCH), "--config", options.config]
    command += [*fields, *every, "--workdir", str(workdir)]
    log = workdir / "metrics.jsonl"
    before = max((line["step"] for line in lines_of(log)), default=0)
    begin = time.time()
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        while True:
            new = [line for line in lines_of(log) if line["step"] > before]
            if new:
                break
            if process.poll() is not None or time.time() > begin + MOST_SECONDS:
                process.kill()
                errors = process.stderr.read() if process.stderr else b""
                raise RuntimeError(f"no step was logged: {errors.decode()[-500:]}")
            time.sleep(0.02)
        process.send_signal(stop)
        process.communicate()
    return float(new[0]["time"]) - begin


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Returns the whole lines of a file of JSON; [] if it does not exist."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


if __name__ == "__main__":
    main()
