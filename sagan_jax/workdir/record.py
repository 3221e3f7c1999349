"""What the logs of a workdir say about checkpoints that are not there.

A run without a checkpoint starts from step 0 and writes its logs anew. That is right
after a kill before the first checkpoint, and a loss if the checkpoints were moved, or
lie on a disk that is not mounted.
"""

from pathlib import Path

from sagan_jax.errors import UserError
from sagan_jax.files import json_lines


def proven_steps(
    *,
    metrics: Path,
    starts: Path,
    scores: tuple[Path, ...],
    checkpoint_every: int,
) -> int:
    """Returns the last logged step if a checkpoint must have been complete; else 0.

    A start from a later step than 0 and a score prove one. So do metrics beyond the
    second save: it waits for the first one to be complete.

    Args:
      metrics: the metrics.jsonl.
      starts: the starts.jsonl.
      scores: the files of scores, each of which was taken of a checkpoint.
      checkpoint_every: `train.checkpoint_every` of the run.
    """
    logged = _last_step(metrics)
    others = max(_last_step(path) for path in (starts, *scores))
    if others > 0 or logged > 2 * checkpoint_every:
        return max(logged, others)
    return 0


def check_directory(checkpoints: Path) -> None:
    """Raises UserError unless a directory of checkpoints exists or can be made."""
    if checkpoints.is_symlink() and not checkpoints.exists():
        raise UserError(
            f"{str(checkpoints)!r} is a link to {str(checkpoints.readlink())!r}, which "
            "does not exist; mount or restore that directory, or remove the link."
        )
    if checkpoints.exists() and not checkpoints.is_dir():
        raise UserError(
            f"{str(checkpoints)!r} is a file in the place of the checkpoints; move it."
        )


def _last_step(path: Path) -> int:
    for line in json_lines.newest_first(path):
        if (step := json_lines.step_of(line)) is not None:
            return step
    return 0
