"""The pictures a run leaves in samples/: real images once, its own at fixed latents."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sagan_jax.config import Config
from sagan_jax.data import source as source_lib
from sagan_jax.evaluation import sampling
from sagan_jax.evaluation.generator import evaluated
from sagan_jax.networks import Generator
from sagan_jax.pictures import grid
from sagan_jax.training.state import GanState, Tree


def save(config: Config, generator: Generator, state: GanState, workdir: Path) -> Path:
    """Writes samples of a state, a row for each class, and returns the path."""
    picture = sheet(config, generator, evaluated(config, generator, state))
    path = workdir / "samples" / f"step_{int(state.step):08d}.png"
    grid.save_png(picture, path)
    return path


def save_real(config: Config, source: source_lib.Source, workdir: Path) -> Path:
    """Writes real images, in the rows of the generated sheets, and returns the path."""
    labels = sheet_labels(config)
    order = np.random.default_rng(config.train.seed).permutation(len(source))
    shape = (config.model.resolution, config.model.resolution, config.model.channels)
    images = np.full((len(labels), *shape), grid.MARGIN, np.uint8)
    # Places of the sheet still empty, by class; one list for all where unlabelled.
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(int(label), []).append(place)
    known = source_lib.labels(source) if config.model.num_classes else None
    for index in order:
        if not places:
            break
        if known is not None and int(known[index]) not in places:
            continue  # with a thousand classes, most would be read in vain
        record = source[int(index)]
        label = int(record["label"]) if config.model.num_classes else 0
        if label in places:
            images[places[label].pop(0)] = record["image"]
            if not places[label]:
                del places[label]
    picture = grid.sheet(images, config.evaluation.columns)
    path = workdir / "samples" / "real.png"
    grid.save_png(picture, path)
    return path


def sheet_labels(config: Config, classes: Sequence[int] = ()) -> np.ndarray:
    """Returns the labels of a sheet, a row of `evaluation.columns` for each class.

    Without `classes` these are `evaluation.rows` of them, spread over all.
    """
    count, rows = config.model.num_classes, config.evaluation.rows
    if classes:
        wanted = np.asarray(classes)
    elif count:
        wanted = np.linspace(0, count - 1, min(rows, count)).round().astype(int)
    else:
        wanted = np.zeros(rows, int)
    return np.repeat(wanted, config.evaluation.columns)


def sheet(
    config: Config,
    generator: Generator,
    variables: dict[str, Tree],
    classes: Sequence[int] = (),
) -> np.ndarray:
    """Returns a uint8 picture of samples; latents are those of every other sheet.

    Raises:
      UserError: a class that the generator does not have.
    """
    batches = sampling.sample(
        generator,
        variables,
        sheet_labels(config, classes),
        seed=config.evaluation.seed,
        batch_size=config.evaluation.batch_size,
        truncation=config.evaluation.truncation,
    )
    return grid.sheet(np.concatenate(list(batches)), config.evaluation.columns)
