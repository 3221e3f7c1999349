"""The tfds source: data sets of tensorflow-datasets, read without TensorFlow."""

import io
from collections import deque
from typing import Any

import numpy as np

from sagan_jax.data import class_counts, forks, tfds_catalogue, transforms
from sagan_jax.data.source import Record
from sagan_jax.data.tfds_catalogue import Words
from sagan_jax.errors import UserError


class Pictures:
    """The image files of a split, and their labels.

    Attributes:
      class_names: by label; empty without labels.
      full_name: of the data set, with its version.
    """

    def __init__(
        self,
        dataset: str,
        split: str = "train",
        path: str = "",
        say: Words = tfds_catalogue.WORDS,
    ) -> None:
        """Opens it.

        Args:
          dataset: its name as tensorflow-datasets takes it: NAME, NAME/CONFIG,
            NAME:VERSION.
          split: of it, such as train or train[:50%].
          path: the directory of all data sets; '' is that of tensorflow-datasets.
          say: how a person named them.

        Raises:
          UserError: not known, not prepared, or without the split or images.
        """
        self._arguments = (dataset, split, path, say)
        builder = tfds_catalogue.open_builder(dataset, path, say)
        self._records = tfds_catalogue.open_records(builder, split, say)
        features = builder.info.features
        self._image = tfds_catalogue.image_feature(builder, say)
        self._label = tfds_catalogue.label_feature(builder)
        self.class_names = tuple(features[self._label].names if self._label else ())
        self.full_name: str = builder.info.full_name
        # Of a record with forty attributes only these two are taken apart.
        wanted = [name for name in (self._image, self._label) if name]
        self._parser = type(features)({name: features[name] for name in wanted})
        # Our own decoder: theirs depends on whether OpenCV is installed.
        self._decoders = {self._image: tfds_catalogue.tfds().decode.SkipDecoding()}

    def __reduce__(self) -> tuple[Any, ...]:
        return Pictures, self._arguments

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> tuple[bytes, int]:
        """Returns an image file and its label, 0 without labels.

        A file that is damaged raises RuntimeError, IndexError and more.
        """
        forks.check()
        record = self._records[range(len(self))[index]]
        example = self._parser.deserialize_example_np(record, decoders=self._decoders)
        return example[self._image], int(example[self._label]) if self._label else 0

    def name(self, index: int) -> str:
        """Returns what a person calls an image."""
        return f"record {index}"


class TfdsSource:
    """A split of a data set of tensorflow-datasets, decoded and fitted when read.

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
        """Opens it.

        Args:
          dataset: as Pictures takes it, and so are split and path.
          split: of the data set.
          path: the directory of all data sets.
          resolution: of the records.
          channels: of the records, 1 to 4.
          labelled: whether there must be labels.

        Raises:
          UserError: see Pictures; or no labels.
        """
        self._pictures = Pictures(dataset, split, path)
        if labelled and not self._pictures.class_names:
            raise UserError(
                f"data.dataset={dataset!r} has no labels; set "
                "--config.model.num_classes=0 to train without."
            )
        self._resolution, self._channels = resolution, channels
        self.class_names = self._pictures.class_names if labelled else ()
        self.num_classes = len(self.class_names)
        what = class_counts.plural(len(self), "image")
        if labelled:
            what += f" of {class_counts.plural(self.num_classes, 'class', 'classes')}"
        name = self._pictures.full_name
        self.identity = f"{name} {split} {self.num_classes}"
        self._news = deque([f"data.dataset={name!r}, split {split!r}, holds {what}."])

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> Record:
        """Returns one record, its central square; see `read`."""
        return self.read(index)

    def read(self, index: int, place: float = 0.5) -> Record:
        """Returns one record.

        Args:
          index: of the record.
          place: of the square along the image's longer side; see
            transforms.crop_square.

        Raises:
          UserError: a record that is damaged, or no image that can be decoded.
        """
        index = range(len(self))[index]
        try:
            content, label = self._pictures.read(index)
            image = transforms.decode(io.BytesIO(content))
        except UserError:
            raise
        except Exception as error:  # as in readable.py
            raise UserError(
                f"data.dataset={self._pictures.full_name!r}: record {index} cannot be "
                f"read as an image ({tfds_catalogue.words(error)}); prepare the data "
                "set again, or leave such images out by python -m "
                "sagan_jax.data.prepare --max_unreadable N."
            ) from error
        image = transforms.fit(image, self._resolution, self._channels, place)
        return {"image": image, "label": np.int32(label if self.num_classes else 0)}

    def news(self) -> list[str]:
        """Returns what a person should hear that was not returned before."""
        return [self._news.popleft() for _ in range(len(self._news))]
