"""A few hundred images, with and without DiffAugment: what helps, and what leaks.

    python benchmarks/small_data.py FOLDER WEIGHTS OUT [--count 200] [--steps 2000]

FOLDER has images by class. COUNT of them become OUT/train, the same number
OUT/held_out, equally many of each class. `experiments/custom.py:OUT/train` is then
trained twice, alike but for `regularizers.augment`. Prints one line of JSON per run:
the Frechet distance of samples to the training and to the held-out images, the share
of samples that are closer to a training image than held-out ones are, the margin of
the discriminator between training and held-out images, and the leak of each
augmentation next to its null. A first line has the distance of the training images to
the held-out ones: the floor. Runs that are finished are measured again, not trained
again.
"""

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from experiments import custom
from sagan_jax import pixels
from sagan_jax.commands import train
from sagan_jax.config import Config
from sagan_jax.data.folder import FolderSource
from sagan_jax.evaluation import generator, memorisation, sampling
from sagan_jax.extractors import features, inception_weights
from sagan_jax.metrics import fid
from sagan_jax.metrics.leak import STATISTICS, Leak, leak
from sagan_jax.training import augment
from sagan_jax.workdir import run as run_lib

Images = NDArray[np.uint8]

POLICIES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "diffaugment": ("color", "translation", "cutout"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line of JSON for each run."""
    options = _parser().parse_args(argv)
    split(options.folder, options.out, options.count)
    extractor = features.Extractor(
        inception_weights.read(str(options.weights)), [options.tap]
    )
    real, fresh = (
        _images(options.out / name, options.side) for name in ("train", "held_out")
    )
    rows = [extractor(images)[options.tap] for images in (real, fresh)]
    floor = fid.frechet_distance(*rows)
    print(json.dumps({"run": "training images", "held_out": floor, "tap": options.tap}))
    for name, policy in POLICIES.items():
        config = _config(options, name, policy)
        train.train(config, options.out / name)
        found = measured(config, options.out / name, real, fresh)
        sampled = extractor(found.pop("samples"))[options.tap]
        distances = {
            "train": fid.frechet_distance(rows[0], sampled),
            "held_out": fid.frechet_distance(rows[1], sampled),
        }
        print(json.dumps({"run": name, **distances, **found}), flush=True)


def split(folder: Path, out: Path, count: int) -> None:
    """Copies `count` images to out/train and as many to out/held_out, by class."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    each = count // len(classes)
    for where, start in (("train", 0), ("held_out", each)):
        for path in classes:
            target = out / where / path.name
            target.mkdir(parents=True, exist_ok=True)
            files = sorted(path.iterdir())[start : start + each]
            if len(files) < each:
                sys.exit(f"error: {path} has too few images; lower --count.")
            for file in files:
                shutil.copy(file, target / file.name)


def measured(
    config: Config, workdir: Path, real: Images, fresh: Images
) -> dict[str, Any]:
    """Returns what a run's checkpoint says of memorisation and leaks, and samples."""
    run = run_lib.open_run(workdir)
    run = dataclasses.replace(run, config=config)
    network, variables, _, step = generator.load(run)
    labels = sampling.balanced_labels(len(real), config.model.num_classes)
    near = memorisation.measure(config, network, variables, labels)
    closer = near.spaces[0].closer
    augmented = {
        name: np.asarray(augment.augment(_decoded(real), jax.random.key(0), (name,)))
        for name in STATISTICS
    }
    leaks = {
        name: {
            "samples": _shares(leak(name, real, augmented[name], near.samples)),
            "null": _shares(leak(name, real, augmented[name], fresh)),
        }
        for name in STATISTICS
    }
    return {
        "step": step,
        "closer_than_held_out": closer and round(closer.share, 4),
        "margin": round(_margin(run, real, fresh), 4),
        "leaks": leaks,
        "samples": near.samples,
    }


def _shares(found: Leak) -> list[float]:
    """Returns the leak and the ends of its interval."""
    return [round(value, 3) for value in (found.leak, *found.interval)]


def _margin(run: run_lib.Run, real: Images, fresh: Images) -> float:
    """Returns mean D(training images) - mean D(held-out images)."""
    network, variables, _ = run.load_discriminator()
    classes = run.config.model.num_classes
    judge = jax.jit(network.apply)

    def mean(images: Images) -> float:
        # Images are sorted by class, equally many of each.
        labels = np.arange(len(images)) * classes // len(images) if classes else None
        logits: Any = judge(variables, _decoded(images), labels)
        return float(logits.mean())

    return mean(real) - mean(fresh)


def _decoded(images: Images) -> jax.Array:
    return jax.numpy.asarray(pixels.decode(images))


def _images(folder: Path, side: int) -> Images:
    source = FolderSource(str(folder), resolution=side)
    return np.stack([source[index]["image"] for index in range(len(source))])


def _config(options: argparse.Namespace, name: str, policy: tuple[str, ...]) -> Config:
    config = custom.get_config(str(options.out / "train"))
    config.name = name
    config.model.resolution = options.side
    config.model.attention_resolutions = (options.side // 2,)
    config.train.steps = options.steps
    config.train.seed = options.seed
    config.model.width = options.width or config.model.width
    config.train.batch_size = options.batch_size or config.train.batch_size
    config.train.log_every = 50
    config.train.sample_every = config.train.checkpoint_every = options.steps // 4
    config.regularizers.augment = policy
    config.evaluation.held_out = str(options.out / "held_out")
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images by class")
    parser.add_argument(
        "weights", type=Path, metavar="WEIGHTS", help="Inception weights with the tap"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for both runs")
    for name, default, words in (
        ("count", 200, "training images, and as many held-out ones"),
        ("steps", 2000, "steps of each run"),
        ("side", 32, "resolution"),
        ("width", 0, "width; 0: as custom.py chooses"),
        ("batch_size", 0, "batch size; 0: as custom.py chooses"),
        ("seed", 0, "seed of both runs"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, help=f"{words}; default: {default}"
        )
    parser.add_argument("--tap", default="64", help="Inception layer; default: 64")
    return parser


if __name__ == "__main__":
    main()
