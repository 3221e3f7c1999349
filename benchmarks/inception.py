"""Images per second through the Inception network: ours and torch-fidelity's.

    python benchmarks/inception.py [--torch PYTHON] [--rounds 6] [--batch 32]

Both sides compute the features at tap 2048 and the logits, from the same uint8 images
and random weights. They take turns, so that other work on the machine affects both.
PYTHON is an interpreter that has torch-fidelity, by default this one. Prints one line
of JSON per side, and a last one that compares them.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TAPS = ("2048", "logits_unbiased")


def main(argv: Sequence[str] | None = None) -> None:
    """Measures both sides in turns, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--batch", type=int, default=32, help="batch size of torch-fidelity"
    )
    parser.add_argument("--images", type=int, default=64, help="images per round")
    parser.add_argument("--size", type=int, default=32, help="image size in pixels")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--inputs", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        work(WORKERS[options.worker](options.inputs, options.batch))
        return
    with tempfile.TemporaryDirectory() as folder:
        inputs = str(Path(folder, "inputs.npz"))
        save_inputs(inputs, options.images, options.size)
        ours = Side("sagan_jax", sys.executable, inputs, options.batch)
        theirs = Side("torch_fidelity", options.torch, inputs, options.batch)
        sides = [side for side in (ours, theirs) if side.start()]
        for _ in range(options.rounds):
            for side in sides:
                side.measure()
        for side in sides:
            print(json.dumps(side.report(options.images)), flush=True)
            side.stop()
        if len(sides) == 2:
            print(json.dumps(comparison(ours, theirs)))


def save_inputs(path: str, images: int, size: int) -> None:
    """Writes random images, and random weights that preserve the activations' scale."""
    from sagan_jax.extractors import inception_layers

    rng = np.random.default_rng(0)
    weights: dict[str, Any] = {}
    for name, shape in inception_layers.shapes().items():
        if name.endswith(("conv.weight", "fc.weight")):
            weights[name] = rng.standard_normal(shape, np.float32)
            weights[name] *= np.sqrt(2 / np.prod(shape[1:]), dtype=np.float32)
        elif name.endswith(("bn.weight", "running_var")):
            weights[name] = np.ones(shape, np.float32)
        else:
            weights[name] = np.zeros(shape, np.float32)
    pixels = rng.integers(0, 256, (images, size, size, 3), np.uint8)
    np.savez(path, images=pixels, **weights)


class Side:
    """A process that extracts features of the same images on every request."""

    def __init__(self, name: str, python: str, inputs: str, batch: int) -> None:
        """Prepares the command without starting it."""
        self.name = name
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self.load: list[float] = []
        self._command = [python, __file__, "--worker", name, "--inputs", inputs]
        self._command += ["--batch", str(batch)]

    def start(self) -> bool:
        """Starts the process, and returns whether it works; prints why if not."""
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.about = self._ask()
        if "skipped" in self.about:
            print(json.dumps({"side": self.name, **self.about}), flush=True)
            self.stop()
        return "skipped" not in self.about

    def measure(self) -> None:
        """Runs one round."""
        self.load.append(os.getloadavg()[0])
        answer = self._ask("go")
        self.seconds.append(answer["seconds"])
        self.cpu_seconds.append(answer["cpu_seconds"])
        self.features = answer["features"]

    def report(self, images: int) -> dict[str, Any]:
        """Returns the results of all rounds."""
        return {
            "side": self.name,
            "images_per_second": round(images / float(np.median(self.seconds)), 2),
            "of_each_round": [round(images / each, 2) for each in self.seconds],
            "cpu_ms_per_image": round(
                1e3 * float(np.median(self.cpu_seconds)) / images, 1
            ),
            "load_before_each": [round(each, 1) for each in self.load],
            **self.about,
        }

    def stop(self) -> None:
        """Ends the process."""
        self._process.communicate()  # closes stdin, which ends the worker

    def _ask(self, word: str = "") -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if word:
            self._process.stdin.write(word.encode() + b"\n")
            self._process.stdin.flush()
        return pickle.load(self._process.stdout)


def comparison(ours: Side, theirs: Side) -> dict[str, Any]:
    """Returns the ratio of speeds, and the largest difference of the features."""
    ratios = np.divide(theirs.seconds, ours.seconds)
    differences = {
        tap: float(
            np.abs(ours.features[tap] - theirs.features[tap]).max()
            / np.abs(theirs.features[tap]).max()
        )
        for tap in TAPS
    }
    return {
        "times_faster": round(float(np.median(ratios)), 2),
        "of_each_round": [round(float(each), 2) for each in ratios],
        "largest_relative_difference": differences,
    }


def work(worker: Iterator[Any]) -> None:
    """Answers each line of stdin with a timed run, after a first answer of facts."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not mix with the answers

    def answer(content: dict[str, Any]) -> None:
        pickle.dump(content, answers)
        answers.flush()

    try:
        about, extract = next(worker), next(worker)
    except ImportError as error:
        answer({"skipped": f"{error}; pass an interpreter that has it as --torch."})
        return
    extract()  # compiles, and warms the caches
    answer(about)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        features = extract()
        answer(
            {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": time.process_time() - cpu,
                "features": features,
            }
        )


def sagan_jax(inputs: str, batch: int) -> Iterator[Any]:
    """Yields facts about our network, then the function to measure."""
    del batch  # ours depends on the device
    import jax

    from sagan_jax.extractors.features import Extractor
    from sagan_jax.extractors.inception_weights import Weights

    with np.load(inputs) as file:
        arrays = dict(file)
    images = arrays.pop("images")
    extractor = Extractor(Weights(arrays), TAPS)
    yield {
        "versions": f"jax {jax.__version__}",
        "device": jax.devices()[0].device_kind,
        "batch": extractor.batch_size,
        "size": images.shape[1],
    }
    yield lambda: extractor(images)


def torch_fidelity(inputs: str, batch: int) -> Iterator[Any]:
    """Yields facts about torch-fidelity, then the function to measure."""
    import torch
    import torch_fidelity as library
    from torch_fidelity.feature_extractor_inceptionv3 import (
        FeatureExtractorInceptionV3,
    )

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with np.load(inputs) as file:
        arrays = dict(file)
    images = torch.from_numpy(arrays.pop("images")).permute(0, 3, 1, 2)
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for name in list(state):
        if name.endswith("running_var"):
            counter = name.replace("running_var", "num_batches_tracked")
            state[counter] = torch.tensor(0)
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(state, file.name)
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", list(TAPS), feature_extractor_weights_path=file.name
        ).to(device)
    yield {
        "versions": f"torch-fidelity {library.__version__}, torch {torch.__version__}",
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": torch.get_num_threads(),
        "batch": batch,
        "size": images.shape[-1],
    }

    def extract() -> dict[str, np.ndarray]:
        parts = []
        with torch.no_grad():
            for part in images.contiguous().split(batch):
                parts.append([each.cpu() for each in network(part.to(device))])
        whole = [torch.cat(each).numpy() for each in zip(*parts, strict=True)]
        return dict(zip(TAPS, whole, strict=True))

    yield extract


WORKERS: dict[str, Callable[[str, int], Iterator[Any]]] = {
    "sagan_jax": sagan_jax,
    "torch_fidelity": torch_fidelity,
}

if __name__ == "__main__":
    main()
