"""Scores of a run's checkpoints: one line of results.jsonl each, and a table.

A line holds everything that is needed to repeat its numbers: the digest of the
checkpoint's manifest, how the generator was sampled, how it was measured, and the
versions in use. Scores stand in it under their own names.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import progress
from sagan_jax.evaluation.scorer import AGREEMENT, Scorer
from sagan_jax.files import json_lines, whole
from sagan_jax.networks import Generator
from sagan_jax.runtime import processes, provenance
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir.run import Run

FRESH = 1_000_000
"""Added to the seed when the best checkpoint is scored again, on other images."""

Line = dict[str, Any]


def evaluate(
    run: Run,
    which: str = "",
    *,
    changes: Mapping[str, Any] | None = None,
    truncations: Sequence[float] = (),
    facts: Mapping[str, Any] | None = None,
) -> list[Line]:
    """Scores checkpoints of a run, appends to results.jsonl, and returns the lines.

    Args:
      run: the run.
      which: a step; 'best': the best of the run's own evaluations, scored on fresh
        images, and against `evaluation.held_out` if that is set; 'all'; '': the newest.
      changes: fields of config.evaluation that override the run's own.
      truncations: bounds on |z|, each scored separately; (): evaluation.truncation.
      facts: further entries of the lines.

    Raises:
      UserError: no such checkpoint, or a value out of range.
    """
    run = run.with_evaluation(changes or {})
    selected = _best_of(run) if which == "best" else None
    if selected:
        run = _on_fresh_images(run)
    bounds = truncations or (run.config.evaluation.truncation,)
    runs = [run.with_evaluation({"truncation": bound}) for bound in bounds]
    if processes.is_first():
        with naming("workdir"):
            whole.check_writable(run.results, append=True)
    steps = _steps(run, which, selected)
    scorer = Scorer(runs[0].config)
    lines: list[Line] = []
    for step in steps:
        for each in runs:
            try:
                generator, variables, config, found = generator_lib.load(each, step)
            except checkpoint.GoneError:
                if which != "all":
                    raise
                checkpoint.warn(
                    f"checkpoint {step} was removed before it was scored and is left "
                    "out."
                )
                break
            # Now: a training may remove the checkpoint before its scores are known.
            files = _files(each, found)
            scores = _over_seeds(scorer, config, generator, variables)
            line = _line(each, scorer, found, files, scores) | dict(facts or {})
            if selected:
                line["selected_by"] = selected
            lines.append(line)
            _record(run, lines)
    if not lines:  # a training has replaced all that were listed
        return evaluate(run, "", truncations=bounds, facts=facts)
    return lines


def table(lines: Sequence[Line]) -> str:
    """Returns the scores of lines as text, one column each."""
    names = list(scores_of(lines[0]))
    heads = ["step", "truncation", *names]
    rows = [
        [f"{line['step']}", f"{line['truncation']:g}"]
        + [f"{line[name]:.4g}" for name in names]
        for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (heads, *rows)
    )


def scores_of(line: Line) -> dict[str, float]:
    """Returns the scores of a line, without its settings and whole numbers."""
    return {
        name: value
        for name, value in line.items()
        if isinstance(value, float) and name not in _SETTINGS
    }


def finish(run: Run, *, rollbacks: int) -> str:
    """Scores a run that has made all its steps, and returns a report; '' if none.

    On synthetic data the last checkpoint is scored. Otherwise it is the best one, if
    the run was evaluated during training.
    """
    config = run.config
    if not is_wanted(config):
        return ""
    synthetic = config.data.source == "synthetic"
    lines = evaluate(
        run,
        str(config.train.steps) if synthetic else "best",
        facts={"rollbacks": rollbacks, "run_steps": config.train.steps},
    )
    if not synthetic or "score" not in lines[0]:
        return table(lines)
    scores = lines[0]
    return (
        f"far pairs, {scores['n']} images: disagreement S = {scores['score']:.3f} "
        "(0: the two sides always agree, 1: they are independent), "
        f"class correctness = {scores.get('class_correctness', math.nan):.3f}, "
        f"missing = {scores['missing']:.3f}, hue coverage = {scores['den']:.2f}"
    )


def is_wanted(config: Config) -> bool:
    """Returns whether a run ends with scores."""
    if config.data.source == "synthetic":
        return config.evaluation.num_samples > 0
    return config.evaluation.every > 0


def is_finished(run: Run) -> bool:
    """Returns whether the scores at the end of the run have been written.

    A kill may come between the last step and its scores. Only lines that `finish` wrote
    count: a person may score the same checkpoint at any time.
    """
    steps = run.config.train.steps
    # Earlier versions wrote no 'run_steps'.
    return not is_wanted(run.config) or any(
        "rollbacks" in line and line.get("run_steps", steps) == steps
        for line in json_lines.read(run.results)
    )


def _record(run: Run, lines: list[Line]) -> None:
    """Appends the last line to results.jsonl; prints all of them if that fails."""
    if not processes.is_first():
        return
    try:
        json_lines.append(run.results, lines[-1])
    except OSError:
        print(table(lines), flush=True)
        raise


def _files(run: Run, step: int) -> Line:
    """Returns the digests of the files that are scored."""
    return {
        "checkpoint": run.checkpoint_digest(step),
        "config": run.config_digest(),
    }


def _on_fresh_images(run: Run) -> Run:
    settings = run.config.evaluation
    return run.with_evaluation(
        {
            "seed": shifted_seed(settings.seed, FRESH),
            "reference": settings.held_out or settings.reference,
        }
    )


def _over_seeds(
    scorer: Scorer, config: Config, generator: Generator, variables: dict[str, Any]
) -> Line:
    """Returns the scores; for several seeds their means and standard deviations."""
    settings = config.evaluation
    found = [
        scorer.score(
            generator,
            variables,
            count=settings.num_samples,
            seed=shifted_seed(settings.seed, i),
            truncation=settings.truncation,
        )
        for i in range(settings.seeds)
    ]
    if len(found) == 1:
        return found[0]
    scores: Line = {}
    for name, first in found[0].items():
        if isinstance(first, float):
            values = [one[name] for one in found]
            scores[name] = float(np.mean(values))
            scores[f"{name}_over_seeds_std"] = float(np.std(values, ddof=1))
        else:
            scores[name] = first
    return scores


def _line(run: Run, scorer: Scorer, step: int, files: Line, scores: Line) -> Line:
    """Returns a line of results.jsonl."""
    config, settings = run.config, run.config.evaluation
    count = settings.num_samples
    name = scorer.protocol.name
    if scorer.metrics == (AGREEMENT,):
        name = f"far_pairs_{config.data.difficulty}_{count}"
    decay = config_lib.evaluated_decay(config)
    return {
        "protocol": name,
        "time": round(time.time(), 3),
        "run": config.name,
        "step": step,
        **files,
        "num_samples": count,
        "labels": "balanced" if config.model.num_classes else "",
        "seed": settings.seed,
        "seeds": settings.seeds,
        "truncation": settings.truncation,
        "ema": bool(decay),
        "ema_decay": decay or config.train.ema_decay,
        "statistics": settings.statistics,
        **_standing(config),
        **scorer.facts(),
        **provenance.facts(),
        **scores,
    }


def shifted_seed(seed: int, by: int) -> int:
    """Returns `seed + by`, wrapped to 32 bits."""
    return (seed + by) % 2**32


def _best_of(run: Run) -> Line:
    found = progress.best(run)
    if found is None:
        raise UserError(
            f"step='best': workdir={str(run.workdir)!r} has no evaluations; train with "
            "--config.evaluation.every=STEPS, or pass a step."
        )
    if found["step"] not in run.steps():
        raise UserError(
            f"step='best': workdir={str(run.workdir)!r} has no checkpoint "
            f"{found['step']} any more; pass another step."
        )
    return found


_SETTINGS = ("time", "truncation", "ema_decay")


def _steps(run: Run, which: str, selected: Line | None) -> list[int | None]:
    if selected:
        return [selected["step"]]
    if not which:
        return [None]
    if which == "all":
        return [*run.steps()] or [None]  # loading None reports that there is none
    if not which.isascii() or not which.isdigit():
        raise UserError(f"step={which!r} is not a step; pass a number, best or all.")
    run.check_step(int(which))
    return [int(which)]


def _standing(config: Config) -> Line:
    settings = config.evaluation
    if settings.statistics != "standing":
        return {}
    return {
        "standing_batches": settings.standing_batches,
        "standing_batch_size": settings.standing_batch_size,
    }
