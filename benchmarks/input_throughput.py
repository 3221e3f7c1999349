"""Images per second of the input pipeline, per core, and whether a step waits for it.

    python benchmarks/input_throughput.py photos.zip photos64 --resolution 64
    python benchmarks/input_throughput.py --against ../before
    python benchmarks/input_throughput.py --step sleep --step_ms 100
    python benchmarks/input_throughput.py photos64 --step train

Each PATH is a folder or .zip of images, or a directory of prepared images; without one,
JPEGs of the size of ImageNet's are made, and prepared. Batches come from the pipeline
of training, which reads, decodes, crops, resizes and stacks images.

Throughput: the process is pinned to as many cores as there are threads.
`images_per_cpu_second` divides by CPU time, which other work on the machine hardly
affects, and `images_per_second` by wall time. With --against, another checkout is
measured in turns, and `ratio` compares the CPU times.

--step measures instead how long a step takes with these images and with the same ones
held in memory as arrays, in turns. The step is a pause, as a step on an accelerator is
for the host, or that of a tiny network. Prints one line of JSON for each result.
"""

import argparse
import contextlib
import functools
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paired
from paired import Facts
from PIL import Image

from sagan_jax.data import pipeline, prepare, prepared
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.data.folder import FolderSource
from sagan_jax.data.source import Record, Source

_LENGTH = 10_000
"""Smallest length of an epoch: fewer images are repeated, because grain shuffles short
epochs slowly (0.4 ms per image for 55 images, 0.01 ms for 10,000)."""

