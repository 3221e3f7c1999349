"""The stream of host batches of a source: a pure function of (seed, step).

The only file that imports grain. The state of a stream is never stored: its position is
the step, and a resumed run starts a new stream at that step.
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

_BATCHES_PER_THREAD = 2  # one is being read while another waits


class Batch(TypedDict):
    """The images, uint8 [n, H, W, C], and labels, int32 [n], of one process."""

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

    Every epoch is a new permutation of the source, and batches span the boundaries of
    epochs. With n = batch_size / process_count, process p gets the rows [p * n,
    (p + 1) * n) of the batch that a single process would get, flips and crops included,
    and reads only those.

    Args:
      source: source of the records.
      batch_size: number of images per step over all processes: train.d_steps *
        train.batch_size.
      seed: seed of the order, the flips and the crops, in [0, 2**32).
      horizontal_flip: whether each image is mirrored with probability one half, drawn
        again in every epoch.
      random_crop: whether the square is cut out anywhere along the longer side, drawn
        again in every epoch, instead of in the centre.
      process_index: index of this process, in [0, process_count).
      process_count: number of processes that share a step.

    Raises:
      UserError: batch_size is not a multiple of process_count; or, when an element is
        read, a label is out of range or the source fails.
    """
    if batch_size % process_count:
        raise UserError(
            f"train.d_steps * train.batch_size={batch_size} cannot be split evenly "
            f"over {process_count} processes; set train.batch_size to a multiple of "
            f"{process_count}."
        )
    # Seeds are hashed because grain adds the epoch to them: otherwise epoch 1 of seed 0
    # would equal epoch 0 of seed 1. Each operation has its own seed because grain's
    # default seeds depend on the operation's place in the chain.
    seeds = np.random.SeedSequence(seed).generate_state(3).tolist()
    shuffle_seed, flip_seed, crop_seed = seeds
    # Indices are shuffled, not records: a crop is chosen before its image is read.
    dataset = grain.MapDataset.range(len(source)).shuffle(seed=shuffle_seed).repeat()
    if random_crop:
        dataset = dataset.random_map(
            lambda index, rng: source.read(index, rng.random()), seed=crop_seed
        )
    else:
        dataset = dataset.map(source.__getitem__)
    if horizontal_flip:
        dataset = dataset.random_map(_flip, seed=flip_seed)
    # Batches are shared among processes last: sharing out images earlier would reorder
    # the rows of the global batch, and before the flip it would change the flips.
    dataset = dataset.batch(batch_size // process_count, drop_remainder=True)
    dataset = dataset.slice(slice(process_index, None, process_count))

    def checked(batch: Batch) -> Batch:
        check_labels(batch["label"], source.num_classes)
        return batch

    return dataset.map(checked)


class Stream(Iterator[Batch]):
    """Consecutive elements of a `batch_dataset`, prefetched by threads; never ends.

    Any exception closes the stream, so that no batch is skipped. Use it in a `with`
    statement, or call `close`, to stop its threads.
    """

    def __init__(self, dataset: Dataset, *, start: int = 0, threads: int = 2) -> None:
        """Starts reading.

        Args:
          dataset: result of `batch_dataset`.
          start: index of the first element.
          threads: number of threads; 0 reads in the calling thread.
        """
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=_BATCHES_PER_THREAD * threads
        )
        remaining = dataset.slice(slice(start, None))
        self._batches = iter(remaining.to_iter_dataset(options))

    def __next__(self) -> Batch:
        try:
            return next(self._batches)
        # Also on KeyboardInterrupt: grain has taken the batch off its queue by then.
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stops the threads after their current batches; may be called twice."""
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
    """Returns the stream of this process's batches, starting at step `start`.

    The arguments are documented in `batch_dataset` and `Stream`. The number of threads
    affects only the speed.
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
