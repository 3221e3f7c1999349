"""Each benchmark runs on a tiny input and prints plausible lines."""

import json
import sys

import numpy as np
import pytest
import tiny_gan
from image_files import write
from inception_recipe import arrays
from PIL import Image
from scripts import ROOT, load

from sagan_jax.extractors import dinov2_layers, inception_weights
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


@pytest.fixture
def in_process(monkeypatch):
    """Returns a benchmark whose measurements are made in this process."""

    def prepare(path):
        script = load(path)

        class Side:
            name = script.paired.HERE
            ask = staticmethod(script.measure)
            close = staticmethod(lambda: None)

        monkeypatch.setattr(script.paired, "sides", lambda *_: [Side()])
        return script

    return prepare


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


def test_input_throughput(in_process, photos, capsys):
    in_process("benchmarks/input_throughput.py").main(
        [str(photos), "--resolution=16", "--threads=1", "--seconds=.05", "--rounds=1"]
    )
    (line,) = lines(capsys)
    assert line.items() >= {"path": str(photos), "resolution": 16, "threads": 1}.items()
    assert line["here"]["images_per_cpu_second"]["median"] > 0


def test_a_step_as_long_as_a_batch_hides_the_pipeline(in_process, photos, capsys):
    command = ["--resolution=16", "--threads=1", "--batch=4", "--rounds=1", "--steps=3"]
    in_process("benchmarks/input_throughput.py").main(
        [str(photos), *command, "--step=sleep", "--step_ms=40"]
    )
    (line,) = lines(capsys)
    found = {name: spread["median"] for name, spread in line["here"].items()}
    for name in ("disk", "memory"):
        assert found[f"{name}_ms"] >= 40
        assert found[f"{name}_waited_ms"] <= found[f"{name}_ms"] - 40 + 1
    ratio = found["disk_ms"] / found["memory_ms"]
    assert found["disk_over_memory"] == pytest.approx(ratio, rel=1e-3)  # four digits


@pytest.mark.slow  # 18 s on two cores, nearly all of it compiling
def test_a_step_of_a_tiny_network(in_process, photos, capsys):
    command = ["--resolution=32", "--threads=1", "--batch=2", "--rounds=1", "--steps=1"]
    with tiny_gan.quick_compiles():
        in_process("benchmarks/input_throughput.py").main(
            [str(photos), *command, "--step=train"]
        )
    (line,) = lines(capsys)
    assert line["here"]["disk_ms"]["median"] > 0


def test_made_photographs_have_the_size_of_those_of_imagenet(tmp_path):
    load("benchmarks/input_throughput.py").make_photographs(tmp_path, 3)
    files = sorted(tmp_path.glob("[ab]/*.jpg"))
    sizes = []
    for file in files:
        with Image.open(file) as image:
            sizes.append(image.size)
    assert sorted(sizes) == [(375, 500), (500, 375), (500, 375)]
    assert all(80_000 < file.stat().st_size < 130_000 for file in files)


def test_sampling(in_process, tmp_path, capsys):
    command = ["--width=4", "--batches", "2", "--images=5", "--rounds=2"]
    with tiny_gan.quick_compiles():
        in_process("benchmarks/sampling.py").main(
            [*command, "--out", str(tmp_path / "out.jsonl")]
        )
    (line,) = lines(capsys)
    assert line.items() >= {"config": "quickstart", "batch": 2, "images": 5}.items()
    speed = line["here"]["images_per_second"]
    assert 0 < speed["min"] <= speed["median"] <= speed["max"]
    assert json.loads((tmp_path / "out.jsonl").read_text()) == line


def test_inception_without_torch_fidelity(capsys, monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "1")  # of the worker: smaller passes
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    load("benchmarks/inception.py").main(
        ["--rounds=1", "--images=1", "--size=8", "--torch", sys.executable]
    )
    found = {line["side"]: line for line in lines(capsys) if "side" in line}
    assert found["sagan_jax"]["images_per_second"] > 0
    assert found.keys() == {"sagan_jax", "torch_fidelity"}


def test_dinov2_compares_both_sides_round_by_round():
    program = load("benchmarks/dinov2.py")
    ours = {"seconds": 2.0, "first": [1.0, 4.0], "megabytes": 5}
    theirs = {"seconds": 3.0, "first": [1.0, 5.0], "megabytes": 7}
    assert program._comparison([[ours, theirs], [ours, theirs | {"seconds": 4.0}]]) == {
        "times_faster": 1.75,
        "of_each_round": [1.5, 2.0],
        "peak_megabytes": [5, 7],
        "largest_relative_difference": 0.2,
    }
    assert program._report("a", 6, [2.0, 3.0, 6.0])["images_per_second"] == 2


def test_the_random_weights_of_dinov2_are_those_of_a_network():
    arrays = load("benchmarks/dinov2.py").random_arrays("dinov2-s")
    shapes = dinov2_layers.shapes(dinov2_layers.SIZES["dinov2-s"])
    assert {name: array.shape for name, array in arrays.items()} == shapes
