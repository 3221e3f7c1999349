"""Sample sheets: real images once, and generated ones at the same latents each time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sagan_jax.config import Config
from sagan_jax.data.source import Source
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation import sampling
from sagan_jax.networks import Generator
from sagan_jax.pictures import grid
from sagan_jax.training.state import GanState, Tree


def sheet_labels(config: Config, classes: Sequence[int] = ()) -> np.ndarray:
    """Returns the labels of a sheet: a row of `evaluation.columns` for each class.

    Without `classes` there are `evaluation.rows` of them, spread over all classes.
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
    """Returns a uint8 picture of samples; every sheet of a run has the same latents.

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


def save(
    config: Config,
    generator: Generator,
    state: GanState,
    folder: Path,
    variables: dict[str, Tree] | None = None,
) -> Path:
    """Writes samples of a training state to `folder`, and returns their path.

    Args:
      config: the run's config.
      generator: the module.
      state: the state.
      folder: the directory.
      variables: what `evaluation.generator.of_state` returns, if it is at hand.
    """
    if variables is None:
        variables = generator_lib.of_state(config, generator, state)
    path = folder / f"step_{int(state.step):08d}.png"
    grid.save_png(sheet(config, generator, variables), path)
    return path


def save_real(config: Config, source: Source, folder: Path) -> Path:
    """Writes real images, in the rows of the generated sheets, and returns the path."""
    labels = sheet_labels(config)
    shape = (config.model.resolution, config.model.resolution, config.model.channels)
    images = np.full((len(labels), *shape), grid.MARGIN, np.uint8)
    for place, image in real_images(config, source, labels).items():
        images[place] = image
    path = folder / "real.png"
    grid.save_png(grid.sheet(images, config.evaluation.columns), path)
    return path


def real_images(
    config: Config, source: Source, labels: np.ndarray
) -> dict[int, np.ndarray]:
    """Returns real images of classes, uint8 [H, W, C], by their place in `labels`.

    They are the first ones of an order that `train.seed` fixes. A place whose class has
    no more images is left out.

    Args:
      config: the run's config.
      source: the images.
      labels: [N] classes; any image will do if the model has no classes.
    """
    order = np.random.default_rng(config.train.seed).permutation(len(source))
    found: dict[int, np.ndarray] = {}
    # The empty places, by class; one list for all without labels.
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(int(label), []).append(place)
    known = source.labels if config.model.num_classes else None
    for index in order:
        if not places:
            break
        if known is not None and int(known[index]) not in places:
            continue  # with a thousand classes, most images would be read in vain
        record = source[int(index)]
        label = int(record["label"]) if config.model.num_classes else 0
        if label in places:
            found[places[label].pop(0)] = record["image"]
            if not places[label]:
                del places[label]
    return found
