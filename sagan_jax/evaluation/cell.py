"""The numbers of one cell of a sweep, from the files of its workdir."""

import itertools
from typing import Any

from sagan_jax.evaluation import results
from sagan_jax.files import json_lines
from sagan_jax.workdir import checkpoint, rollback
from sagan_jax.workdir.run import Run

Line = dict[str, Any]

_ABOUT = ("step", "time")
"""What names a line of a log, and is no number of the run."""


def diverged_at(run: Run) -> int | None:
    """Returns the logged step by which steps were not finite; None if all were."""
    for line in json_lines.newest_first(run.metrics):
        return json_lines.step_of(line) if line.get("skipped") else None
    return None


def score_last_step(run: Run, plan_hash: str) -> Line:
    """Returns the line of results.jsonl about the last step, made if it is missing.

    A run may end with the scores of its best checkpoint, which were selected for being
    low; cells are compared at their last step.

    Args:
      run: a run that has made all its steps.
      plan_hash: the plan of the sweep, written into the line.
    """
    last = run.config.train.steps
    for line in json_lines.read(run.results):
        ours = line.get("plan_hash") == plan_hash or "rollbacks" in line
        if ours and line.get("step") == last and "selected_by" not in line:
            return line
    return results.evaluate(run, str(last), facts={"plan_hash": plan_hash})[0]


def numbers(run: Run, result: Line | None) -> dict[str, float]:
    """Returns every number of a run by which cells may be compared.

    These are the scores, and from the last logged step the gates of attention
    ('gamma/...') and what is logged about attention ('attention/...').

    Args:
      run: the run.
      result: the line of results.jsonl about its last step; None if it has none.
    """
    found = results.scores_of(result or {})
    for line in json_lines.newest_first(run.metrics):
        found |= _flat(
            "gamma", {k[6:]: v for k, v in line.items() if k[:6] == "gamma/"}
        )
        break
    for line in json_lines.newest_first(run.attention_log):
        found |= _flat("attention", line)
        break
    return found


def curves(run: Run) -> list[Line]:
    """Returns the scores taken while a run was trained, each with its step."""
    lines = [line for line in json_lines.read(run.evaluations) if "step" in line]
    return [{"step": line["step"], **results.scores_of(line)} for line in lines]


def seconds(run: Run) -> float:
    """Returns the seconds between logged steps, without the pauses between starts."""
    starts = [line.get("time", 0.0) for line in json_lines.read(run.starts)]
    times = [line.get("time", 0.0) for line in json_lines.read(run.metrics)]
    return sum(
        after - before
        for before, after in itertools.pairwise(times)
        if not any(before < start <= after for start in starts)
    )


def line_of(run: Run, plan_hash: str, reason: str = "") -> Line:
    """Returns the line of a cell that ended, apart from its names.

    Args:
      run: a run that made all its steps, or diverged.
      plan_hash: the plan of the sweep.
      reason: why it ended early; '' if it did not.
    """
    rollbacks = rollback.count(run)
    result = None if reason else score_last_step(run, plan_hash)
    if saved := run.steps():
        checkpoint.keep_only(run.checkpoints, max(saved))
    last = next(json_lines.newest_first(run.metrics), {})
    status = "diverged" if reason else "rescued" if rollbacks else "done"
    if not reason and last.get("collapse_signs"):
        status = "collapsed"
        reason = f"signs of collapse at the last step: {last['collapse_signs']:g}"
    return {
        "status": status,
        "reason": reason,
        "step": diverged_at(run) if status == "diverged" else run.config.train.steps,
        "numbers": numbers(run, result),
        "curves": curves(run),
        "skipped": last.get("skipped", 0.0),
        "rollbacks": rollbacks,
        "seconds": round(seconds(run), 1),
        "provenance": result or next(json_lines.newest_first(run.starts), {}),
    }


def _flat(prefix: str, value: Any) -> dict[str, float]:
    """Returns the numbers of nested dicts, with names joined by '/'."""
    if isinstance(value, dict):
        found: dict[str, float] = {}
        for name, inner in value.items():
            if name not in _ABOUT:
                found |= _flat(f"{prefix}/{name}", inner)
        return found
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {prefix: float(value)} if is_number else {}
