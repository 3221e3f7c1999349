"""What is due after a step of training: the one place that knows when."""

from typing import NamedTuple

from sagan_jax.config import Config


class Due(NamedTuple):
    """What a step is followed by, in this order.

    Attributes:
      log: read the metrics from the device and write them.
      sample: draw a sheet.
      save: write a checkpoint.
      score: score the generator; never without `save`.
      last: end after this step.
    """

    log: bool
    sample: bool
    save: bool
    score: bool
    last: bool


def due(config: Config, step: int, *, stopping: bool = False) -> Due:
    """Returns what is due after `step`.

    Args:
      config: the run's config.
      step: the step just made, from 1 on.
      stopping: whether somebody asked the run to stop.
    """
    train = config.train
    last = step == train.steps or stopping
    score = is_scored(config, step)
    return Due(
        log=step % train.log_every == 0 or last,
        sample=step % train.sample_every == 0 or step == train.steps,
        save=step % train.checkpoint_every == 0 or score or last,
        score=score,
        last=last,
    )


def steps_together(config: Config, step: int) -> int:
    """Returns how many steps to make in one call after `step`.

    This is `train.steps_per_dispatch`, or 1 if anything is due after one of the steps
    before the last of them: logs, sheets, checkpoints and scores stay at their steps.
    """
    count = config.train.steps_per_dispatch
    for before_last in range(step + 1, step + count):
        if any(due(config, before_last)):
            return 1
    return count


def is_scored(config: Config, step: int) -> bool:
    """Returns whether the run is scored at `step`."""
    every = config.evaluation.every
    return every > 0 and step > 0 and step % every == 0
