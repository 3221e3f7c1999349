"""Where samples go: names in the workdir, and places that are refused."""

import os
from collections.abc import Sequence
from pathlib import Path

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import sampling
from sagan_jax.files import paths, whole
from sagan_jax.runtime import processes
from sagan_jax.workdir.run import Run


def checked_out(run: Run, out: str | Path | None, kind: str) -> Path | None:
    """Returns where `out` leads, before anything is read or drawn; None if not given.

    Raises:
      UserError: `out` exists, or it or the workdir cannot be written, or it lies among
        the run's images or checkpoints.
    """
    place = paths.local(out) if out else None
    check_free(place, kind)
    check_apart(run, place)
    if processes.is_first():
        with naming("out", str(place)) if place else naming("workdir"):
            whole.check_writable(place or run.samples / "new")
    return place


def check_apart(run: Run, out: Path | None) -> None:
    """Raises UserError if `out` lies among the run's images or checkpoints.

    A picture there would be trained on, and a directory of them would be a class.
    """
    if out is None:
        return
    config, place = run.config, out.resolve()
    taken = {
        "data.path": config.data.path,
        "evaluation.reference": config.evaluation.reference,
        "evaluation.held_out": config.evaluation.held_out,
    } | {what: str(path) for what, path in run.sources().items()}
    for what, path in taken.items():
        if path and Path(path).resolve() in place.parents:
            raise UserError(
                f"out={str(out)!r} lies among the files of {what}={path!r}; pass "
                "another --out."
            )


def name(config: Config, step: int, what: str = "sample") -> str:
    """Returns a name without suffix that differs wherever the images would differ."""
    settings = config.evaluation
    name = f"{what}_{step:08d}_seed{settings.seed}"
    if settings.truncation:
        name += f"_truncation{settings.truncation:g}"
    if config.train.ema_decay and not settings.ema:
        name += "_live"
    elif config_lib.evaluated_decay(config) != config.train.ema_decay:
        name += f"_ema{settings.ema_decay:g}"
    if settings.statistics != "running":
        name += f"_{settings.statistics}"
    return name


def check_free(out: Path | None, kind: str) -> None:
    """Raises UserError if a file, a device, a link or a directory would be replaced."""
    if out is None:
        return
    if kind != "images" and out.is_dir():
        raise UserError(f"out={str(out)!r} is a directory; pass the name of a file.")
    if os.path.lexists(out):
        raise UserError(
            f"out={str(out)!r} exists already; remove it, or pass another --out."
        )


def check_labels(run: Run, labels: Sequence[int]) -> None:
    """Raises UserError for a class that the run does not have."""
    count = run.config.model.num_classes
    if labels and not count:
        raise UserError(
            f"labels={labels[0]} names a class, but the generator of this run has "
            "none; remove --labels."
        )
    sampling.checked_labels(labels, count)
