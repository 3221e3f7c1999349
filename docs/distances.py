"""Frechet distances on CIFAR-10: two halves of real images, a run, and spoilt images.

    python docs/distances.py TRAIN SAMPLES.npz WEIGHTS OUT

TRAIN is a folder of the training images by class, SAMPLES.npz comes of
`launch.py --mode sample --to npz`, and WEIGHTS may cover the network's first taps only.
Features are kept in OUT, so that the command goes on where it was stopped; the table is
printed from them. Everything is measured against the second half, B.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from sagan_jax.data.folder import FolderSource
from sagan_jax.extractors import features, inception_weights
from sagan_jax.metrics import class_fidelity, fid, intra_fid

TAPS = ("192", "768")
FEW, MANY = 5_000, 25_000
PORTION = 500  # images between two files

Images = Callable[[int], np.ndarray]


def blurred(images: Images) -> Images:
    """Returns images after a Gaussian blur of one pixel."""

    def image(index: int) -> np.ndarray:
        picture = Image.fromarray(images(index))
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(1)))

    return image


def noisy(images: Images, deviation: float) -> Images:
    """Returns images with normal noise added, clipped to 0..255."""

    def image(index: int) -> np.ndarray:
        draw = np.random.default_rng([7, index]).normal(0, deviation, (32, 32, 3))
        return np.clip(np.round(images(index) + draw), 0, 255).astype(np.uint8)

    return image


def noise(index: int) -> np.ndarray:
    """Returns an image of uniform random levels."""
    return (
        np.random.default_rng([8, index]).integers(256, size=(32, 32, 3)).astype("u1")
    )


def measured(
    out: Path, name: str, images: Images, count: int, extractor: features.Extractor
) -> dict[str, np.ndarray]:
    """Returns {tap: [count, d]}, reading what is there and making what is missing."""
    parts = []
    for start in range(0, count, PORTION):
        path = out / f"{name}_{start:06d}.npz"
        if not path.exists():
            found = extractor(np.stack([images(start + i) for i in range(PORTION)]))
            beside = path.with_suffix(".tmp")
            with beside.open("wb") as file:
                np.savez(file, **found)
            beside.replace(path)
        with np.load(path) as part:
            parts.append({tap: part[tap] for tap in TAPS})
    return {tap: np.concatenate([part[tap] for part in parts]) for tap in TAPS}


def linear_classifier(
    rows: np.ndarray, labels: np.ndarray
) -> class_fidelity.Classifier:
    """Returns a ridge regression of classes on standardised features."""
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6

    def design(rows: np.ndarray) -> np.ndarray:
        return np.hstack([(rows - mean) / deviation, np.ones((len(rows), 1))])

    known = design(rows.astype(np.float64))
    gram = known.T @ known + len(rows) * 0.1 * np.eye(known.shape[1])
    weights_of_classes = np.linalg.solve(gram, known.T @ np.eye(10)[labels])
    return lambda rows: design(rows) @ weights_of_classes


def main(train: str, samples: str, weight_file: str, folder: str) -> None:
    """Prints a line of JSON for each comparison."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    extractor = features.Extractor(inception_weights.read(weight_file), TAPS)
    source = FolderSource(train, resolution=32)
    order = np.random.default_rng(0).permutation(len(source))
    halves = order[:MANY], order[MANY : 2 * MANY]
    labels = [
        np.array([source[int(i)]["label"] for i in half[:FEW]], int) for half in halves
    ]
    with np.load(samples) as arrays:
        generated, asked = arrays["images"], arrays["labels"].astype(int)
    shown = np.random.default_rng(1).permutation(MANY)  # labels of samples go round

    def a(index: int) -> np.ndarray:
        return source[int(halves[0][index])]["image"]

    def b(index: int) -> np.ndarray:
        return source[int(halves[1][index])]["image"]

    def run(index: int) -> np.ndarray:
        return generated[shown[index]]

    sets: dict[str, Images] = {"A": a, "run": run, "blur": blurred(a), "noise": noise}
    sets["noisy"] = noisy(a, 25.0)
    reference = measured(out, "B", b, FEW, extractor)
    found = {
        name: measured(out, name, image, FEW, extractor) for name, image in sets.items()
    }
    classes = {"A": labels[0], "run": asked[shown[:FEW]]}
    shuffled = np.random.default_rng(2).permutation(classes["run"])
    # The classifier takes features for images: those it was made of are at hand.
    classify = linear_classifier(reference["768"], labels[1])
    for name, rows, asked_for in (
        ("A", found["A"], classes["A"]),
        ("run", found["run"], classes["run"]),
        ("run, labels shuffled", found["run"], shuffled),
    ):
        value = class_fidelity.class_fidelity([rows["768"]], asked_for, classify)
        tell(set=name, metric="class fidelity", n=FEW, value=value)
    for tap in TAPS:
        for name, rows in found.items():
            value = fid.frechet_distance(reference[tap], rows[tap])
            tell(set=name, metric=f"FD-{tap}", n=FEW, value=value)
        for name, rows, asked_for in (
            ("A", found["A"], classes["A"]),
            ("run", found["run"], classes["run"]),
            ("run, labels shuffled", found["run"], shuffled),
        ):
            value = intra_fid.intra_frechet_distance(
                reference[tap], labels[1], rows[tap], asked_for
            ).mean
            tell(set=name, metric=f"FD-{tap} by class", n=FEW // 10, value=value)
    reference = measured(out, "B", b, MANY, extractor)
    for name in ("A", "run"):
        rows = measured(out, name, sets[name], MANY, extractor)
        for tap in TAPS:
            value = fid.frechet_distance(reference[tap], rows[tap])
            tell(set=name, metric=f"FD-{tap}", n=MANY, value=value)


def tell(**facts: object) -> None:
    """Prints one line."""
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
