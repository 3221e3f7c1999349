"""Scores of a run while it trains: evaluations.jsonl, and the best step so far.

They use fewer images than a result does, and they select a checkpoint: the score that
was selected for being low is biased low. `results` scores the best checkpoint again.
"""

import math
import time
from collections.abc import Callable
from typing import Any

from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.files import json_lines
from sagan_jax.metrics import scores as scores_lib
from sagan_jax.networks import Generator
from sagan_jax.runtime import processes
from sagan_jax.workdir.run import Run

Line = dict[str, Any]


def observe(
    run: Run,
    scorer: Scorer,
    generator: Generator,
    variables: dict[str, Any],
    step: int,
    check: Callable[[], None] = lambda: None,
) -> Line:
    """Scores a generator, appends a line to evaluations.jsonl, returns the scores.

    Args:
      run: the run.
      scorer: the metrics of the run.
      generator: the module.
      variables: the generator's variables, as evaluated.
      step: the step of the variables.
      check: called before each batch of images; it may raise, and nothing is written.
    """
    settings = run.config.evaluation
    scores = scorer.score(
        generator,
        variables,
        count=settings.every_samples,
        seed=settings.seed,
        truncation=settings.truncation,
        check=check,
    )
    if processes.is_first():
        line = {
            "step": step,
            "time": round(time.time(), 3),
            "num_samples": settings.every_samples,
            "seed": settings.seed,
            "reference": scorer.facts().get("reference", ""),
            **scores,
        }
        json_lines.append(run.evaluations, line)
    return scores


def is_observed(run: Run, step: int) -> bool:
    """Returns whether evaluations.jsonl has a line for `step`."""
    return any(line.get("step") == step for line in json_lines.read(run.evaluations))


def best(run: Run) -> Line | None:
    """Returns the evaluation with the best score; None if there is none.

    The Frechet distance decides if it was measured, and the disagreement otherwise.
    """
    lines = [
        line
        for line in json_lines.read(run.evaluations)
        if json_lines.step_of(line) is not None
    ]
    names = {name for line in lines for name in line}
    chosen = sorted(filter(scores_lib.is_distance, names))
    chosen += ["score"] if "score" in names else []
    scored = [line for line in lines if chosen and _is_score(line.get(chosen[0]))]
    if not scored:
        return None
    least = min(scored, key=lambda line: line[chosen[0]])
    kept = ("step", chosen[0], "num_samples", "seed", "reference")
    return {name: least.get(name) for name in kept}


def _is_score(value: Any) -> bool:
    # A damaged file may hold anything, and NaN would win every comparison.
    return type(value) in (int, float) and math.isfinite(value)


def best_step(run: Run) -> int | None:
    """Returns the step of the best evaluation; None if there is none."""
    found = best(run)
    return found["step"] if found else None
