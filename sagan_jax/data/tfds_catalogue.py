"""Finding a prepared data set of tensorflow-datasets, and saying how to prepare it."""

import contextlib
import difflib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sagan_jax.errors import UserError


class Words(NamedTuple):
    """How a person named a data set, for sentences."""

    dataset: str = "data.dataset={!r}"
    split: str = "data.split={!r}"
    path: str = "--config.data.path={}"


WORDS = Words()

_OFTEN = ("celeb_a", "cifar10", "imagenet2012", "lsun", "mnist")
"""Named to somebody who has no idea which there are."""


def open_builder(dataset: str, path: str = "", say: Words = WORDS) -> Any:
    """Returns the builder of a data set that is prepared as array_record.

    Args:
      dataset: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION.
      path: the directory of all data sets; '' is that of tensorflow-datasets.
      say: how a person named them.

    Raises:
      UserError: not known, not prepared, or in another file format.
    """
    called = say.dataset.format(dataset)
    with _quiet():
        builder = _builder(dataset, path, called)
        if not builder.is_prepared():
            raise UserError(_not_prepared(dataset, path, builder, called))
        if builder.info.file_format.value != "array_record":
            raise UserError(_not_array_record(dataset, builder, called, say.path))
    return builder


def open_records(builder: Any, split: str, say: Words = WORDS) -> Any:
    """Returns the split's serialised examples, to be read by index.

    Raises:
      UserError: no such split, or none in it.
    """
    method = tfds().decode.DeserializeMethod.RAW_BYTES
    try:
        with _quiet():
            return builder.as_data_source(split=split, deserialize_method=method)
    except Exception as error:  # of several kinds, all about the split
        raise UserError(
            f"{say.split.format(split)} cannot be taken of {builder.info.full_name} "
            f"({words(error)}); choose among {', '.join(builder.info.splits)}, or "
            "a part such as train[:50%]."
        ) from None


def image_feature(builder: Any, say: Words = WORDS) -> str:
    """Returns the name of the images: 'image', or else the first by name.

    Raises:
      UserError: there are none.
    """
    features = builder.info.features
    kind = tfds().features.Image
    found = [name for name in sorted(features) if type(features[name]) is kind]
    if not found:
        raise UserError(
            f"{say.dataset.format(builder.info.full_name)} holds no images, but "
            f"{', '.join(sorted(features))}; choose another."
        )
    return "image" if "image" in found else found[0]


def label_feature(builder: Any) -> str:
    """Returns the name of the classes: 'label', or else the first by name, or ''."""
    features = builder.info.features
    kind = tfds().features.ClassLabel
    found = [name for name in sorted(features) if isinstance(features[name], kind)]
    return "label" if "label" in found else "".join(found[:1])


def tfds() -> Any:
    """Returns tensorflow_datasets: half a second that no other source should cost."""
    import tensorflow_datasets

    return tensorflow_datasets


def words(error: Exception) -> str:
    """Returns an error's text on one line, cut short."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) < 200 else text[:200] + " ..."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back the warnings that would come before our one sentence."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _builder(dataset: str, path: str, called: str) -> Any:
    directory = {"data_dir": os.path.expanduser(path)} if path else {}
    try:
        return tfds().builder(dataset, **directory)
    except tfds().core.DatasetNotFoundError:
        known = tfds().list_builders(with_community_datasets=False)
        raise _unknown(called, dataset, "name", known) from None
    # An assertion for a version, ValueError for a config, and more for odd names.
    except Exception as error:
        name, _, config = dataset.partition("/")
        config = config.split(":")[0]
        configs = _configs(name)
        if config and configs and config not in configs:
            raise _unknown(called, config, f"config of {name}", configs) from None
        raise UserError(
            f"{called} cannot be opened ({words(error)}); write NAME, "
            "NAME/CONFIG or NAME:VERSION as tensorflow-datasets lists them."
        ) from None


def _configs(name: str) -> list[str]:
    with contextlib.suppress(Exception):
        return list(tfds().builder_cls(name).builder_configs)
    return []


def _unknown(called: str, word: str, what: str, known: Sequence[str]) -> UserError:
    word = word.split("/")[0].split(":")[0]
    close = difflib.get_close_matches(word, known, n=4, cutoff=0.6)
    if close:
        remedy = f"did you mean {' or '.join(close)}?"
    elif len(known) <= 30:
        remedy = f"choose among {', '.join(known)}."
    else:
        remedy = f"choose among its {len(known)}, such as {', '.join(_OFTEN)}."
    return UserError(
        f"{called}: {word!r} is no {what} that tensorflow-datasets knows; {remedy}"
    )


def _not_prepared(dataset: str, path: str, builder: Any, called: str) -> str:
    root = _root(builder)
    by_hand = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
    first = ""
    if by_hand:
        first = (
            f"put its files into {os.path.join(root, 'downloads', 'manual')!r} "
            f"({' '.join(by_hand.split()).rstrip('.')}), then "
        )
    command = _command(dataset, f", data_dir={root!r}" if path else "")
    return f"{called} is not prepared in {root!r}; {first}prepare it by: {command}"


def _not_array_record(dataset: str, builder: Any, called: str, field: str) -> str:
    # One directory cannot hold two file formats; the downloads can be shared.
    root = _root(builder)
    elsewhere = os.path.join(root, "array_record")
    downloads = f"download_dir={os.path.join(root, 'downloads')!r}"
    return (
        f"{called} is prepared in {root!r}, but as "
        f"{builder.info.file_format.value}, and only array_record can be read in any "
        f"order; give {field.format(elsewhere)} after preparing it there by: "
        f"{_command(dataset, f', data_dir={elsewhere!r}', downloads)}"
    )


def _command(dataset: str, directory: str, downloads: str = "") -> str:
    # Most data sets of the catalogue need TensorFlow while they are prepared.
    return (
        'pip install tensorflow-cpu && python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder({dataset!r}{directory}, file_format='array_record')"
        f'.download_and_prepare({downloads})"'
    )


def _root(builder: Any) -> str:
    """Returns the directory of all data sets."""
    return str(builder.data_dir).removesuffix(builder.info.full_name).rstrip("/")
