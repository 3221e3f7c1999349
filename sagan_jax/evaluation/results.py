"""The scores of a run's checkpoints: results.jsonl, a line for each, and a table.

A line holds everything that is needed to make its numbers again: the checkpoint by the
digest of its manifest, how the generator was sampled, how it was measured, and with
which versions. Scores stand in it under their own names.
"""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import progress
from sagan_jax.evaluation.scorer import AGREEMENT, Scorer
from sagan_jax.files import json_lines, manifest
from sagan_jax.networks import Generator
from sagan_jax.runtime import provenance
from sagan_jax.workdir import checkpoint, run_config

FILE = "results.jsonl"
FRESH = 1_000_000
"""Added to the seed where the best checkpoint is scored again, on other images."""

Line = dict[str, Any]


def evaluate(
    workdir: Path,
    which: str = "",
    *,
    changes: Mapping[str, Any] | None = None,
    truncations: Sequence[float] = (),
    facts: Mapping[str, Any] | None = None,
) -> list[Line]:
    """Scores checkpoints of a run, appends to results.jsonl, and returns the lines.

    Args:
      workdir: of the run.
      which: a step; 'best': of the run's own evaluations, scored on fresh images and
        against `evaluation.held_out` where that is given; 'all'; '': the newest.
      changes: fields of config.evaluation that differ from the run's own.
      truncations: of the latents, each scored by itself; (): evaluation.truncation.
      facts: that the lines hold beside their own.

    Raises:
      UserError: no run, no such checkpoint, or a setting that cannot be.
    """
    run_config.read(workdir)  # first of all, whether there is one
    chosen = _best_there_is(workdir) if which == "best" else None
    lines = []
    scorer = None
    for step in _steps(workdir, which, chosen):
        for truncation in truncations or (None,):
            fields = dict(changes or {})
            if truncation is not None:
                fields["truncation"] = truncation
            generator, variables, config, found = generator_lib.load(
                workdir, step, fields
            )
            if chosen:
                config.evaluation.seed = _later(config.evaluation.seed, FRESH)
                held_out = config.evaluation.held_out
                config.evaluation.reference = held_out or config.evaluation.reference
            scorer = scorer or Scorer(config)
            scores = _over_seeds(scorer, config, generator, variables)
            line = _line(workdir, config, scorer, found, scores) | dict(facts or {})
            if chosen:
                line["selected_by"] = chosen
            if jax.process_index() == 0:
                json_lines.append_json(workdir / FILE, line)
            lines.append(line)
    return lines


def table(lines: Sequence[Line]) -> str:
    """Returns the scores of lines for a person, a column for each."""
    names = [
        name
        for name, value in lines[0].items()
        if isinstance(value, float) and name not in _SETTINGS
    ]
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


def finish(workdir: Path, config: Config, *, rollbacks: int) -> str:
    """Scores a run that is over, and returns what there is to say of it.

    On synthetic data it is the last checkpoint that is scored; otherwise the best one,
    if the run was evaluated under way.
    """
    if not is_wanted(config):
        return ""
    synthetic = config.data.source == "synthetic"
    lines = evaluate(
        workdir,
        str(config.train.steps) if synthetic else "best",
        facts={"rollbacks": rollbacks},
    )
    if not synthetic or "score" not in lines[0]:
        return table(lines)
    scores = lines[0]
    return (
        f"far pairs, {scores['n']} images: disagreement S = {scores['score']:.3f} "
        "(0: the two sides always agree, 1: they know nothing of each other), "
        f"class correctness = {scores.get('class_correctness', math.nan):.3f}, "
        f"missing = {scores['missing']:.3f}, hue coverage = {scores['den']:.2f}"
    )


def is_wanted(config: Config) -> bool:
    """Returns whether a run ends with scores."""
    if config.data.source == "synthetic":
        return config.evaluation.num_samples > 0
    return config.evaluation.every > 0


def is_finished(workdir: Path, config: Config) -> bool:
    """Returns whether nothing is left to score; a kill may come after the last step."""
    if not is_wanted(config):
        return True
    path = workdir / FILE
    mark = '"selected_by": '
    if config.data.source == "synthetic":
        mark = f'"step": {config.train.steps},'
    return path.exists() and mark in path.read_text("utf-8")


def _over_seeds(
    scorer: Scorer, config: Config, generator: Generator, variables: dict[str, Any]
) -> Line:
    """Returns scores; of several seeds the means, with deviations beside them."""
    settings = config.evaluation
    found = [
        scorer.score(
            generator,
            variables,
            count=settings.num_samples,
            seed=_later(settings.seed, i),
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


def _line(
    workdir: Path, config: Config, scorer: Scorer, step: int, scores: Line
) -> Line:
    """Returns a line of results.jsonl."""
    settings = config.evaluation
    count = settings.num_samples
    name = scorer.protocol.name
    if scorer.metrics == (AGREEMENT,):
        name = f"far_pairs_{config.data.difficulty}_{count}"
    labels = "balanced" if config.model.num_classes else ""
    return {
        "protocol": name,
        "time": round(time.time(), 3),
        "run": config.name,
        "step": step,
        "checkpoint": _digest(
            workdir / checkpoint.CHECKPOINTS / str(step) / manifest.NAME
        ),
        "config": _digest(workdir / run_config.CONFIG),
        "num_samples": count,
        "labels": labels,
        "seed": settings.seed,
        "seeds": settings.seeds,
        "truncation": settings.truncation,
        "ema": settings.ema and bool(config.train.ema_decay),
        "ema_decay": config.train.ema_decay,
        "statistics": settings.statistics,
        **_standing(config),
        **scorer.facts(),
        **provenance.facts(),
        **scores,
    }


def _later(seed: int, by: int) -> int:
    return (seed + by) % 2**32  # seeds have 32 bits


def _best_there_is(workdir: Path) -> Line:
    found = progress.best(workdir)
    if found is None:
        raise UserError(
            f"step='best': workdir={str(workdir)!r} has no evaluations; train with "
            "--config.evaluation.every=STEPS, or give a step."
        )
    if found["step"] not in checkpoint.steps(workdir):
        raise UserError(
            f"step='best': checkpoint {found['step']} is not in {str(workdir)!r}; give "
            "another step."
        )
    return found


_SETTINGS = ("time", "truncation", "ema_decay")


def _steps(workdir: Path, which: str, chosen: Line | None) -> list[int | None]:
    if chosen:
        return [chosen["step"]]
    if not which:
        return [None]
    if which == "all":
        found = checkpoint.steps(workdir)
        return [*found] or [None]  # which says that there is none
    if not which.isascii() or not which.isdigit():
        raise UserError(f"step={which!r} is not a step; give a number, best, or all.")
    return [int(which)]


def _standing(config: Config) -> Line:
    settings = config.evaluation
    if settings.statistics != "standing":
        return {}
    return {
        "standing_batches": settings.standing_batches,
        "standing_batch_size": settings.standing_batch_size,
    }


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()