_IN_MEMORY = 512
"""Images that are held in memory for --step."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line for each path and number of threads."""
    options = _parser().parse_args(argv)
    if options.answer:
        paired.answer(measure)
        return
    with contextlib.ExitStack() as stack:
        paths = options.paths or stack.enter_context(_made(options))
        both = paired.sides(__file__, options.against, {})
        for side in both:
            stack.callback(side.close)
        for path in paths:
            for threads in options.threads:
                request = {
                    name: getattr(options, name)
                    for name in ("resolution", "batch", "random_crop", "step")
                }
                request |= {"path": path, "threads": threads}
                if options.step:
                    request |= {"step_ms": options.step_ms, "steps": options.steps}
                    speed = "disk_over_memory"
                else:
                    request["seconds"] = options.seconds
                    speed = "images_per_cpu_second"
                found = paired.measured(both, request, options.rounds)
                facts = {**request, **paired.summary(found, speed)}
                paired.report({"benchmark": "input", **facts}, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=64, help="images per batch")
    parser.add_argument("--seconds", type=float, default=3.0, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--random_crop", action="store_true")
    parser.add_argument("--step", choices=("sleep", "train"), default="")
    parser.add_argument("--step_ms", type=float, default=100, help="of --step sleep")
    parser.add_argument("--steps", type=int, default=30, help="per round, of --step")
    parser.add_argument("--against", metavar="PATH", help="root of another checkout")
    parser.add_argument("--out", metavar="FILE", help="append the lines to this file")
    parser.add_argument(
        "--photographs", type=int, default=200, help="JPEGs to make without a PATH"
    )
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    return parser


@contextlib.contextmanager
def _made(options: argparse.Namespace) -> Iterator[list[str]]:
    """Yields a folder of JPEGs, and the directory of the same images, prepared."""
    with tempfile.TemporaryDirectory() as root:
        folder, out = Path(root, "jpegs"), str(Path(root, "prepared"))
        make_photographs(folder, options.photographs)
        with contextlib.redirect_stdout(sys.stderr):
            prepare.main([str(folder), out, "--resolution", str(options.resolution)])
        yield [str(folder), out]


def make_photographs(folder: Path, count: int) -> None:
    """Writes JPEGs of 500 x 375 or 375 x 500 pixels and about 100 kB, in two classes.

    These are the usual size and file size of ImageNet. The pictures are coloured clouds
    with the noise of a camera.
    """
    draw = np.random.default_rng(0)
    for index in range(count):
        height, width = (375, 500) if index % 3 else (500, 375)
        small = draw.integers(0, 256, (height // 24, width // 24, 3), np.uint8)
        clouds = Image.fromarray(small).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        grain = draw.normal(0, 14, (height, width, 1))
        colour = draw.normal(0, 5, (height, width, 3))
        pixels = np.clip(np.asarray(clouds) + grain + colour, 0, 255).astype(np.uint8)
        place = folder / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{index:05d}.jpg", quality=90)


def measure(request: Facts) -> Facts:
    """Measures once; throughput uses only what other checkouts have as well."""
    if request["step"]:
        return _step_times(request)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[: request["threads"]])
    try:
        return _throughput(request)
    finally:
        os.sched_setaffinity(0, cores)


def _throughput(request: Facts) -> Facts:
    source = _opened(request["path"], request["resolution"])
    with _stream(_Repeated(source), request) as stream:
        for _ in range(4 * request["threads"]):
            next(stream)  # batches that were read ahead do not count
        images, clock, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - clock < request["seconds"]:
            images += len(next(stream)["label"])
        clock = time.perf_counter() - clock
        cpu = time.process_time() - cpu
    return {"images_per_cpu_second": images / cpu, "images_per_second": images / clock}


def _step_times(request: Facts) -> Facts:
    """Returns milliseconds per step with images from the disk and from memory."""
    source = _opened(request["path"], request["resolution"])
    images = {"disk": source, "memory": _held(request["path"], request["resolution"])}
    if request["step"] == "sleep":
        step = _pause(request["step_ms"])
    else:
        step = _training(request["resolution"], source.num_classes, request["batch"])
    clocks, waits = dict.fromkeys(images, 0.0), dict.fromkeys(images, 0.0)
    for name in ("disk", "memory", "memory", "disk"):
        with _stream(_Repeated(images[name]), request) as stream:
            for _ in range(3):
                step(next(stream))
            begun = time.perf_counter()
            for _ in range(request["steps"]):
                asked = time.perf_counter()
                batch = next(stream)
                waits[name] += time.perf_counter() - asked
                step(batch)
            clocks[name] += time.perf_counter() - begun
    each = 1e3 / (2 * request["steps"])
    found = {f"{name}_ms": each * clock for name, clock in clocks.items()}
    found |= {f"{name}_waited_ms": each * wait for name, wait in waits.items()}
    return {**found, "disk_over_memory": clocks["disk"] / clocks["memory"]}


def _pause(milliseconds: float) -> Callable[[pipeline.Batch], None]:
    return lambda batch: time.sleep(milliseconds / 1e3)


@functools.cache
def _training(
    resolution: int, num_classes: int, batch_size: int
) -> Callable[[pipeline.Batch], None]:
    """Returns a function that trains a tiny network, as the loop of training does."""
    import jax

    from sagan_jax import networks
    from sagan_jax.config import Config
    from sagan_jax.runtime import mesh as mesh_lib
    from sagan_jax.training import optim, state, train_step

    config = Config()
    config.model.resolution, config.model.num_classes = resolution, num_classes
    config.model.width, config.model.attention_resolutions = 4, (16,)
    config.train.batch_size, config.mesh.devices = batch_size, 1
    mesh = mesh_lib.make_mesh(config)
    built = config, *networks.build(config.model), optim.make_optimizers(config)
    step = mesh_lib.jit_step(
        train_step.make_train_step(*built, mesh_lib.constrain(mesh)), mesh
    )
    running: deque[Any] = deque()
    everywhere = mesh_lib.replicated(mesh)
    held = [jax.jit(lambda: state.create(*built), out_shardings=everywhere)()]

    def train(batch: pipeline.Batch) -> None:
        held[0], metrics = step(held[0], mesh_lib.global_batch(batch, mesh))
        running.append(metrics)
        if len(running) > 2:
            jax.block_until_ready(running.popleft())

    return train


@functools.cache
def _opened(path: str, resolution: int) -> Source:
    kind = ArrayRecordSource if prepared.is_prepared(path) else FolderSource
    return kind(path, resolution=resolution)


@functools.cache
def _held(path: str, resolution: int) -> "_Held":
    return _Held(_opened(path, resolution))


def _stream(source: Source, request: Facts) -> pipeline.Stream:
    return pipeline.batches(
        source,
        batch_size=request["batch"],
        seed=0,
        threads=request["threads"],
        random_crop=request["random_crop"],
    )


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


class _Held(Source):
    """The first records of a source, as arrays in memory."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.num_classes, self.class_names = source.num_classes, source.class_names
        self._records = [source[i] for i in range(min(_IN_MEMORY, len(source)))]

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int, place: float = 0.5) -> Record:
        return self._records[index]


if __name__ == "__main__":
    main()
