"""The Monge inception distance on CIFAR-10, next to the Frechet distance.

    python benchmarks/monge.py TRAIN WEIGHTS OUT --samples SAMPLES.npz

The sets are those of distances.py: everything is compared with B, a random half of the
real images, and A, the other half, is what a perfect generator reaches. For each set
and count, prints a line of JSON for each metric:

  FD        the Frechet distance, of the first images and of each further part of as
            many images, to show how much it depends on the images
  MIND      the same, along the directions of the default seed
  MIND, directions   of the first images, along the directions of several seeds

Features are cached in OUT, so an interrupted command continues where it stopped.
Seconds are of the process's wall clock, for the first of the values.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import distances
import numpy as np
from distances import Images, Pixels
from numpy.typing import NDArray

from sagan_jax.data.folder import FolderSource
from sagan_jax.extractors import features, inception_weights
from sagan_jax.metrics import fid, mind

Rows = NDArray[np.float32]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line of JSON for each set, count and metric."""
    options = _parser().parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    counts = [int(count) for count in options.counts.split(",")]
    extractor = features.Extractor(
        inception_weights.read(options.weights), [options.tap]
    )
    sets = _sets(options.train, options.samples, options.seed)

    def rows_of(name: str) -> Rows:
        found = distances.features_of(
            options.out, name, sets[name], max(counts), extractor, options.portion
        )
        return found[options.tap]

    real = rows_of("B")
    for name in sets:
        if name != "B":
            for count in counts:
                compare(name, options.tap, real, rows_of(name), count, options.seeds)


def compare(
    name: str, tap: str, real: Rows, fake: Rows, count: int, seeds: int
) -> None:
    """Prints the distances of a set from the real images, of `count` images each."""
    parts = [slice(i, i + count) for i in range(0, len(real) - count + 1, count)]
    metrics: dict[str, Callable[[Rows, Rows], float]] = {
        f"FD-{tap}": fid.frechet_distance,
        f"MIND-{tap}": mind.drawn_distance,
    }
    for metric, function in metrics.items():
        found = [functools.partial(function, real[p], fake[p]) for p in parts]
        _print_json(name, metric, count, *_timed(found))
    first = real[:count], fake[:count]
    drawn = [
        functools.partial(mind.drawn_distance, *first, seed=seed)
        for seed in range(seeds)
    ]
    _print_json(name, f"MIND-{tap}, directions", count, *_timed(drawn))


def _sets(train: str, samples: Path | None, seed: int) -> dict[str, Images]:
    """Returns the sets of images by name, B first."""
    source = FolderSource(train, resolution=distances.SIDE)
    order = np.random.default_rng(seed).permutation(len(source))
    halves = np.split(order[: len(order) // 2 * 2], 2)

    def real(half: int) -> Images:
        return lambda index: source[int(halves[half][index])]["image"]

    a = real(0)
    sets: dict[str, Images] = {"B": real(1), "A": a, "blur": distances.blurred(a)}
    sets["noise"] = distances.noise
    if samples:
        with np.load(samples) as arrays:
            generated = arrays["images"]
        # Labels of samples are periodic.
        shown = np.random.default_rng(1).permutation(len(generated))

        def run(index: int) -> Pixels:
            return generated[shown[index]]

        sets["run"] = run
    sets["noisy"] = distances.noisy(a, 25.0)
    return sets


def _timed(measures: Sequence[Callable[[], float]]) -> tuple[list[float], float]:
    """Returns the values of all functions, and the seconds of the first."""
    begin = time.perf_counter()
    values = [measures[0]()]
    seconds = time.perf_counter() - begin
    return values + [measure() for measure in measures[1:]], seconds


def _print_json(
    name: str, metric: str, count: int, values: list[float], seconds: float
) -> None:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    line = {"set": name, "metric": metric, "n": count, "mean": float(np.mean(values))}
    line |= {"std": deviation, "values": values, "seconds": round(seconds, 3)}
    print(json.dumps(line), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", metavar="TRAIN", help="folder of images by class")
    parser.add_argument(
        "weights", metavar="WEIGHTS", help="Inception weights that cover the tap"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for features")
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="SAMPLES.npz",
        help="output of launch.py --mode sample (default: no run is compared)",
    )
    parser.add_argument("--tap", default="768", help="default: %(default)s")
    parser.add_argument(
        "--counts",
        default="1000,5000",
        metavar="N,N",
        help="images per set (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        default=5,
        help="seeds of the directions (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the halves (default: %(default)s)"
    )
    parser.add_argument(
        "--portion",
        type=int,
        default=500,
        help="images per file of features, a divisor of the largest count (default: "
        "%(default)s)",
    )
    return parser


if __name__ == "__main__":
    main()
