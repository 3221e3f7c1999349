"""Finds prepared data sets of tensorflow-datasets; errors say how to prepare one."""

import contextlib
import difflib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from sagan_jax.errors import UserError

_POPULAR = ("celeb_a", "cifar10", "imagenet2012", "lsun", "mnist")
"""Examples for a name that resembles none of the known ones."""


class UnknownSplitError(UserError):
    """The data set has no such split."""


class OtherFormatError(UserError):
    """The data set is prepared in a format without random access.

    Attributes:
      directory: directory for a second copy of the data set, as array_record.
    """

    def __init__(self, message: str, directory: str) -> None:
        super().__init__(message)
        self.directory = directory


def open_builder(dataset: str, path: str = "") -> Any:
    """Returns the builder of a data set that is prepared as array_record.

    Args:
      dataset: NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION.
      path: directory of all data sets; '' is the default of tensorflow-datasets.

    Raises:
      UserError: the data set is unknown or not prepared.
      OtherFormatError: the data set is prepared in another file format.
    """
    with _quiet():
        builder = _builder(dataset, path)
        if not builder.is_prepared():
            raise UserError(_not_prepared(dataset, path, builder))
        if builder.info.file_format.value != "array_record":
            raise _other_format(dataset, builder)
    return builder


def open_records(builder: Any, split: str) -> Any:
    """Returns the serialised examples of a split, which can be read by index.

    Raises:
      UnknownSplitError: there is no such split, or it is empty.
    """
    method = tfds().decode.DeserializeMethod.RAW_BYTES
    try:
        with _quiet():
            return builder.as_data_source(split=split, deserialize_method=method)
    except Exception as error:  # of several kinds, all about the split
        raise UnknownSplitError(
            f"{split!r} is not a split of {builder.info.full_name} "
            f"({one_line(error)}); choose {', '.join(builder.info.splits)}, or a part "
            "such as train[:50%]."
        ) from None


def image_feature(builder: Any) -> str:
    """Returns the name of the image feature: 'image', or the first one by name.

    Raises:
      UserError: no feature is an image.
    """
    features = builder.info.features
    kind = tfds().features.Image
    found = [name for name in sorted(features) if type(features[name]) is kind]
    if not found:
        raise UserError(
            f"{builder.info.full_name!r} contains no images, only "
            f"{', '.join(sorted(features))}; choose another data set."
        )
    return "image" if "image" in found else found[0]


def label_feature(builder: Any) -> str:
    """Returns the name of the class feature: 'label', or the first by name, or ''."""
    features = builder.info.features
    kind = tfds().features.ClassLabel
    found = [name for name in sorted(features) if isinstance(features[name], kind)]
    return "label" if "label" in found else "".join(found[:1])


def tfds() -> Any:
    """Returns tensorflow_datasets, whose import takes half a second."""
    import tensorflow_datasets

    return tensorflow_datasets


def one_line(error: Exception) -> str:
    """Returns the message of an error on one line, shortened to 200 characters."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) < 200 else text[:200] + " ..."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the warnings of tensorflow-datasets; our error replaces them."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _builder(dataset: str, path: str) -> Any:
    directory = {"data_dir": os.path.expanduser(path)} if path else {}
    try:
        return tfds().builder(dataset, **directory)
    except tfds().core.DatasetNotFoundError:
        known = tfds().list_builders(with_community_datasets=False)
        name = dataset.split("/")[0].split(":")[0]
        raise _unknown(name, "a data set of tensorflow-datasets", known) from None
    # An assertion for a version, ValueError for a config, and more for odd names.
    except Exception as error:
        name, _, config = dataset.partition("/")
        config = config.split(":")[0]
        configs = _configs(name)
        if config and configs and config not in configs:
            raise _unknown(config, f"a config of {name}", configs) from None
        raise UserError(
            f"{dataset!r} cannot be opened ({one_line(error)}); write NAME, "
            "NAME/CONFIG or NAME:VERSION as listed by tensorflow-datasets."
        ) from None


def _configs(name: str) -> list[str]:
    with contextlib.suppress(Exception):
        return list(tfds().builder_cls(name).builder_configs)
    return []


def _unknown(name: str, kind: str, known: Sequence[str]) -> UserError:
    close = difflib.get_close_matches(name, known, n=4, cutoff=0.6)
    if close:
        remedy = f"did you mean {' or '.join(close)}?"
    elif len(known) <= 30:
        remedy = f"choose {', '.join(known)}."
    else:
        remedy = f"choose one of its {len(known)}, such as {', '.join(_POPULAR)}."
    return UserError(f"{name!r} is not {kind}; {remedy}")


def _not_prepared(dataset: str, path: str, builder: Any) -> str:
    root = _root(builder)
    manual = getattr(builder, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
    first = ""
    if manual:
        first = (
            f"put its files into {os.path.join(root, 'downloads', 'manual')!r} "
            f"({' '.join(manual.split()).rstrip('.')}), then "
        )
    command = _command(dataset, f", data_dir={root!r}" if path else "")
    return f"{dataset!r} is not prepared in {root!r}; {first}prepare it with: {command}"


def _other_format(dataset: str, builder: Any) -> OtherFormatError:
    # One directory cannot hold two file formats; the downloads can be shared.
    root = _root(builder)
    directory = os.path.join(root, "array_record")
    downloads = f"download_dir={os.path.join(root, 'downloads')!r}"
    return OtherFormatError(
        f"{dataset!r} is prepared in {root!r} as {builder.info.file_format.value}, but "
        f"only array_record supports random access; prepare it in {directory!r} with: "
        f"{_command(dataset, f', data_dir={directory!r}', downloads)}",
        directory,
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
