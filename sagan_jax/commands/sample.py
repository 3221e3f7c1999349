"""Samples of a checkpoint: a sheet, image files, or one array.

Image i depends on (seed, i) and on its label, so that a short list of images is the
beginning of a longer one.
"""

import json
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import sagan_jax
from sagan_jax.commands.opening import open_run
from sagan_jax.commands.options import Options
from sagan_jax.config import Config, values
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import sampling
from sagan_jax.files import names, paths, whole
from sagan_jax.pictures import grid, sheets
from sagan_jax.runtime import processes
from sagan_jax.workdir.run import Run

KINDS = ("sheet", "images", "npz")

Facts = dict[str, Any]


def main(options: Options) -> None:
    """Writes samples, and prints where they are."""
    step, labels, out = options.step_number(), options.classes(), options.out_path()
    path = save(
        open_run(options),
        kind=options.to,
        step=step,
        labels=labels,
        count=options.count,
        out=out,
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
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Writes samples of a checkpoint, whole or not at all, and returns their path.

    - sheet: one PNG, with a row of `evaluation.columns` images for each class.
    - images: a directory of PNG files, with one folder per class if there are classes
      (so that it is a data set again), and samples.json, which tells how to repeat it.
    - npz: uint8 `images` [N, H, W, C], int32 `labels` [N], and the text `made_by`.

    With several processes all of them draw images, and the first one writes them.

    Args:
      run: the run.
      kind: one of KINDS.
      step: the step of a checkpoint; None: the newest that is not damaged.
      labels: classes to sample; (): those of the run's sheets for a sheet, all classes
        otherwise. Image i has the class labels[i % len(labels)].
      count: number of images or array rows; None: as many as a sheet has.
      out: a file or directory; None: in the workdir's samples/, named for its content.
      changes: fields of config.evaluation that override the run's own.

    Raises:
      UserError: no such checkpoint or class; `out` exists or cannot be written.
    """
    if kind not in KINDS:
        raise UserError(
            f"kind={kind!r} is not known; choose one of {', '.join(KINDS)}."
        )
    if count is not None:
        count = values.whole("count", count, 1)
    out = paths.local(out) if out else None
    if kind == "sheet" and count is not None:
        raise UserError(
            f"count={count} is for --to images and --to npz; a sheet has "
            "--evaluation.rows times --evaluation.columns images."
        )
    _check_free(out, kind)
    _check_labels(run, labels)
    if processes.is_first():
        with naming("out", str(out)) if out else naming("workdir"):
            whole.check_writable(out or run.samples / "new")
    generator, variables, config, step = generator_lib.load(run, step, changes)
    path = out or run.samples / f"{_name(config, step)}{_SUFFIX[kind]}"
    if path.is_dir():
        _check_free(path, kind)
    if kind == "sheet":
        picture = sheets.sheet(config, generator, variables, labels)
        if processes.is_first():
            grid.save_png(picture, path)
        return path
    settings = config.evaluation
    total = settings.rows * settings.columns if count is None else count
    classes = np.asarray(labels or range(max(1, generator.num_classes)), np.int32)
    wanted = np.resize(classes, total)
    images = sampling.sample_in_all_processes(
        generator,
        variables,
        wanted,
        seed=settings.seed,
        batch_size=settings.batch_size,
        truncation=settings.truncation,
    )
    if not processes.is_first():
        for _ in images:
            pass  # drawn for the first process
        return path
    facts = _facts(config, step, total, classes if generator.num_classes else [])
    with whole.replacing(path) as temporary, _bar(total) as bar:
        if kind == "npz":
            _write_npz(temporary, images, wanted, config, facts, bar)
        else:
            folders = _class_folders(wanted, generator.num_classes)
            _write_images(temporary, images, folders, facts, bar)
    return path


_SUFFIX = {"sheet": ".png", "npz": ".npz", "images": ""}


def _name(config: Config, step: int) -> str:
    """Returns a name that differs wherever the images would differ."""
    settings = config.evaluation
    name = f"sample_{step:08d}_seed{settings.seed}"
    if settings.truncation:
        name += f"_truncation{settings.truncation:g}"
    if config.train.ema_decay and not settings.ema:
        name += "_live"
    if settings.statistics == "standing":
        name += "_standing"
    return name


def _facts(config: Config, step: int, total: int, classes: Iterable[int]) -> Facts:
    settings = config.evaluation
    return {
        "step": step,
        "count": total,
        "labels": [int(label) for label in classes],
        "seed": settings.seed,
        "truncation": settings.truncation,
        "ema": settings.ema and bool(config.train.ema_decay),
        "statistics": settings.statistics,
        "run": config.name,
        "sagan_jax": sagan_jax.__version__,
    }


def _check_free(out: Path | None, kind: str) -> None:
    """Raises UserError if a file, a device, a link or a directory would be replaced."""
    if out is None:
        return
    if kind != "images" and out.is_dir():
        raise UserError(f"out={str(out)!r} is a directory; pass the name of a file.")
    if os.path.lexists(out):
        raise UserError(
            f"out={str(out)!r} exists already; remove it, or pass another --out."
        )


def _check_labels(run: Run, labels: Sequence[int]) -> None:
    """Raises UserError for a class that the run does not have."""
    count = run.config.model.num_classes
    if labels and not count:
        raise UserError(
            f"labels={labels[0]} names a class, but the generator of this run has "
            "none; remove --labels."
        )
    sampling.checked_labels(labels, count)


def _class_folders(labels: np.ndarray, num_classes: int) -> list[str]:
    """Returns the folder of each image; '' without classes."""
    if not num_classes:
        return [""] * len(labels)
    # As many digits as the last class has, so that names sort as labels do.
    digits = len(str(num_classes - 1))
    return [f"{label:0{digits}d}" for label in labels]


def _write_images(
    folder: Path,
    batches: Iterator[np.ndarray],
    classes: list[str],
    facts: Facts,
    bar: Any,
) -> None:
    digits = len(str(len(classes) - 1))
    index = 0
    for name in {"", *classes}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    # An accelerator draws images faster than one thread compresses them.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for images in batches:
            for content in pool.map(grid.encode_png, images):
                path = folder / classes[index] / f"{index:0{digits}d}.png"
                path.write_bytes(content)
                index += 1
            bar.update(len(images))
    (folder / "samples.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _write_npz(
    path: Path,
    batches: Iterator[np.ndarray],
    labels: np.ndarray,
    config: Config,
    facts: Facts,
    bar: Any,
) -> None:
    side = config.model.resolution
    shape = (len(labels), side, side, config.model.channels)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    # Batch by batch: 50,000 images at 128 pixels are 2.4 GB.
    with zipfile.ZipFile(path, "w") as archive:
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
