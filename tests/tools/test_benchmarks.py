"""Each benchmark runs on a tiny input and prints plausible lines."""

import json
import sys

import numpy as np
import pytest
from image_files import write
from inception_recipe import arrays
from scripts import ROOT, load

from sagan_jax.extractors import inception_weights
from sagan_jax.extractors.inception_weights import Weights

CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 64 images in two classes; dogs are brighter."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        for index in range(32):
            pixels = draw.integers(100 * label, 100 * label + 100, (32, 32, 3))
            write(root / name / f"{index}.png", pixels.astype(np.uint8))
    return root


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_distances(photos, tmp_path, capsys, monkeypatch):
    inception_weights.save(Weights(arrays("64")), tmp_path / "w.safetensors")
    draw = np.random.default_rng(1)
    np.savez(
        tmp_path / "samples.npz",
        images=draw.integers(0, 256, (32, 32, 32, 3), np.uint8),
        labels=np.arange(32) % 2,
    )
    files = [photos, tmp_path / "samples.npz", tmp_path / "w.safetensors"]
    command = [*map(str, files), str(tmp_path / "out"), "--taps=64", "--few=16"]
    command += ["--many=32", "--portion=16"]
    distances = load("benchmarks/distances.py")
    distances.main(command)
    found = lines(capsys)
    names = {(line["set"], line["metric"], line["n"]): line["value"] for line in found}
    assert len(names) == len(found) == 3 + 3 + 5 + 2
    assert names["A", "class fidelity", 16] == 1
    for name in ("run", "noise"):
        assert names["A", "FD-64", 16] < names[name, "FD-64", 16]
    assert names["A", "FD-64", 32] < names["run", "FD-64", 32]

    def fail(*_):
        raise AssertionError("features were computed again")

    monkeypatch.setattr(distances.features.Extractor, "__call__", fail)
    distances.main(command)
    assert lines(capsys) == found


def test_input_pipeline(photos, capsys):
    load("benchmarks/input_pipeline.py").main(
        [str(photos), "--resolution=16", "--threads=1", "--seconds=0.05", "--repeats=1"]
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{photos} at 16 px, threads and cores 1: ")
    assert "images/s per core" in line


def test_inception_without_torch_fidelity(capsys, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # of the worker: smaller passes
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    load("benchmarks/inception.py").main(
        ["--rounds=1", "--images=1", "--size=8", "--torch", sys.executable]
    )
    found = {line["side"]: line for line in lines(capsys) if "side" in line}
    assert found["sagan_jax"]["images_per_second"] > 0
    assert found.keys() == {"sagan_jax", "torch_fidelity"}
