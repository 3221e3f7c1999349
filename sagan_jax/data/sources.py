"""The table of image sources, and the one that a config asks for.

A source knows nothing of epochs, batches or processes; pipeline.py does. To add one,
write its class, its entry in `SOURCES`, and its name in `config.CHOICES`.
"""

import os
from collections.abc import Callable

import numpy as np

from sagan_jax.config import Config
from sagan_jax.data import prepared
from sagan_jax.data.array_record import ArrayRecordSource, TooSmallError
from sagan_jax.data.folder import FolderSource, TooManyUnreadableError
from sagan_jax.data.prepared import NotPreparedError
from sagan_jax.data.source import ClassesMissingError, Source, check_labels
from sagan_jax.data.synthetic import SyntheticSource
from sagan_jax.data.tfds import TfdsSource
from sagan_jax.data.tfds_catalogue import OtherFormatError, UnknownSplitError
from sagan_jax.errors import UserError
from sagan_jax.files import names as names_lib


def make_source(config: Config) -> Source:
    """Returns the source that `config.data` names, as `config.model` needs it.

    The first record is read, so that a source without a readable record fails here.

    Raises:
      UserError: there are no images, none can be read, or the classes do not match the
        model.
    """
    source = _open(config)
    wanted, found = config.model.num_classes, source.num_classes
    if found != wanted:
        names = ", ".join(map(names_lib.shown, source.class_names[:5]))
        names += ", ..." if found > 5 else ""
        contents = f"{found} classes ({names})" if found else "images without labels"
        field, value = _field(config)
        raise UserError(
            f"model.num_classes={wanted}, but {field}={value!r} contains {contents}; "
            f"set --config.model.num_classes={found}."
        )
    if config.data.random_crop and not source.can_crop:
        is_prepared = config.data.source == "array_record"
        raise UserError(
            "data.random_crop=True has no effect: all images of "
            f"data.source={config.data.source!r} are already square; "
            + ("prepare them with --crop none, or " if is_prepared else "")
            + "set --config.data.random_crop=False."
        )
    check_labels(np.asarray(source[0]["label"]), wanted)
    return source


def check_apart(
    source: Source, config: Config, workdir: str | os.PathLike[str]
) -> None:
    """Raises UserError if the pictures of a run would become images of its source."""
    if source.encloses(os.fspath(workdir)):
        field, value = _field(config)
        raise UserError(
            f"workdir={os.fspath(workdir)!r} lies in {field}={value!r}, and the next "
            "start would train on the run's own pictures; choose a --workdir outside."
        )


def _open(config: Config) -> Source:
    """Returns the source; its errors name the fields and flags of the config."""
    if config.data.source in ("folder", "array_record") and not config.data.path:
        # Such as the config of a model folder, which keeps no path.
        raise UserError(
            "data.path='' names no images, so there are no training images here; pass "
            "--evaluation.reference=DIR to score with other real images."
        )
    try:
        return SOURCES[config.data.source](config)
    except UnknownSplitError as error:
        error.add_field("data.split", config.data.split)
        raise
    except UserError as error:
        if config.data.source != "synthetic":  # whose options are named in its errors
            error.add_field(*_field(config))
            if remedy := _remedy(error):
                error.add_remedy(remedy)
        raise


def _remedy(error: UserError) -> str:
    """Returns the flag that is another remedy for an error of a source, or ''."""
    match error:
        case ClassesMissingError():
            return ", or set --config.model.num_classes=0 to train without labels"
        case TooManyUnreadableError() if error.unreadable < error.total:
            flag = f"--config.data.max_unreadable={error.unreadable}"
            return f", or set {flag} to leave unreadable images out"
        case TooSmallError():
            return f", or set --config.model.{error.argument}={error.limit}"
        case NotPreparedError():
            return (
                "; if it is a folder or .zip of images, set --config.data.source=folder"
            )
        case OtherFormatError():
            return f", then set --config.data.path={error.directory}"
    return ""


def _field(config: Config) -> tuple[str, str]:
    """Returns the name and the value of the field that names the images."""
    if config.data.source == "tfds":
        return "data.dataset", config.data.dataset
    return "data.path", config.data.path


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
            f"{config.data.path!r} contains prepared images; set "
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
