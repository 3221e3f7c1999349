"""Builders with images that are already encoded, which needs no TensorFlow."""

from typing import ClassVar

import image_files
import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def picture(number):
    """The image of a record: 8 x 12, of one level except for its first column."""
    pixels = np.full((8, 12, 3), 10 * number, np.uint8)
    pixels[:, 0] = 255
    return pixels


class _Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES: ClassVar[dict] = {}

    def _info(self):
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(12)}

    def _generate_examples(self, count):
        for number in range(count):
            yield number, self.example(number)


class TinyPictures(_Builder):
    """With labels, and a second class feature that comes first by name."""

    FEATURES: ClassVar = {
        "blurred": tfds.features.ClassLabel(num_classes=2),
        "file_name": tfds.features.Text(),
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(names=["cat", "dog", "owl"]),
    }

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(12),
            "test": self._generate_examples(5),
            "secret": self._generate_secrets(),
        }

    def _generate_secrets(self):
        """Two records without public labels, which are stored as -1."""
        for number in range(2):
            yield number, self.example(number) | {"label": -1}

    def example(self, number):
        content = image_files.encoded(Image.fromarray(picture(number)))
        return {
            "blurred": 0,
            "file_name": f"{number}.png",
            "image": content,
            "label": number % 3,
        }


class TinyPlain(_Builder):
    """Without labels, and with the image under another name; one is damaged."""

    FEATURES: ClassVar = {"photo": tfds.features.Image(), "id": tfds.features.Text()}

    def example(self, number):
        content = image_files.encoded(Image.fromarray(picture(number)))
        return {"photo": content if number else b"\x89PNG but no more", "id": "x"}


class TinyWords(_Builder):
    """Without images."""

    FEATURES: ClassVar = {"text": tfds.features.Text()}

    def example(self, number):
        return {"text": str(number)}
