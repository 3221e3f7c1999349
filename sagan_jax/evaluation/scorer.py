"""Scores a generator with the metrics of a run's config.

Synthetic far pairs are scored by agreement, which needs no network. Every other metric
compares features of generated and real images. The work is split over all processes:
each one handles its own part of the images, and all end with the same scores.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from sagan_jax.config import Config
from sagan_jax.data import source as source_lib
from sagan_jax.data import sources
from sagan_jax.data.folder import FolderSource
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import far_pairs, references, sampling
from sagan_jax.extractors import encoders, features, preprocessing
from sagan_jax.metrics import protocols, scores
from sagan_jax.metrics.scores import Measured, Scores
from sagan_jax.metrics.statistics import Provenance
from sagan_jax.networks import Generator
from sagan_jax.runtime import processes

AGREEMENT = "agreement"


def metrics_of(config: Config) -> tuple[str, ...]:
    """Returns the metrics of a run, in order.

    Raises:
      UserError: an unknown metric, or agreement for images that are not far pairs.
    """
    synthetic = config.data.source == "synthetic"
    given = config.evaluation.metrics.replace(" ", "")
    if not given:
        return (AGREEMENT,) if synthetic else scores.USUAL
    names = tuple(given.split(","))
    if AGREEMENT in names and not synthetic:
        raise UserError(
            f"evaluation.metrics={given!r}: agreement is defined for the synthetic "
            "pairs only; remove it from the list."
        )
    others = [name for name in names if name != AGREEMENT]
    if others:
        scores.check_metrics(others)
    return names


class Scorer:
    """The metrics of a run, with the network and the real images that they need.

    Attributes:
      metrics: names of the metrics, in order.
      protocol: how they are measured.
    """

    def __init__(self, config: Config, source: source_lib.Source | None = None) -> None:
        """Finds the weights and the real images, so that a lack of them shows now.

        Args:
          config: the run's config.
          source: the training images, if they are open already.

        Raises:
          UserError: an unknown metric or protocol; no weights; no real images.
        """
        self._config = config
        self.metrics = metrics_of(config)
        self.protocol = protocols.protocol_of(config.evaluation.protocol)
        self._by_network = [name for name in self.metrics if name != AGREEMENT]
        self._reference: Measured | None = None
        if not self._by_network:
            return
        settings = config.evaluation
        self._encoder = encoders.encoder_of(settings.encoder)
        pipeline = self._encoder.pipeline(settings.pipeline, self.protocol.pipeline)
        found: encoders.Weights = self._encoder.load(settings.weights)
        self._tap = self._encoder.tap(settings.tap, found.taps)
        self._frechet = self._encoder.metric_name(self._tap, found)
        if not settings.metrics and self.protocol.logits not in found.taps:
            self._by_network.remove("is")  # nobody asked for it by name
        taps = [self._tap]
        if "is" in self._by_network:
            taps.append(self._logits())
        self._extractor = self._encoder.make(found, taps, pipeline=pipeline)
        if settings.reference:
            self._source = folder_of(config, "reference", settings.reference)
        else:
            self._source = source or sources.make_source(config)
        if settings.held_out:  # opened only to check that it is there
            folder_of(config, "held_out", settings.held_out)

    def _logits(self) -> str:
        """Returns the tap of the inception score."""
        if self.protocol.logits not in self._encoder.taps:
            raise UserError(
                "evaluation.metrics holds 'is', the inception score, which encoder "
                f"{self._encoder.name!r} has no logits for; remove it from the list."
            )
        return self.protocol.logits

    def score(
        self,
        generator: Generator,
        variables: dict[str, Any],
        *,
        count: int,
        seed: int,
        truncation: float = 0.0,
        check: Callable[[], None] = lambda: None,
    ) -> Scores:
        """Returns scores by name, of `count` images of balanced classes.

        Args:
          generator: the module.
          variables: the generator's variables, as evaluated.
          count: number of generated images.
          seed: seed of the latents.
          truncation: bound on |z|; see `sampling.latents`.
          check: called before each batch of images; it may raise to stop the scoring.
        """
        found: Scores = {}
        if AGREEMENT in self.metrics:
            found |= far_pairs.score_far_pairs(
                self._config,
                generator,
                variables,
                count=count,
                seed=seed,
                truncation=truncation,
                check=check,
            )
        if self._by_network:
            real = self.reference(check)
            fake = self._measured_samples(
                generator, variables, count, seed, truncation, check
            )
            found |= scores.compute(
                real,
                fake,
                self._by_network,
                protocol=self.protocol,
                frechet=self._frechet,
                label=self._encoder.label,
                kid_kernel=self._config.evaluation.kid_kernel,
            )
        return found

    def reference(self, check: Callable[[], None] = lambda: None) -> Measured:
        """Returns the features of the real images, which are cached on disk.

        Args:
          check: called before each batch of images; it may raise to stop.
        """
        if self._reference is None:
            self._reference = self._measured_reals(check)
        return self._reference

    def indices(self) -> NDArray[np.intp]:
        """Returns the index in the source of each image of `reference`, [N]."""
        wanted = self._config.evaluation.reference_samples
        # Shuffled, so that any part of them holds every class.
        order = np.random.default_rng(0).permutation(len(self._source))
        return order[: wanted or len(order)]

    def measure(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns features [N, d] of uint8 images [N, H, W, C], as scores use them.

        Every process must call it with the same images, and extracts its part.
        """
        mine = images[processes.share(len(images))]
        found = features.extract(
            (preprocessing.as_rgb(mine[i : i + 256]) for i in range(0, len(mine), 256)),
            lambda part: {self._tap: self._extractor(part)[self._tap]},
            total=len(mine),
            progress=processes.is_first(),
        )
        return processes.gather(found[self._tap], len(images))

    def facts(self) -> dict[str, Any]:
        """Returns how the scores were measured, for a line of results."""
        if not self._by_network:
            return {}
        real = self.reference()
        made = self._extractor.provenance
        return {
            "protocol_differs": self._differences(),
            "encoder": self._encoder.name,
            "tap": self._tap,
            "pipeline": made["pipeline"],
            "network_precision": made["precision"],
            "weights": made["weights"],
            "weights_origin": made["origin"],
            "reference": real.provenance.data_set,
            "reference_split": real.provenance.split,
            "reference_preprocessing": real.provenance.preprocessing,
            "reference_images": len(real.features),
            **scores.settings(self._by_network, self._config.evaluation.kid_kernel),
        }

    def _differences(self) -> str:
        """Returns how the measurement differs from the protocol of its name."""
        settings, protocol = self._config.evaluation, self.protocol
        pipeline = self._extractor.provenance["pipeline"]
        found = protocol.differences(self._encoder, pipeline)
        if settings.num_samples != protocol.fakes:
            found.append(f"{settings.num_samples} images instead of {protocol.fakes}")
        if settings.statistics != protocol.statistics:
            found.append(
                f"{settings.statistics} statistics instead of {protocol.statistics}"
            )
        return "; ".join(found)

    def _provenance(self, data_set: str, split: str) -> Provenance:
        side, channels = self._config.model.resolution, self._config.model.channels
        return Provenance(
            data_set=data_set,
            split=split,
            preprocessing=f"centre square, {side} px, uint8{_TO_RGB[channels]}",
            pipeline=self._extractor.provenance["pipeline"],
            tap=self._tap,
            weights=self._extractor.provenance["weights"],
            encoder=self._encoder.name,
        )

    def _measured_samples(
        self,
        generator: Generator,
        variables: dict[str, Any],
        count: int,
        seed: int,
        truncation: float,
        check: Callable[[], None],
    ) -> Measured:
        labels = sampling.balanced_labels(count, generator.num_classes)
        mine = processes.share(count)
        batches = sampling.sample(
            generator,
            variables,
            labels[mine],
            seed=seed,
            batch_size=self._config.evaluation.batch_size,
            truncation=truncation,
            start=mine.start,
            devices=jax.local_devices(),
        )
        found = features.extract(
            map(preprocessing.as_rgb, sampling.checked(batches, check)),
            self._extractor,
            total=mine.stop - mine.start,
            progress=processes.is_first(),
        )
        rows = {name: processes.gather(part, count) for name, part in found.items()}
        return Measured(
            features=rows[self._tap],
            provenance=self._provenance("generated", ""),
            logits=rows.get(self.protocol.logits),
            labels=labels if generator.num_classes else None,
        )

    def _measured_reals(self, check: Callable[[], None]) -> Measured:
        settings = self._config.evaluation
        order = self.indices()
        total = len(order)
        data = self._config.data
        name = settings.reference or data.dataset or data.path or data.source
        split = data.split if data.source == "tfds" and not settings.reference else ""
        provenance = self._provenance(Path(name).name, split)
        mine = processes.share(total)

        def measure() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
            labels: list[int] = []
            reals = _records(self._source, order[mine], labels)
            found = features.extract(
                map(preprocessing.as_rgb, sampling.checked(reals, check)),
                lambda images: {self._tap: self._extractor(images)[self._tap]},
                total=mine.stop - mine.start,
                progress=processes.is_first(),
            )
            rows = processes.gather(found[self._tap], total)
            return rows, processes.gather(np.asarray(labels, np.int32), total)

        images = self._source.digest()
        key = _digest(images, total, self._config.model.resolution) if images else ""
        rows, labels = references.remembered(key, provenance, measure)
        classes = labels if self._config.model.num_classes else None
        return Measured(features=rows, provenance=provenance, labels=classes)


_TO_RGB = {
    1: ", grey to RGB",
    2: ", grey to RGB without alpha",
    3: "",
    4: ", RGB without alpha",
}
"""How images with so many channels become those of the network."""


def folder_of(config: Config, field: str, path: str) -> source_lib.Source:
    """Returns the images of a folder or .zip that `evaluation.<field>` names."""
    with naming(f"evaluation.{field}", path):
        found = FolderSource(
            path,
            resolution=config.model.resolution,
            channels=config.model.channels,
            labelled=config.model.num_classes > 0,
            max_unreadable=config.data.max_unreadable,
        )
    if found.num_classes != config.model.num_classes:
        raise UserError(
            f"evaluation.{field}={path!r} holds {found.num_classes} classes, and the "
            f"model has {config.model.num_classes}; give images of the same classes."
        )
    return found


def _records(
    source: source_lib.Source, indices: NDArray[np.intp], labels: list[int]
) -> Iterator[NDArray[np.uint8]]:
    """Yields the images of `indices` in batches, and appends their labels."""
    for begin in range(0, len(indices), 256):
        records = [source[int(index)] for index in indices[begin : begin + 256]]
        labels += [int(record["label"]) for record in records]
        yield np.stack([record["image"] for record in records])


def _digest(*facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
