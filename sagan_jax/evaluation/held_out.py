"""Real images that a run was not trained on, wherever its source has any."""

import dataclasses
from typing import NamedTuple

from sagan_jax.config import Config
from sagan_jax.data import tfds_catalogue
from sagan_jax.data.source import Source
from sagan_jax.data.synthetic import SyntheticSource
from sagan_jax.data.tfds import TfdsSource
from sagan_jax.errors import UserError
from sagan_jax.evaluation import scorer

_SPLITS = ("test", "validation")
"""Splits of tensorflow-datasets to hold out, the first choice first."""


class HeldOut(NamedTuple):
    """Held-out images, and where they come from.

    Attributes:
      source: the images; None if there are none.
      name: where they come from, or what to do to have some.
    """

    source: Source | None
    name: str


def find(config: Config, training: Source, count: int) -> HeldOut:
    """Returns real images that were not trained on.

    These are the images of `evaluation.held_out` if that is set. Otherwise, far pairs
    have more indices than a training set uses, and data sets of tensorflow-datasets
    often have another split.

    Args:
      config: the run's config.
      training: the training images.
      count: number of images to make, where they can be made.

    Raises:
      UserError: `evaluation.held_out` cannot be read, or holds the training images.
    """
    data, path = config.data, config.evaluation.held_out
    if path:
        source = scorer.folder_of(config, "held_out", path)
        if source.digest() == training.digest():
            raise UserError(
                f"evaluation.held_out={path!r} holds the training images; pass images "
                "that the run was not trained on."
            )
        return HeldOut(source, path)
    if data.source == "synthetic":
        first = data.num_images
        more = SyntheticSource(
            num_images=count,
            resolution=config.model.resolution,
            num_classes=config.model.num_classes,
            distance=data.distance,
            difficulty=data.difficulty,
            seed=data.seed,
            first=first,
        )
        return HeldOut(more, f"far pairs {first} to {first + count - 1}")
    if data.source == "tfds" and (split := _other_split(config)):
        return HeldOut(_split_of(config, split), f"split {split} of {data.dataset}")
    return HeldOut(
        None,
        "there are no held-out images to compare with; pass a folder or .zip of images "
        "that were not trained on as --evaluation.held_out.",
    )


def _other_split(config: Config) -> str:
    """Returns a split that shares no image with the one trained on; '' if none does."""
    data = config.data
    builder = tfds_catalogue.open_builder(data.dataset, data.path)
    known = list(builder.info.splits)
    trained = [name for name in known if name in data.split]
    if not trained:  # such as 'all'
        return ""
    rest = [name for name in known if name not in trained]
    return next((name for name in (*_SPLITS, *rest) if name in rest), "")


def _split_of(config: Config, split: str) -> Source:
    # Labels are not needed, and test splits may have none.
    model = dataclasses.replace(config.model, num_classes=0)
    return TfdsSource(
        config.data.dataset,
        split,
        config.data.path,
        resolution=model.resolution,
        channels=model.channels,
        labelled=False,
    )
