"""Times of the steps of a real run of launch.py, watched from another process."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
NEVER = 10**9
QUIET = {
    "train.sample_every": NEVER,
    "train.checkpoint_every": NEVER,
    "evaluation.every": 0,
    "evaluation.rows": 1,
    "evaluation.columns": 1,
}
"""Fields of a run that only trains; the sheet before its first step is one image."""
_POLL = 0.01


class Usage(NamedTuple):
    """What a process has used so far: CPU seconds of its threads, and page faults."""

    cpu: float
    page_faults: int


class Moment(NamedTuple):
    """The end of a step: its number, the time in metrics.jsonl, and the usage."""

    step: int
    time: float
    usage: Usage


def timed(
    arguments: Sequence[str], *, steps: int, warm_up: int, log_every: int = 1
) -> dict[str, Any]:
    """Starts launch.py in a fresh workdir, and returns times of its steps.

    The process is killed after the last step, so that nothing is saved.

    Args:
      arguments: the arguments of launch.py, apart from --workdir.
      steps: number of timed steps, a multiple of `log_every`.
      warm_up: number of steps before them, a multiple of `log_every`.
      log_every: steps per line of metrics.jsonl; times are means over these.

    Returns:
      'wall', 'cpu' and 'page_faults' per step, one of each line; 'first_step', seconds
      from the command to the first line; 'peak_rss_gb'.

    Raises:
      RuntimeError: the run ended early.
    """
    fields = QUIET | {"train.log_every": log_every}
    with tempfile.TemporaryDirectory() as folder:
        workdir, log = Path(folder, "run"), Path(folder, "log")
        command = [sys.executable, str(ROOT / "launch.py"), *arguments]
        command += [f"--config.{name}={value}" for name, value in fields.items()]
        command += ["--workdir", str(workdir)]
        started = time.time()
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={"JAX_PLATFORMS": "cpu"} | os.environ,
            )
        try:
            moments = _watched(process, workdir / "metrics.jsonl", warm_up + steps)
            peak = peak_rss_gb(process.pid)
        except EOFError:
            tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise RuntimeError(f"launch.py ended early:\n{tail}") from None
        finally:
            process.kill()
            process.wait()
    return {
        **per_step(moments, warm_up),
        "first_step": moments[0].time - started,
        "peak_rss_gb": peak,
    }


def _watched(process: Any, metrics: Path, last: int) -> list[Moment]:
    """Returns a moment per line of `metrics`, as the lines appear."""
    moments: list[Moment] = []
    seen = 0
    while not moments or moments[-1].step < last:
        time.sleep(_POLL)
        if process.poll() is not None:
            raise EOFError
        size = metrics.stat().st_size if metrics.exists() else 0
        if size == seen:
            continue
        used = usage(process.pid)
        with open(metrics, "rb") as file:
            file.seek(seen)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        seen += len(whole)
        moments += [
            Moment(step, at, used) for step, at in read_times(whole.decode("utf-8"))
        ]
    return moments


def read_times(lines: str) -> list[tuple[int, float]]:
    """Returns the step and the time of each line of a metrics.jsonl."""
    read = [json.loads(line) for line in lines.splitlines()]
    return [(line["step"], line["time"]) for line in read]


def per_step(moments: Sequence[Moment], warm_up: int) -> dict[str, list[float]]:
    """Returns wall, CPU and page faults per step, between moments after the warm-up.

    Raises:
      ValueError: fewer than two moments are left.
    """
    kept = [moment for moment in moments if moment.step >= warm_up]
    if len(kept) < 2:
        raise ValueError(f"{len(kept)} lines after step {warm_up}; 2 are needed.")
    pairs = [(b.step - a.step, a, b) for a, b in itertools.pairwise(kept)]
    return {
        "wall": [(b.time - a.time) / n for n, a, b in pairs],
        "cpu": [(b.usage.cpu - a.usage.cpu) / n for n, a, b in pairs],
        "page_faults": [
            (b.usage.page_faults - a.usage.page_faults) / n for n, a, b in pairs
        ],
    }


def usage(pid: int) -> Usage:
    """Returns what a process of this machine has used so far; Linux only."""
    # The name, in brackets, may hold spaces: fields are counted after it.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    minor, user, system = (int(fields.split()[i]) for i in (7, 11, 12))
    return Usage((user + system) / os.sysconf("SC_CLK_TCK"), minor)


def peak_rss_gb(pid: int) -> float:
    """Returns the most memory that a process has held, in GiB; Linux only."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**20
    raise ValueError(f"/proc/{pid}/status has no VmHWM.")
