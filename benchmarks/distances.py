"""Frechet distances on CIFAR-10: real images, a run, and corrupted real images.

    python benchmarks/distances.py TRAIN SAMPLES.npz WEIGHTS OUT

Everything is compared with the second half, B, of the real images. Prints one line of
JSON per comparison. Features are cached in OUT, so an interrupted command continues
where it stopped.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from sagan_jax.data.folder import FolderSource
from sagan_jax.extractors import features, inception_weights
from sagan_jax.files import whole
from sagan_jax.metrics import class_fidelity, fid, intra_fid

SIDE = 32

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
Images = Callable[[int], Pixels]
"""Maps an index to an image [32, 32, 3]."""
Rows = dict[str, NDArray[np.float32]]
"""Features [N, d] by tap."""


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line of JSON for each comparison."""
    options = _parser().parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    taps, few, many = options.taps.split(","), options.few, options.many
    extractor = features.Extractor(inception_weights.read(options.weights), taps)
    source = FolderSource(options.train, resolution=SIDE)
    order = np.random.default_rng(0).permutation(len(source))
    halves = order[:many], order[many : 2 * many]
    labels = [
        np.array([source[int(i)]["label"] for i in half[:few]], int) for half in halves
    ]
    with np.load(options.samples) as arrays:
        generated, asked = arrays["images"], arrays["labels"].astype(int)
    shown = np.random.default_rng(1).permutation(many)  # labels of samples are periodic

    def a(index: int) -> Pixels:
        return source[int(halves[0][index])]["image"]

    def b(index: int) -> Pixels:
        return source[int(halves[1][index])]["image"]

    def run(index: int) -> Pixels:
        return generated[shown[index]]

    def measured(name: str, images: Images, count: int) -> Rows:
        return features_of(options.out, name, images, count, extractor, options.portion)

    sets: dict[str, Images] = {"A": a, "run": run, "blur": blurred(a), "noise": noise}
    sets["noisy"] = noisy(a, 25.0)
    reference = measured("B", b, few)
    found = {name: measured(name, images, few) for name, images in sets.items()}
    _compare_classes(reference, found, labels, asked[shown[:few]], source.num_classes)
    _compare(reference, found, few)
    if many > few:
        reference = measured("B", b, many)
        large = {name: measured(name, sets[name], many) for name in ("A", "run")}
        _compare(reference, large, many)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", metavar="TRAIN", help="folder of images by class")
    parser.add_argument(
        "samples", metavar="SAMPLES.npz", help="output of launch.py --mode sample"
    )
    parser.add_argument(
        "weights", metavar="WEIGHTS", help="Inception weights that cover the taps"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for features")
    parser.add_argument("--taps", default="192,768", help="default: %(default)s")
    parser.add_argument(
        "--few", type=int, default=5_000, help="images per set (default: %(default)s)"
    )
    parser.add_argument(
        "--many",
        type=int,
        default=25_000,
        help="images per half of TRAIN, for the second comparison of A and the run "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--portion",
        type=int,
        default=500,
        help="images per file of features, a divisor of both (default: %(default)s)",
    )
    return parser


def blurred(images: Images) -> Images:
    """Returns images after a Gaussian blur of one pixel."""

    def image(index: int) -> Pixels:
        picture = Image.fromarray(images(index))
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(1)))

    return image


def noisy(images: Images, deviation: float) -> Images:
    """Returns images with normal noise added, clipped to 0..255."""

    def image(index: int) -> Pixels:
        draw = np.random.default_rng([7, index]).normal(0, deviation, (SIDE, SIDE, 3))
        return np.clip(np.round(images(index) + draw), 0, 255).astype(np.uint8)

    return image


def noise(index: int) -> Pixels:
    """Returns an image of uniform noise."""
    draw = np.random.default_rng([8, index])
    return draw.integers(256, size=(SIDE, SIDE, 3)).astype("u1")


def linear_classifier(
    rows: NDArray[np.float32], labels: Labels, num_classes: int
) -> class_fidelity.Classifier:
    """Returns a ridge regression from standardised features to classes."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6

    def design(rows: NDArray[Any]) -> NDArray[Any]:
        return np.hstack([(rows - mean) / deviation, np.ones((len(rows), 1))])

    known = design(rows.astype(np.float64))
    gram = known.T @ known + len(rows) * 0.1 * np.eye(known.shape[1])
    kernel = np.linalg.solve(gram, known.T @ np.eye(num_classes)[labels])
    return lambda rows: design(rows) @ kernel


def features_of(
    out: Path,
    name: str,
    images: Images,
    count: int,
    extractor: features.Extractor,
    portion: int,
) -> Rows:
    """Returns features [count, d] by tap; computes those that are not in `out`."""
    parts = []
    for start in range(0, count, portion):
        path = out / f"{name}_{start:06d}.npz"
        if not path.exists():
            found = extractor(np.stack([images(start + i) for i in range(portion)]))
            with whole.replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **found)
        with np.load(path) as part:
            parts.append({tap: part[tap] for tap in extractor.taps})
    return {
        tap: np.concatenate([part[tap] for part in parts]) for tap in extractor.taps
    }


def _compare(reference: Rows, sets: dict[str, Rows], count: int) -> None:
    """Prints the Frechet distance of each set at each tap."""
    for tap, real in reference.items():
        for name, rows in sets.items():
            value = fid.frechet_distance(real, rows[tap])
            _print_json(set=name, metric=f"FD-{tap}", n=count, value=value)


def _compare_classes(
    reference: Rows,
    sets: dict[str, Rows],
    labels: Sequence[Labels],
    asked: Labels,
    num_classes: int,
) -> None:
    """Prints class fidelity, and the Frechet distance within classes."""
    shuffled = np.random.default_rng(2).permutation(asked)
    cases = (
        ("A", sets["A"], labels[0]),
        ("run", sets["run"], asked),
        ("run, labels shuffled", sets["run"], shuffled),
    )
    last = list(reference)[-1]
    # The classifier takes features instead of images: they are already computed.
    classify = linear_classifier(reference[last], labels[1], num_classes)
    count = len(asked)
    for name, rows, wanted in cases:
        value = class_fidelity.class_fidelity([rows[last]], wanted, classify)
        _print_json(set=name, metric="class fidelity", n=count, value=value)
    for tap, real in reference.items():
        for name, rows, wanted in cases:
            value = intra_fid.intra_frechet_distance(
                real, labels[1], rows[tap], wanted
            ).mean
            metric = f"FD-{tap} by class"
            _print_json(set=name, metric=metric, n=count // num_classes, value=value)


def _print_json(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
