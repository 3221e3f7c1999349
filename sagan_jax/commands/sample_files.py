"""Samples as files: a folder of images, or one archive of arrays."""

import json
import os
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sagan_jax.config import Config
from sagan_jax.pictures import grid

Facts = dict[str, Any]


def class_folders(labels: np.ndarray, num_classes: int) -> list[str]:
    """Returns the folder of each image; '' without classes."""
    if not num_classes:
        return [""] * len(labels)
    # As many digits as the last class has, so that names sort as labels do.
    digits = len(str(num_classes - 1))
    return [f"{label:0{digits}d}" for label in labels]


def write_images(
    folder: Path,
    batches: Iterator[np.ndarray],
    classes: list[str],
    facts: Facts,
    bar: Any,
) -> None:
    """Writes a folder of PNG files, and samples.json, which tells how to repeat it.

    Args:
      folder: the folder, which need not exist.
      batches: uint8 images [n, H, W, C] in any number of batches.
      classes: the sub-folder of each image; see `class_folders`.
      facts: the content of samples.json.
      bar: the progress bar to move on.
    """
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


def write_npz(
    path: Path,
    batches: Iterator[np.ndarray],
    labels: np.ndarray,
    config: Config,
    facts: Facts,
    bar: Any,
) -> None:
    """Writes an .npz of `images` [N, H, W, C], `labels` [N] and the text `made_by`.

    Args:
      path: the file.
      batches: uint8 images [n, H, W, C] in any number of batches, N together.
      labels: their classes, [N].
      config: the config of the run, for the shape of an image.
      facts: the content of `made_by`.
      bar: the progress bar to move on.
    """
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


def bar(total: int) -> Any:
    """Returns a progress bar of `total` images."""
    return tqdm(total=total, unit="image", dynamic_ncols=True, desc="sampling")
