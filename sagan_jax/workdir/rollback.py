"""Going back to an earlier checkpoint when a run has collapsed: counted, never silent.

`rollbacks.jsonl` of a workdir holds a line for each, and what was left behind stays as
`checkpoints/<step>.left`. After the n-th one, data and latents are those of another
seed, which follows from the run's and n: the same draws might lead to the same end.
"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

from sagan_jax.config import Config
from sagan_jax.files import json_lines
from sagan_jax.training.collapse import Sign
from sagan_jax.workdir import checkpoint

FILE = "rollbacks.jsonl"


def count(workdir: Path) -> int:
    """Returns how many times the run in a workdir went back."""
    path = workdir / FILE
    if not path.exists():
        return 0
    return len(path.read_text(encoding="utf-8").splitlines())


def reseeded(config: Config, rollbacks: int) -> Config:
    """Returns `config` with the seed that holds after so many; its own after none."""
    if not rollbacks:
        return config
    mixed = np.random.SeedSequence([config.train.seed, rollbacks]).generate_state(1)
    train = dataclasses.replace(config.train, seed=int(mixed[0]))
    return dataclasses.replace(config, train=train)


def go_back(workdir: Path, sign: Sign, step: int) -> str:
    """Sets the checkpoints since a sign aside, and returns a sentence about it.

    The newest before the sign is what the run goes on from; without one, it begins
    anew. Where every checkpoint kept is younger than the sign, the oldest is taken.

    Args:
      workdir: of the run.
      sign: what was seen.
      step: at which the run goes back.
    """
    known = checkpoint.steps(workdir)
    earlier = [found for found in known if found < sign.since]
    target = max(earlier) if earlier else min(known, default=0)
    # First this: a kill before the line is written repeats the steps and the sign.
    checkpoint.set_aside(workdir, [found for found in known if found > target], "left")
    number = count(workdir) + 1
    if jax.process_index() == 0:
        json_lines.append_json(
            workdir / FILE,
            {
                "time": round(time.time(), 3),
                "from": step,
                "to": target,
                "sign": sign.name,
                "since": sign.since,
                "sentence": sign.sentence,
            },
        )
    return f"rollback {number}: from step {step} to {target}, with other draws."
