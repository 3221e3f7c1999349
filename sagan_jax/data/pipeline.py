"""From a source to the stream of host batches: a pure function of (seed, step).

The only file that imports grain. Nothing of a stream is ever stored: its position is
the step, and a resumed run starts a new stream there.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypedDict

import grain
import numpy as np

from sagan_jax.data import transforms
from sagan_jax.data.source import Record, Source, check_labels
from sagan_jax.errors import UserError

Dataset = Any  # grain.MapDataset: grain carries no types

_BATCHES_PER_THREAD = 2  # read ahead: one is being made while another waits


class Batch(TypedDict):
    """Images, uint8 [n, H, W, C], and labels, int32 [n], of one process."""

    image: np.ndarray
    label: np.ndarray


def batch_dataset(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    horizontal_flip: bool = False,
    random_crop: bool = False,
    process_index: int = 0,
    process_count: int = 1,
) -> Dataset:
    """Returns an indexable dataset whose element `step` is the Batch of that step.

    Every epoch is a new permutation of the source, and batches run across the borders
    of epochs. Rows of process p are [p * n, (p + 1) * n) of the batch that one process
    alone would see, flips and crops included, with n = batch_size / process_count; each
    process reads its own rows only.

    Args:
      source: where records come from.
      batch_size: images of one step over all processes: train.d_steps *
        train.batch_size.
      seed: in [0, 2**32).
      horizontal_flip: mirror each image with probability one half, anew every epoch.
      random_crop: cut the square out anywhere along the longer side, anew every epoch,
        in place of the centre.
      process_index: of this process, in [0, process_count).
      process_count: how many processes share a step.

    Raises:
      UserError: a batch_size that is not a multiple of process_count; when an element
        is read, a label that the source does not have, or what the source raises.
    """
    if batch_size % process_count:
        raise UserError(
            f"train.d_steps * train.batch_size={batch_size} images cannot be split "
            f"over {process_count} processes; choose a train.batch_size that is a "
            f"multiple of {process_count}."
        )
    # Hashed, since grain adds the number of the epoch: with the plain seed, epoch 1 of
    # one run would be epoch 0 of the next. Each operation has its own: grain's default
    # seeds depend on an operation's place in the chain.
    seeds = np.random.SeedSequence(seed).generate_state(3).tolist()
    shuffle_seed, flip_seed, crop_seed = seeds
    # Indices are shuffled, not records: where an image is cut is chosen before reading.
    dataset = grain.MapDataset.range(len(source)).shuffle(seed=shuffle_seed).repeat()
    if random_crop:
        dataset = dataset.random_map(
            lambda index, rng: source.read(index, rng.random()), seed=crop_seed
        )
    else:
        dataset = dataset.map(source.__getitem__)
    if horizontal_flip:
        dataset = dataset.random_map(_flip, seed=flip_seed)
    # Batches are dealt out to processes last: dealing out images before would
    # reorder the rows of the global batch, and before the flip, change the flips.
    dataset = dataset.batch(batch_size // process_count, drop_remainder=True)
    dataset = dataset.slice(slice(process_index, None, process_count))

    def checked(batch: Batch) -> Batch:
        check_labels(batch["label"], source.num_classes)
        return batch

    return dataset.map(checked)


class Stream(Iterator[Batch]):
    """Consecutive elements of a `batch_dataset`, read ahead by threads; never ends.

    Any exception closes it: a batch is never left out. Use it in a `with` statement, or
    call `close`, so that its threads stop.
    """

    def __init__(self, dataset: Dataset, *, start: int = 0, threads: int = 2) -> None:
        """Starts at element `start`; threads=0 reads in the calling thread."""
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=_BATCHES_PER_THREAD * threads
        )
        remaining = dataset.slice(slice(start, None))
        self._batches = iter(remaining.to_iter_dataset(options))

    def __next__(self) -> Batch:
        try:
            return next(self._batches)
        # An interrupt counts: grain has taken the batch off its queue by then.
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stops the threads, each after the batch it is at; may be called twice."""
        self._batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    horizontal_flip: bool = False,
    random_crop: bool = False,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
) -> Stream:
    """Returns the stream of this process's batches from step `start` on.

    The arguments are those of `batch_dataset`, whose elements it yields, and of
    `Stream`. The number of threads changes nothing but the speed.
    """
    dataset = batch_dataset(
        source,
        batch_size=batch_size,
        seed=seed,
        horizontal_flip=horizontal_flip,
        random_crop=random_crop,
        process_index=process_index,
        process_count=process_count,
    )
    return Stream(dataset, start=start, threads=threads)


def _flip(record: Record, rng: np.random.Generator) -> Record:
    image = transforms.flip_horizontally(record["image"], rng)
    return {"image": image, "label": record["label"]}
