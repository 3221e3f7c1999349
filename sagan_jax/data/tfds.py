"""The tfds source: data sets of tensorflow-datasets, read without TensorFlow."""

import io
from typing import Any

import numpy as np

from sagan_jax.data import class_counts, prepared, tfds_catalogue, transforms
from sagan_jax.data.source import ClassesMissingError, Record, Source
from sagan_jax.errors import UserError


class Pictures:
    """The encoded images of a split, and their labels.

    Attributes:
      class_names: name of each class, by label; empty without labels.
      full_name: name of the data set, with its version.
    """

    def __init__(self, dataset: str, split: str = "train", path: str = "") -> None:
        """Opens the data set.

        Args:
          dataset: name in tensorflow-datasets: NAME, NAME/CONFIG or NAME:VERSION.
          split: name or part of a split, such as train or train[:50%].
          path: directory of all data sets; '' is the default of tensorflow-datasets.

        Raises:
          UserError: the data set is unknown, not prepared, or has no images.
          UnknownSplitError: the data set has no such split.
        """
        self._arguments = (dataset, split, path)
        builder = tfds_catalogue.open_builder(dataset, path)
        self._records = tfds_catalogue.open_records(builder, split)
        features = builder.info.features
        self._image = tfds_catalogue.image_feature(builder)
        self._label = tfds_catalogue.label_feature(builder)
        self.class_names = tuple(features[self._label].names if self._label else ())
        self.full_name: str = builder.info.full_name
        # A record can have forty features; only these two are parsed.
        wanted = [name for name in (self._image, self._label) if name]
        self._parser = type(features)({name: features[name] for name in wanted})
        # Images are decoded here: the result of theirs depends on whether OpenCV is
        # installed.
        self._decoders = {self._image: tfds_catalogue.tfds().decode.SkipDecoding()}

    def __reduce__(self) -> tuple[Any, ...]:
        return Pictures, self._arguments

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> tuple[bytes, int]:
        """Returns an encoded image and its label, 0 without labels.

        Damaged files raise RuntimeError, IndexError and more.
        """
        prepared.check_fork()
        record = self._records[range(len(self))[index]]
        example = self._parser.deserialize_example_np(record, decoders=self._decoders)
        return example[self._image], int(example[self._label]) if self._label else 0

    def name(self, index: int) -> str:
        """Returns the name of an image, for messages."""
        return f"record {index}"


class TfdsSource(Source):
    """A split of a data set of tensorflow-datasets, decoded and cropped when read.

    Records keep the order in which they were prepared.
    """

    can_crop = True

    def __init__(
        self,
        dataset: str,
        split: str = "train",
        path: str = "",
        *,
        resolution: int,
        channels: int = 3,
        labelled: bool = True,
    ) -> None:
        """Opens the data set.

        Args:
          dataset: name in tensorflow-datasets; see Pictures.
          split: name or part of a split.
          path: directory of all data sets.
          resolution: side of the records in pixels.
          channels: channels of the records, 1 to 4.
          labelled: whether labels are required; otherwise each label is 0.

        Raises:
          UserError: see Pictures.
          ClassesMissingError: `labelled`, and the data set has no labels.
        """
        super().__init__()
        self._pictures = Pictures(dataset, split, path)
        if labelled and not self._pictures.class_names:
            raise ClassesMissingError(
                f"{dataset!r} has no labels; choose a labelled data set."
            )
        self._resolution, self._channels = resolution, channels
        self.class_names = self._pictures.class_names if labelled else ()
        self.num_classes = len(self.class_names)
        contents = class_counts.plural(len(self), "image")
        if labelled:
            classes = class_counts.plural(self.num_classes, "class", "classes")
            contents += f" of {classes}"
        name = self._pictures.full_name
        self.identity = f"{name} {split} {self.num_classes}"
        self._messages.append(f"split {split!r} of {name!r} contains {contents}.")

    def __len__(self) -> int:
        return len(self._pictures)

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns one record.

        Args:
          index: index of the record.
          place: position of the square along the image's longer side; see
            transforms.crop_square.

        Raises:
          UserError: a record is damaged, or its image cannot be decoded.
        """
        index = range(len(self))[index]
        try:
            content, label = self._pictures.read(index)
            image = transforms.decode(io.BytesIO(content))
        except UserError:
            raise
        except Exception as error:  # as in readable.py
            raise UserError(
                f"record {index} of {self._pictures.full_name!r} cannot be read as an "
                f"image ({tfds_catalogue.one_line(error)}); prepare the data set "
                "again, or leave such images out with python -m "
                "sagan_jax.data.prepare --max_unreadable N."
            ) from error
        image = transforms.fit(image, self._resolution, self._channels, place)
        return {"image": image, "label": np.int32(label if self.num_classes else 0)}
