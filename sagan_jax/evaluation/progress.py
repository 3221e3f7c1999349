"""Scores of a run under way: evaluations.jsonl, and the best step so far.

They are of fewer images than a result, and they choose: a number that was chosen for
being small is smaller than it should be. results.py scores the best again.
"""

import re
import time
from pathlib import Path
from typing import Any

import jax

from sagan_jax.config import Config
from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.files import json_lines
from sagan_jax.networks import Generator

FILE = "evaluations.jsonl"

Line = dict[str, Any]


def observe(
    workdir: Path,
    config: Config,
    scorer: Scorer,
    generator: Generator,
    variables: dict[str, Any],
    step: int,
) -> Line:
    """Scores a generator, appends to evaluations.jsonl, and returns the scores."""
    settings = config.evaluation
    scores = scorer.score(
        generator,
        variables,
        count=settings.every_samples,
        seed=settings.seed,
        truncation=settings.truncation,
    )
    if jax.process_index() == 0:
        line = {
            "step": step,
            "time": round(time.time(), 3),
            "num_samples": settings.every_samples,
            "seed": settings.seed,
            "reference": scorer.facts().get("reference", ""),
            **scores,
        }
        json_lines.append_json(workdir / FILE, line)
    return scores


def best(workdir: Path) -> Line | None:
    """Returns the evaluation under way that was best; None without any.

    The Frechet distance decides where it was measured, or else the disagreement.
    """
    lines = json_lines.read_metrics(workdir / FILE, 2**31)
    names = {name for line in lines for name in line}
    chosen = sorted(n for n in names if re.fullmatch(r"FID|FD-\d+", n))
    chosen += ["score"] if "score" in names else []
    scored = [line for line in lines if chosen and line.get(chosen[0]) is not None]
    if not scored:
        return None
    least = min(scored, key=lambda line: line[chosen[0]])
    kept = ("step", chosen[0], "num_samples", "seed", "reference")
    return {name: least[name] for name in kept}
