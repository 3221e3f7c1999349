"""The pictures a run leaves in samples/: real images once, its own at fixed latents."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from sagan_jax import evaluation, visual
from sagan_jax.config import Config
from sagan_jax.data import sources
from sagan_jax.networks import Generator
from sagan_jax.state import GanState


def evaluated(config: Config, generator: Generator, state: GanState) -> dict[str, Any]:
    """Returns the variables that a run's pictures and scores are made with."""
    # One device's copy: pictures are the business of one process alone.
    live, ema = jax.tree.map(
        lambda x: x.addressable_data(0), (state.generator.variables, state.ema)
    )
    return evaluation.evaluated_variables(config, generator, live, ema)


def save(config: Config, generator: Generator, state: GanState, workdir: Path) -> Path:
    """Writes samples of a state, a row for each class, and returns the path."""
    picture = evaluation.sheet(config, generator, evaluated(config, generator, state))
    path = workdir / "samples" / f"step_{int(state.step):08d}.png"
    visual.save_png(picture, path)
    return path


def save_real(config: Config, source: sources.Source, workdir: Path) -> Path:
    """Writes real images, in the rows of the generated sheets, and returns the path."""
    labels = evaluation.sheet_labels(config)
    order = np.random.default_rng(config.train.seed).permutation(len(source))
    shape = (config.model.resolution, config.model.resolution, config.model.channels)
    images = np.full((len(labels), *shape), visual.MARGIN, np.uint8)
    # Places of the sheet still empty, by class; one list for all where unlabelled.
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(int(label), []).append(place)
    known = sources.labels(source) if config.model.num_classes else None
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
    picture = visual.sheet(images, config.evaluation.columns)
    path = workdir / "samples" / "real.png"
    visual.save_png(picture, path)
    return path
