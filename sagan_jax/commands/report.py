"""--mode report: a page of a run or of a sweep, in one HTML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax.commands import sample_places
from sagan_jax.commands.opening import open_run
from sagan_jax.commands.options import Options
from sagan_jax.config import SAME
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import attention, sampling
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.files import names, paths, whole
from sagan_jax.pictures import report, sheets, sweep_page
from sagan_jax.pictures.report import Maps
from sagan_jax.runtime import processes
from sagan_jax.workdir.run import Run
from sagan_jax.workdir.sweep_dir import SweepDir


def main(options: Options) -> None:
    """Writes the page, and prints where it is."""
    step, out = options.step_number(), options.out_path()
    directory = None if options.is_on_hub else SweepDir(options.workdir_path())
    if directory and directory.exists():
        if step is not None or options.evaluation:
            raise UserError(
                f"workdir={str(directory.path)!r} holds a sweep, whose page takes "
                "neither --step nor --evaluation; pass them with the workdir of a cell."
            )
        path = save_sweep(directory, out)
    else:
        path = save(open_run(options), step=step, out=out, changes=options.evaluation)
    if processes.is_first():
        size = path.stat().st_size / 1e6
        print(f"wrote {names.shown(path)} ({size:.1f} MB)")


def save(
    run: Run,
    *,
    step: int | str | None = None,
    out: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the page of a run, whole or not at all, and returns its path.

    An earlier page is replaced. A run without a checkpoint or without attention gets a
    page without the attention explorer. The first process alone makes the page.

    Args:
      run: the run.
      step: the step of the checkpoint whose attention is shown; None: the newest that
        is not damaged.
      out: the HTML file; None: report.html in the workdir.
      changes: fields of config.evaluation that override the run's own.

    Raises:
      UserError: `out` cannot be written, or is not an HTML file; there is no
        checkpoint of `step`, or a damaged one.
    """
    path = _path(out, run.report)
    sample_places.check_apart(run, path if out else None)
    if not processes.is_first():
        return path
    _check_writable(path, out)
    maps, without = None, _without(run)
    if not without:
        try:
            maps = _maps(run, step, changes)
        except UserError as error:
            if step is not None or changes:
                raise  # what was asked for is missing
            without = f"No attention maps: {error}"
    whole.write_text(path, report.of_run(run, maps, without))
    return path


def save_sweep(directory: SweepDir, out: str | Path | None = None) -> Path:
    """Writes the page of a sweep, whole or not at all, and returns its path.

    Args:
      directory: the sweep, which may still be going on.
      out: the HTML file; None: report.html in the directory.

    Raises:
      UserError: `out` cannot be written, or is not an HTML file; the plan or the lines
        of the sweep are damaged.
    """
    path = _path(out, directory.report)
    _check_writable(path, out)
    with naming("workdir"):
        text = sweep_page.of_sweep(directory, path.parent)
    whole.write_text(path, text)
    return path


def _path(out: str | Path | None, default: Path) -> Path:
    path = paths.local(out) if out else default
    if out and path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"out={str(out)!r} is not a page; pass the name of an .html.")
    return path


def _check_writable(path: Path, out: str | Path | None) -> None:
    with naming("out", str(out)) if out else naming("workdir"):
        whole.check_writable(path)


def _without(run: Run) -> str:
    """Returns why a run has no attention to show; '' if it has."""
    model = run.config.model
    if model.attention_block != "attention":
        return (
            "No attention maps: this run has residual blocks in the place of "
            f"attention (model.attention_block={model.attention_block})."
        )
    sides = model.generator_attention_resolutions
    if not (model.attention_resolutions if sides == SAME else sides):
        return "No attention maps: the generator of this run has no attention."
    if not run.steps():
        return "No attention maps: the run has saved no checkpoint yet."
    return ""


def _maps(run: Run, step: int | str | None, changes: Mapping[str, Any] | None) -> Maps:
    """Returns the first images of the sheet's latents, one class after the other."""
    generator, variables, config, found = generator_lib.load(run, step, changes)
    settings = config.evaluation
    every = sheets.sheet_labels(config)
    # One image of each row of the sheet first, then the next of each row.
    columns = settings.columns
    order = [
        row * columns + column
        for column in range(columns)
        for row in range(len(every) // columns)
    ][: report.MOST_IMAGES]
    labels = every[order].astype(np.int32)
    images, layers = attention.of_generator(
        generator,
        variables,
        sampling.latents(settings.seed, order, generator, settings.truncation),
        labels if config.model.num_classes else None,
    )
    classes = labels.tolist() if config.model.num_classes else ()
    return Maps(found, images, layers, classes)
