"""Images per second of the input pipeline, per core.

    python benchmarks/input_pipeline.py photos.zip photos64 --resolution 64

Each PATH is a folder or .zip of images, or a directory of prepared images. Batches come
from the pipeline of training, which reads, decodes, crops, resizes and stacks images.
The process is pinned to as many cores as there are threads. `per core` divides by CPU
time, which other work on the machine hardly affects; `by the clock` divides by wall
time. Both report the best repeat.
"""

import argparse
import os
import time
from collections.abc import Sequence

from sagan_jax.data import pipeline, prepared
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.data.folder import FolderSource
from sagan_jax.data.source import Record, Source

_BATCH = 64

_LENGTH = 10_000
"""Smallest length of an epoch: fewer images are repeated, because grain shuffles short
epochs slowly (0.4 ms per image for 55 images, 0.01 ms for 10,000)."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line for each path and number of threads."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="per repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--random_crop", action="store_true")
    arguments = parser.parse_args(argv)
    cores = sorted(os.sched_getaffinity(0))
    for path in arguments.paths:
        source = _open(path, arguments.resolution)
        for threads in arguments.threads:
            os.sched_setaffinity(0, cores[:threads])
            runs = [
                _measure(source, threads, arguments.seconds, arguments.random_crop)
                for _ in range(arguments.repeats)
            ]
            os.sched_setaffinity(0, cores)
            per_core, by_clock = (max(figures) for figures in zip(*runs, strict=True))
            print(
                f"{path} at {arguments.resolution} px, threads and cores {threads}: "
                f"{per_core:,.0f} images/s per core, {by_clock:,.0f} by the clock",
                flush=True,
            )


def _open(path: str, resolution: int) -> Source:
    kind = ArrayRecordSource if prepared.is_prepared(path) else FolderSource
    return _Repeated(kind(path, resolution=resolution))


class _Repeated(Source):
    """Repeats the records of a source until it has at least _LENGTH of them."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self.num_classes, self.class_names = source.num_classes, source.class_names
        self.can_crop = source.can_crop

    def __len__(self) -> int:
        return max(len(self._source), _LENGTH)

    def read(self, index: int, place: float = 0.5) -> Record:
        return self._source.read(index % len(self._source), place)


def _measure(
    source: Source, threads: int, seconds: float, random_crop: bool
) -> tuple[float, float]:
    """Returns images per second of CPU time, and per second of the clock."""
    with pipeline.batches(
        source, batch_size=_BATCH, seed=0, threads=threads, random_crop=random_crop
    ) as stream:
        for _ in range(4 * threads):
            next(stream)  # batches that were read ahead do not count
        images, clock, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - clock < seconds:
            images += len(next(stream)["label"])
        clock = time.perf_counter() - clock
        cpu = time.process_time() - cpu
    return images / cpu, images / clock


if __name__ == "__main__":
    main()
