"""Returns to an earlier checkpoint after a collapse: counted, and never silent.

`rollbacks.jsonl` holds one line per rollback. The checkpoints that a rollback abandons
stay as `checkpoints/<step>.left`. Data and latents then follow another seed, derived
from the run's seed and the number of rollbacks: the same draws might end the same way.
"""

import dataclasses
import time

import numpy as np

from sagan_jax.config import Config
from sagan_jax.files import json_lines
from sagan_jax.runtime import processes
from sagan_jax.training.collapse import Sign
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir.run import Run


def count(run: Run) -> int:
    """Returns how many rollbacks a run has made."""
    return len(json_lines.read(run.rollbacks))


def reseeded(config: Config, rollbacks: int) -> Config:
    """Returns `config` with the seed in use after a number of rollbacks."""
    if not rollbacks:
        return config
    mixed = np.random.SeedSequence([config.train.seed, rollbacks]).generate_state(1)
    train = dataclasses.replace(config.train, seed=int(mixed[0]))
    return dataclasses.replace(config, train=train)


def go_back(run: Run, sign: Sign, step: int) -> str:
    """Sets the checkpoints since a sign of collapse aside; returns a sentence about it.

    The run resumes from the newest checkpoint before the sign, or from the oldest one
    if all are younger. Without any checkpoint it starts from step 0.

    Args:
      run: the run.
      sign: the sign of collapse.
      step: the step at which the run goes back.
    """
    known = run.steps()
    earlier = [found for found in known if found < sign.since]
    target = max(earlier) if earlier else min(known, default=0)
    # Checkpoints first: after a kill before the line is written, the run repeats the
    # steps, sees the sign, and goes back again.
    left = [found for found in known if found > target]
    checkpoint.set_aside(run.checkpoints, left, "left")
    number = count(run) + 1
    if processes.is_first():
        json_lines.append(
            run.rollbacks,
            {
                "time": round(time.time(), 3),
                "from": step,
                "to": target,
                "sign": sign.name,
                "since": sign.since,
                "sentence": sign.sentence,
            },
        )
    return (
        f"rollback {number}: went back from step {step} to step {target}; data and "
        "latents now use a new seed."
    )
