"""How close samples are to training images, next to held-out real images.

Distances are measured between pixels, and between the features that the run is scored
with if the weights of their network are at hand.
"""

import copy
import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sagan_jax.config import Config
from sagan_jax.data import sources
from sagan_jax.data.source import Source
from sagan_jax.evaluation import held_out, sampling
from sagan_jax.evaluation.scorer import Scorer
from sagan_jax.extractors import encoders
from sagan_jax.metrics import nearest as nearest_lib
from sagan_jax.metrics.nearest import Closer, Nearest
from sagan_jax.networks import Generator
from sagan_jax.runtime import processes

Images = NDArray[np.uint8]

_PART = 256  # training images in memory at once, as they are read


@dataclasses.dataclass(frozen=True, eq=False)
class Space:
    """The nearest training images in one space.

    Attributes:
      name: 'pixels' or 'features'.
      unit: what the distances are.
      samples: of the samples; indices are those of the source.
      held_out: of the held-out images; None without.
      closer: the share of samples that are closer than held-out images are, or None.
    """

    name: str
    unit: str
    samples: Nearest
    held_out: Nearest | None
    closer: Closer | None


@dataclasses.dataclass(frozen=True, eq=False)
class Memorisation:
    """Samples, and their nearest training images.

    Attributes:
      source: the training images.
      used: number of training images that were searched.
      samples: uint8 images [M, H, W, C].
      labels: their classes, [M].
      held_out: uint8 images [K, H, W, C]; K is 0 if there are none.
      held_out_name: where these come from, or what to do to have some.
      spaces: the distances in each space, pixels first.
      remark: why a space is missing; '' if none is.
    """

    source: Source
    used: int
    samples: Images
    labels: NDArray[np.int64]
    held_out: Images
    held_out_name: str
    spaces: tuple[Space, ...]
    remark: str


def measure(
    config: Config,
    generator: Generator,
    variables: dict[str, Any],
    labels: Sequence[int] | NDArray[Any],
) -> Memorisation:
    """Returns the nearest training images of samples, and of held-out images.

    At most `evaluation.reference_samples` training images are searched, if that is set.
    All processes must call it, share the work, and get the result.

    Args:
      config: the run's config.
      generator: the module.
      variables: the generator's variables, as evaluated.
      labels: the classes of the samples, [M].

    Raises:
      UserError: the training images, the held-out ones or the weights cannot be read.
    """
    settings = config.evaluation
    source = sources.make_source(config)
    fresh = held_out.find(config, source, len(labels))
    scorer = _scorer(config, source)
    batches = sampling.sample_in_all_processes(
        generator,
        variables,
        labels,
        seed=settings.seed,
        batch_size=settings.batch_size,
        truncation=settings.truncation,
    )
    samples = np.concatenate(list(batches))
    real = samples[:0] if fresh.source is None else _some(fresh.source, len(labels))
    both = np.concatenate([samples, real])
    order = _order(source, settings.reference_samples)
    found = _in_pixels(both, source, order)
    spaces = [_space("pixels", _PIXELS, found, len(samples))]
    if scorer:
        rows = nearest_lib.nearest(scorer.measure(both), [scorer.reference().features])
        found = rows._replace(indices=scorer.indices()[rows.indices])
        unit = _features_of(settings.encoder)
        spaces.append(_space("features", unit, found, len(samples)))
    return Memorisation(
        source=source,
        used=len(order),
        samples=samples,
        labels=np.asarray(labels, np.int64),
        held_out=real,
        held_out_name=fresh.name,
        spaces=tuple(spaces),
        remark="" if scorer else _without_weights(settings.encoder),
    )


_PIXELS = "root mean square difference of pixels, in levels of 0 to 255"


def _features_of(encoder: str) -> str:
    name = "Inception" if encoder == encoders.INCEPTION else encoder
    return f"Euclidean distance of {name} features"


def _without_weights(encoder: str) -> str:
    if encoder == encoders.INCEPTION:
        name, remedy = "Inception weights", "which downloads them"
    else:
        name, remedy = f"weights of {encoder}", "which says where to get them"
    return (
        f"the {name} are not on this machine, so that only pixels were compared; pass "
        "--evaluation.weights=FILE, or run --mode evaluate with a metric such as fid "
        f"once, {remedy}."
    )


def _scorer(config: Config, source: Source) -> Scorer | None:
    """Returns the extractor of the run's protocol; None without its weights."""
    encoder = encoders.encoder_of(config.evaluation.encoder)
    if not encoder.are_here(config.evaluation.weights):
        return None
    config = copy.deepcopy(config)
    config.evaluation.metrics = "fid"
    # The training images are the reference here, whatever scores are compared with.
    config.evaluation.reference = config.evaluation.held_out = ""
    return Scorer(config, source)


def _order(source: Source, most: int) -> NDArray[np.intp]:
    order = np.random.default_rng(0).permutation(len(source))
    return np.sort(order[: most or len(order)])


def _some(source: Source, count: int) -> Images:
    """Returns `count` images of a source, or all if it has fewer."""
    order = np.random.default_rng(0).permutation(len(source))[:count]
    return np.concatenate(list(_read(source, order)))


def _read(source: Source, indices: NDArray[np.intp]) -> Iterator[Images]:
    """Yields the images of `indices` in parts; threads decode them."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for begin in range(0, len(indices), _PART):
            part = indices[begin : begin + _PART]
            records = pool.map(lambda index: source[int(index)]["image"], part)
            yield np.stack(list(records))


def _in_pixels(images: Images, source: Source, order: NDArray[np.intp]) -> Nearest:
    """Returns the nearest training images in pixels, searched by all processes."""
    mine = order[processes.share(len(order))]
    values = images[0].size
    with tqdm(
        total=len(mine),
        unit="image",
        desc="training images",
        dynamic_ncols=True,
        disable=not processes.is_first(),
    ) as bar:

        def rows() -> Iterator[NDArray[np.uint8]]:
            for part in _read(source, mine):
                yield part.reshape(len(part), values)
                bar.update(len(part))

        found = nearest_lib.nearest(images.reshape(len(images), values), rows())
    index = mine[found.indices] if len(mine) else found.indices
    count = jax.process_count()
    distances = processes.gather(found.distances[None], count)
    indices = processes.gather(index[None], count)
    first = distances.argmin(axis=0)
    columns = np.arange(len(images))
    rms = distances[first, columns] / np.sqrt(values)
    return Nearest(rms, indices[first, columns])


def _space(name: str, unit: str, found: Nearest, count: int) -> Space:
    """Returns a space from the results of `count` samples and of held-out images."""
    samples = Nearest(found.distances[:count], found.indices[:count])
    rest = Nearest(found.distances[count:], found.indices[count:])
    if not len(rest.indices):
        return Space(name, unit, samples, None, None)
    closer = nearest_lib.share_closer(samples.distances, rest.distances)
    return Space(name, unit, samples, rest, closer)
