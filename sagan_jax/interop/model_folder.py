"""Saves a checkpoint as a model folder: weights, config and card, and nothing else."""

import argparse
import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sagan_jax
from sagan_jax.config import Config, MeshConfig
from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import progress
from sagan_jax.files import json_lines, names, paths, whole
from sagan_jax.interop import card
from sagan_jax.interop.card import Facts
from sagan_jax.networks import Generator
from sagan_jax.pictures import grid, sheets
from sagan_jax.runtime import mesh
from sagan_jax.training.state import Tree
from sagan_jax.workdir import model_files, models
from sagan_jax.workdir.model_files import AVERAGED, DISCRIMINATOR, GENERATOR, LIVE
from sagan_jax.workdir.run import Run

ROWS, COLUMNS = 6, 8
"""Most images on the sheet of a card, which is part of its text."""

WIDEST = 1024
"""Most pixels across the sheet of a card."""


def main(argv: Sequence[str]) -> None:
    """Saves a model folder, and prints where it is and what to do next."""
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.interop save",
        description="Writes a checkpoint as a folder of three files to give away.",
    )
    parser.add_argument("workdir", help="directory of the run")
    parser.add_argument("folder", help="folder to make")
    parser.add_argument("--step", help="a step, or best; default: the newest")
    parser.add_argument(
        "--live", action="store_true", help="keep the generator before averaging too"
    )
    given = parser.parse_args(argv)
    run = models.open_model(given.workdir)
    for remark in mesh.start(dataclasses.replace(run.config, mesh=MeshConfig())):
        print(remark)
    path = save(given.workdir, given.folder, step=given.step, live=given.live)
    for name in model_files.NAMES:
        size = (path / name).stat().st_size
        print(f"{size:>14,} bytes  {names.shown(path / name)}")
    print("Read the card before you share the folder; see docs/sharing.md.")


def save(
    workdir: str | Path,
    folder: str | Path,
    *,
    step: int | str | None = None,
    live: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint as a model folder, whole or not at all; returns its path.

    The folder holds `model.safetensors` (the generator as it is evaluated, and the
    discriminator, both with `u` and their running statistics), `config.json` (without
    paths, devices and trackers), and `README.md`, a model card with a sample sheet and
    the checkpoint's results. `sagan_jax.load(folder)` returns the arrays that
    `sagan_jax.load(workdir)` does, bit for bit.

    Args:
      workdir: a run, or another place that `sagan_jax.load` takes.
      folder: the folder to make; an empty one may be there.
      step: the step of a checkpoint; 'best': the best of the run's evaluations; None:
        the newest that is not damaged.
      live: whether to keep the generator's parameters before averaging as well, which
        `load(folder, ema=False)` returns.
      changes: fields of config.evaluation that override the run's own.

    Raises:
      UserError: no such checkpoint; the folder exists; a value that a folder may not
        have, such as a batch size for one machine.
    """
    run = models.open_model(workdir).with_evaluation(changes or {})
    target = _checked_target(run, folder)
    config = model_files.stripped(run.config)
    generator, variables, at = run.load_generator(_step(run, step))
    checkpoint = run.checkpoint_digest(at)
    _, discriminator, _ = run.load_discriminator(at)
    trees: dict[str, Tree] = {GENERATOR: variables, DISCRIMINATOR: discriminator}
    if live and run.is_averaged:
        _, alive, _ = run.with_evaluation({"ema": False}).load_generator(at)
        trees[LIVE] = models.live_part(alive)
    notes = {
        "step": str(at),
        "parameters": AVERAGED if run.is_averaged else LIVE,
        "checkpoint": checkpoint,
        "sagan_jax": sagan_jax.__version__,
    }
    facts = Facts(
        config=config,
        step=at,
        averaged=run.is_averaged,
        has_live=LIVE in trees,
        checkpoint=checkpoint,
        parameters=(_count(variables["params"]), _count(discriminator["params"])),
        classes=_classes(run),
        results=_results(run, at, checkpoint),
        sheet=_sheet(run.config, generator, variables),
    )
    with whole.replacing(target) as temporary:
        temporary.mkdir()
        model_files.write(temporary, config, trees, notes)
        text = card.text(facts, model_files.arrays_digest(temporary))
        model_files.write_card(temporary, text)
    return target


def _checked_target(run: Run, folder: str | Path) -> Path:
    target = paths.local(folder)
    if target.is_dir() and not any(target.iterdir()):
        target = target.resolve()  # an empty one is replaced
    elif target.exists() or target.is_symlink():
        raise UserError(
            f"folder={str(folder)!r} exists already; remove it, or choose another name."
        )
    for what, place in run.sources().items():
        if place.resolve() in target.resolve().parents:
            raise UserError(
                f"folder={str(folder)!r} lies among the files of {what}; choose a "
                "place outside."
            )
    whole.check_writable(target / "any")
    return target


def _step(run: Run, step: int | str | None) -> int | str | None:
    if step != "best":
        return step
    best = progress.best_step(run)
    if best is None:
        raise UserError(
            f"step='best': workdir={str(run.workdir)!r} has no evaluations; pass a "
            "step."
        )
    return best


def _count(params: Tree) -> int:
    import jax

    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _classes(run: Run) -> list[str]:
    """Returns the names of the classes, as the last start of the run recorded them."""
    for line in json_lines.newest_first(run.starts):
        found = line.get("classes")
        if isinstance(found, list) and len(found) == run.config.model.num_classes:
            return [str(name) for name in found]
    return []


def _results(run: Run, step: int, checkpoint: str) -> list[json_lines.Line]:
    """Returns the results of these very arrays, or of their step if digests lack."""
    return [
        line
        for line in json_lines.read(run.results)
        if json_lines.step_of(line) == step
        and (not checkpoint or line.get("checkpoint") in ("", None, checkpoint))
    ]


def _sheet(config: Config, generator: Generator, variables: dict[str, Tree]) -> bytes:
    """Returns a WebP picture of a few classes, as the run's own sheets draw them."""
    config = copy.deepcopy(config)
    settings = config.evaluation
    settings.rows = min(settings.rows, ROWS)
    settings.columns = min(settings.columns, COLUMNS)
    variables = generator_lib.with_statistics(config, generator, variables)
    return grid.encode_webp(sheets.sheet(config, generator, variables), WIDEST)
