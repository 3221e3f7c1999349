"""Samples of a checkpoint: files, arrays, and the pictures that are made of them.

Image i depends on (seed, i) and on its label, so that a short list of images is the
beginning of a longer one.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import sagan_jax
from sagan_jax import config as config_lib
from sagan_jax.commands import sample_files, sample_pictures, sample_places
from sagan_jax.commands.opening import open_run
from sagan_jax.commands.options import KINDS, Options
from sagan_jax.commands.sample_files import Facts
from sagan_jax.commands.sample_pictures import Wanted
from sagan_jax.config import Config, values
from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import sampling
from sagan_jax.files import names, whole
from sagan_jax.runtime import processes
from sagan_jax.workdir.run import Run


def main(options: Options) -> None:
    """Writes samples, and prints where they are."""
    step, labels, out = options.step_number(), options.classes(), options.out_path()
    bounds = options.bounds()
    path = save(
        open_run(options),
        kind=options.to,
        step=step,
        labels=labels,
        count=options.count,
        out=out,
        truncations=bounds,
        changes=options.evaluation,
    )
    if processes.is_first():
        print(f"wrote {names.shown(path)}")


def save(
    run: Run,
    *,
    kind: str = "sheet",
    step: int | str | None = None,
    labels: Sequence[int] = (),
    count: int | None = None,
    out: str | Path | None = None,
    truncations: Sequence[float] = (),
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Writes samples of a checkpoint, whole or not at all, and returns their path.

    - images: a directory of PNG files, with one folder per class if there are classes
      (so that it is a data set again), and samples.json, which tells how to repeat it.
    - npz: uint8 `images` [N, H, W, C], int32 `labels` [N], and the text `made_by`.
    - sheet, interpolation, truncations, neighbours, film: one picture; see
      sample_pictures.save.

    With several processes all of them draw images, and the first one writes them.

    Args:
      run: the run.
      kind: one of KINDS.
      step: the step of a checkpoint; None: the newest that is not damaged.
      labels: classes to sample; (): those of the run's sheets for a picture, all
        classes otherwise. Image i has the class labels[i % len(labels)].
      count: number of images or array rows; None: as many as a sheet has.
      out: a file or directory; None: in the workdir's samples/, named for its content.
      truncations: the rows of a truncation sheet.
      changes: fields of config.evaluation that override the run's own.

    Raises:
      UserError: no such checkpoint or class; `out` exists or cannot be written; an
        option that the kind does not have.
    """
    if kind not in KINDS:
        raise UserError(
            f"kind={kind!r} is not known; choose one of {', '.join(KINDS)}."
        )
    if count is not None:
        count = values.whole("count", count, 1)
    wanted = Wanted(kind, step, labels, count, truncations, dict(changes or {}))
    sample_pictures.check_options(wanted)
    place = sample_places.checked_out(run, out, kind)
    sample_pictures.check_suffix(place, kind)
    sample_places.check_labels(run, labels)
    if kind in sample_pictures.KINDS:
        return sample_pictures.save(run, wanted, place)
    return _save_files(run, wanted, place)


def _save_files(run: Run, wanted: Wanted, out: Path | None) -> Path:
    generator, variables, config, step = generator_lib.load(
        run, wanted.step, wanted.changes
    )
    suffix = ".npz" if wanted.kind == "npz" else ""
    path = out or run.samples / f"{sample_places.name(config, step)}{suffix}"
    if path.is_dir():
        sample_places.check_free(path, wanted.kind)
    settings = config.evaluation
    total = wanted.count or settings.rows * settings.columns
    classes = np.asarray(
        wanted.labels or range(max(1, generator.num_classes)), np.int32
    )
    labels = np.resize(classes, total)
    images = sampling.sample_in_all_processes(
        generator,
        variables,
        labels,
        seed=settings.seed,
        batch_size=settings.batch_size,
        truncation=settings.truncation,
    )
    if not processes.is_first():
        for _ in images:
            pass  # drawn for the first process
        return path
    facts = _facts(config, step, total, classes if generator.num_classes else [])
    with whole.replacing(path) as temporary, sample_files.bar(total) as bar:
        if wanted.kind == "npz":
            sample_files.write_npz(temporary, images, labels, config, facts, bar)
        else:
            folders = sample_files.class_folders(labels, generator.num_classes)
            sample_files.write_images(temporary, images, folders, facts, bar)
    return path


def _facts(config: Config, step: int, total: int, classes: Iterable[int]) -> Facts:
    settings = config.evaluation
    return {
        "step": step,
        "count": total,
        "labels": [int(label) for label in classes],
        "seed": settings.seed,
        "truncation": settings.truncation,
        "ema": bool(config_lib.evaluated_decay(config)),
        "statistics": settings.statistics,
        "run": config.name,
        "sagan_jax": sagan_jax.__version__,
    }
