"""Samples of a checkpoint as a person takes them: a sheet, image files, or one array.

Image i depends on (seed, i) and its label alone, so that the first images of a long
list are those of a short one.
"""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

import sagan_jax
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import sampling
from sagan_jax.pictures import grid, sheets

KINDS = ("sheet", "images", "npz")

Facts = dict[str, Any]


def save(
    workdir: Path,
    *,
    kind: str = "sheet",
    step: int | None = None,
    labels: Sequence[int] = (),
    count: int | None = None,
    out: Path | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Writes samples of a checkpoint, whole or not at all, and returns their path.

    - sheet: one PNG, a row of `evaluation.columns` for each class.
    - images: a directory of PNG, in a folder for each class where there are classes
      (so that it is a data set again), and samples.json, which says how to repeat it.
    - npz: uint8 `images` [N, H, W, C], int32 `labels` [N], and the text `made_by`.

    Args:
      workdir: of the run.
      kind: one of KINDS.
      step: of the checkpoint; None: the newest that is whole.
      labels: classes; (): on a sheet those of the run's sheets, else all. Images go
        round them: image i has labels[i % len(labels)].
      count: of images or npz; None: as many as a sheet has.
      out: file or directory; None: below the workdir's samples/, named for what it is.
      changes: fields of config.evaluation that differ from the run's own.

    Raises:
      UserError: no run, no such checkpoint or class; an `out` that is in the way.
    """
    if kind == "sheet" and count is not None:
        raise UserError(
            f"count={count} is for --to images and --to npz; a sheet has "
            "--evaluation.rows times --evaluation.columns images."
        )
    _check_free(out, kind)
    generator, variables, run, step = generator_lib.load(workdir, step, changes)
    if labels and not generator.num_classes:
        raise UserError(
            f"labels={labels[0]} names a class, but the generator of this run has "
            "none; leave --labels out."
        )
    path = out or workdir / "samples" / f"{_name(run, step)}{_SUFFIX[kind]}"
    _check_free(path, kind)
    if kind == "sheet":
        grid.save_png(sheets.sheet(run, generator, variables, labels), path)
        return path
    settings = run.evaluation
    total = settings.rows * settings.columns if count is None else count
    classes = np.asarray(labels or range(max(1, generator.num_classes)), np.int32)
    wanted = np.resize(classes, total)
    images = sampling.sample(
        generator,
        variables,
        wanted,
        seed=settings.seed,
        batch_size=settings.batch_size,
        truncation=settings.truncation,
        devices=jax.local_devices(),
    )
    facts = {
        "step": step,
        "count": total,
        "labels": classes.tolist() if generator.num_classes else [],
        "seed": settings.seed,
        "truncation": settings.truncation,
        "ema": settings.ema and bool(run.train.ema_decay),
        "statistics": settings.statistics,
        "run": run.name,
        "sagan_jax": sagan_jax.__version__,
    }
    model = run.model
    shape = (total, model.resolution, model.resolution, model.channels)
    if kind == "npz":
        _whole(path, lambda beside: _write_npz(beside, images, wanted, shape, facts))
    else:
        # As many digits as the last class has: names sort as labels do.
        digits = len(str(generator.num_classes - 1)) if generator.num_classes else 0
        folders = [f"{label:0{digits}d}" if digits else "" for label in wanted]
        _whole(path, lambda beside: _write_images(beside, images, folders, facts))
    return path


_SUFFIX = {"sheet": ".png", "npz": ".npz", "images": ""}


def _name(run: Config, step: int) -> str:
    """Returns a name that tells apart what gives other images."""
    settings = run.evaluation
    name = f"sample_{step:08d}_seed{settings.seed}"
    if settings.truncation:
        name += f"_truncation{settings.truncation:g}"
    if run.train.ema_decay and not settings.ema:
        name += "_live"
    if settings.statistics == "standing":
        name += "_standing"
    return name


def _check_free(out: Path | None, kind: str) -> None:
    """Raises UserError where a directory would be written over, or a file is one."""
    if out is None:
        return
    if kind == "images" and out.exists():
        raise UserError(
            f"out={str(out)!r} exists already; remove it, or give another --out."
        )
    if kind != "images" and out.is_dir():
        raise UserError(f"out={str(out)!r} is a directory; give --out a file's name.")


def _whole(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a name beside `path`, and renames what it made."""
    beside = path.with_name(path.name + ".tmp")
    _remove(beside)  # left by a kill
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        beside.replace(path)
    except BaseException:
        _remove(beside)
        raise


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_images(
    folder: Path,
    batches: Iterator[np.ndarray],
    classes: list[str],
    facts: Facts,
) -> None:
    total = len(classes)
    digits = len(str(total - 1))
    folder.mkdir()
    index = 0
    with _bar(total) as bar:
        for images in batches:
            for image in images:
                name = f"{index:0{digits}d}.png"
                grid.save_png(image, folder / classes[index] / name)
                index += 1
            bar.update(len(images))
    (folder / "samples.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _write_npz(
    path: Path,
    batches: Iterator[np.ndarray],
    labels: np.ndarray,
    shape: tuple[int, ...],
    facts: Facts,
) -> None:
    # Written batch by batch: 50,000 images at 128 pixels are 2.4 GB.
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(path, "w") as archive, _bar(len(labels)) as bar:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for images in batches:
                file.write(np.ascontiguousarray(images).data)
                bar.update(len(images))
        for name, array in (
            ("labels", labels),
            ("made_by", np.array(json.dumps(facts))),
        ):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _bar(total: int) -> Any:
    return tqdm(total=total, unit="image", dynamic_ncols=True, desc="sampling")
