"""Where images come from: indexable sources of records, and the table of them.

A source knows nothing of epochs, batches or processes; pipeline.py does. To add one,
write its class, its entry in `SOURCES`, and its name in `config.CHOICES`.
"""

from collections.abc import Callable

import numpy as np

from sagan_jax.config import Config
from sagan_jax.data import prepared
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.data.folder import FolderSource
from sagan_jax.data.source import Source, check_labels
from sagan_jax.data.synthetic import SyntheticSource
from sagan_jax.data.tfds import TfdsSource
from sagan_jax.errors import UserError


def make_source(config: Config) -> Source:
    """Returns the source that `config.data` names, as `config.model` needs it.

    The first record is read, so that a source without one good record fails here.

    Raises:
      UserError: nothing there, nothing readable, or classes that do not fit the model.
    """
    source = SOURCES[config.data.source](config)
    wanted, found = config.model.num_classes, source.num_classes
    if found != wanted:
        names = ", ".join(source.class_names[:5]) + (", ..." if found > 5 else "")
        holds = f"{found} classes ({names})" if found else "images without labels"
        raise UserError(
            f"model.num_classes={wanted}, but {_place(config)} holds {holds}; set "
            f"--config.model.num_classes={found}."
        )
    if config.data.random_crop and not source.can_crop:
        prepared_so = config.data.source == "array_record"
        raise UserError(
            "data.random_crop=True has nothing to choose: the images of this "
            f"data.source={config.data.source!r} are squares already; "
            + ("prepare them with --crop none, or " if prepared_so else "")
            + "set --config.data.random_crop=False."
        )
    check_labels(np.asarray(source[0]["label"]), wanted)
    return source


def _place(config: Config) -> str:
    """Returns the field that says which images are meant."""
    if config.data.source == "tfds":
        return f"data.dataset={config.data.dataset!r}"
    return f"data.path={config.data.path!r}"


def _array_record(config: Config) -> Source:
    return ArrayRecordSource(
        config.data.path,
        resolution=config.model.resolution,
        channels=config.model.channels,
        labelled=config.model.num_classes > 0,
    )


def _folder(config: Config) -> Source:
    if prepared.is_prepared(config.data.path):
        raise UserError(
            f"data.path={config.data.path!r} holds prepared images; set "
            "--config.data.source=array_record."
        )
    return FolderSource(
        config.data.path,
        resolution=config.model.resolution,
        channels=config.model.channels,
        labelled=config.model.num_classes > 0,
        max_unreadable=config.data.max_unreadable,
    )


def _synthetic(config: Config) -> Source:
    return SyntheticSource(
        num_images=config.data.num_images,
        resolution=config.model.resolution,
        num_classes=config.model.num_classes,
        distance=config.data.distance,
        difficulty=config.data.difficulty,
        seed=config.data.seed,
    )


def _tfds(config: Config) -> Source:
    return TfdsSource(
        config.data.dataset,
        config.data.split,
        config.data.path,
        resolution=config.model.resolution,
        channels=config.model.channels,
        labelled=config.model.num_classes > 0,
    )


SOURCES: dict[str, Callable[[Config], Source]] = {
    "array_record": _array_record,
    "folder": _folder,
    "synthetic": _synthetic,
    "tfds": _tfds,
}
