"""The pictures of --mode sample: what each takes, and how it is made."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax.commands import sample_places
from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import memorisation
from sagan_jax.files import whole
from sagan_jax.pictures import film, grid, interpolation, neighbours, sheets, truncation
from sagan_jax.runtime import processes
from sagan_jax.workdir.run import Run

NEIGHBOURS = 1000
"""Samples whose neighbours are found, unless another number is asked for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a command asks for; see sample.save."""

    kind: str
    step: int | str | None
    labels: Any
    count: int | None
    truncations: Any
    changes: dict[str, Any]


def check_options(wanted: Wanted) -> None:
    """Raises UserError for an option that the kind of samples does not have."""
    kind, changes = wanted.kind, wanted.changes
    if wanted.count is not None and kind in _SIZES:
        raise UserError(
            f"count={wanted.count} is for --to images, npz, neighbours and film; "
            f"{_SIZES[kind]}."
        )
    if wanted.truncations and kind != "truncations":
        bounds = ",".join(f"{bound:g}" for bound in wanted.truncations)
        raise UserError(
            f"truncations={bounds} is for --to truncations; write "
            "--evaluation.truncation=BOUND for samples with one bound."
        )
    if kind == "truncations" and "truncation" in changes:
        raise UserError(
            f"evaluation.truncation={changes['truncation']} is one bound, and a sheet "
            "has several; write --truncations 0.5,1,0 (0: not truncated)."
        )
    if kind == "film":
        given = {"step": wanted.step, "labels": list(wanted.labels)}
        given |= {f"evaluation.{name}": value for name, value in changes.items()}
        for name, value in given.items():
            if value not in (None, []):
                raise UserError(
                    f"{name}={value} cannot change a film, which shows the sheets that "
                    f"the run has drawn; remove --{name}."
                )
        if wanted.count == 1:
            raise UserError("count=1 leaves no film; choose 2 frames or more.")


_SIZES = {
    "sheet": "a sheet has --evaluation.rows times --evaluation.columns images",
    "interpolation": "an interpolation has --evaluation.columns images in a row",
    "truncations": "a truncation sheet has --evaluation.columns images in a row",
}


def save(run: Run, wanted: Wanted, out: Path | None) -> Path:
    """Writes a picture of a run, whole or not at all, and returns its path.

    - sheet: a row of `evaluation.columns` images for each class.
    - interpolation: between two latents of a class, and between two classes.
    - truncations: the same latents at several bounds on |z|, a row for each.
    - neighbours: the samples closest to training images; a .json file next to the
      picture has the distances of `count` samples, and those of held-out images.
    - film: the run's own sheets over time, at most `count` of them.

    Args:
      run: the run.
      wanted: what is asked for; its options fit its kind.
      out: the file; None: in the workdir's samples/, named for its content.

    Raises:
      UserError: no such checkpoint; or a name of a file, a bound or a source of images
        that cannot be used.
    """
    return KINDS[wanted.kind](run, wanted, out)


def _save_sheet(run: Run, wanted: Wanted, out: Path | None) -> Path:
    generator, variables, config, step = generator_lib.load(
        run, wanted.step, wanted.changes
    )
    path = _path(run, out, sample_places.name(config, step))
    return _written(path, sheets.sheet(config, generator, variables, wanted.labels))


def _save_interpolation(run: Run, wanted: Wanted, out: Path | None) -> Path:
    generator, variables, config, step = generator_lib.load(
        run, wanted.step, wanted.changes
    )
    path = _path(run, out, sample_places.name(config, step, "interpolation"))
    picture = interpolation.picture(config, generator, variables, wanted.labels)
    return _written(path, picture)


def _save_truncations(run: Run, wanted: Wanted, out: Path | None) -> Path:
    bounds = dict.fromkeys(wanted.truncations or truncation.BOUNDS)
    runs = {
        bound: run.with_evaluation(wanted.changes | {"truncation": bound})
        for bound in bounds
    }
    first = next(iter(runs.values()))
    # Read once: only the batch statistics depend on the bound.
    generator, variables, step = first.load_generator(wanted.step)
    each = {
        bound: generator_lib.with_statistics(its.config, generator, variables)
        for bound, its in runs.items()
    }
    config = run.with_evaluation(wanted.changes | {"truncation": 0.0}).config
    path = _path(run, out, sample_places.name(config, step, "truncations"))
    return _written(path, truncation.picture(config, generator, each, wanted.labels))


def _save_neighbours(run: Run, wanted: Wanted, out: Path | None) -> Path:
    if out:
        sample_places.check_free(out.with_suffix(".json"), wanted.kind)
    generator, variables, config, step = generator_lib.load(
        run, wanted.step, wanted.changes
    )
    path = _path(run, out, sample_places.name(config, step, "neighbours"))
    classes = wanted.labels or range(max(1, generator.num_classes))
    labels = np.resize(np.asarray(classes, np.int32), wanted.count or NEIGHBOURS)
    found = memorisation.measure(config, generator, variables, labels)
    if processes.is_first():
        settings = config.evaluation
        line = {"step": step, "seed": settings.seed, "truncation": settings.truncation}
        line |= neighbours.numbers(found)
        whole.write_text(path.with_suffix(".json"), json.dumps(line, indent=1) + "\n")
        grid.save_png(neighbours.picture(found), path)
        for sentence in neighbours.sentences(found):
            print(sentence)
    return path


def _save_film(run: Run, wanted: Wanted, out: Path | None) -> Path:
    shown = film.thinned(film.sheets_of(run.samples), wanted.count or film.FRAMES)
    path = out or run.samples / f"film_{shown[-1].step:08d}.webp"
    sample_places.check_free(path if path.is_dir() else None, wanted.kind)
    if processes.is_first():
        whole.write_bytes(path, film.film(shown, path.suffix.lower()))
    return path


KINDS: dict[str, Callable[[Run, Wanted, Path | None], Path]] = {
    "sheet": _save_sheet,
    "interpolation": _save_interpolation,
    "truncations": _save_truncations,
    "neighbours": _save_neighbours,
    "film": _save_film,
}
"""How each kind of picture is made."""


def _path(run: Run, out: Path | None, name: str) -> Path:
    path = out or run.samples / f"{name}.png"
    if path.is_dir():
        sample_places.check_free(path, "sheet")
    return path


def check_suffix(out: Path | None, kind: str) -> None:
    """Raises UserError for a name of a picture that promises another format."""
    known = tuple(film.FORMATS) if kind == "film" else (".png",)
    if out and kind in KINDS and out.suffix.lower() not in known:
        raise UserError(
            f"out={str(out)!r} does not end in {' or '.join(known)}; choose a name "
            "that does."
        )


def _written(path: Path, picture: np.ndarray) -> Path:
    if processes.is_first():
        grid.save_png(picture, path)
    return path
