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
from sagan_jax.metrics import fid, mind

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


def test_monge(photos, tmp_path, capsys):
    inception_weights.save(Weights(arrays("64")), tmp_path / "w.safetensors")
    (tmp_path / "out").mkdir()
    shifts = {"B": 0.0, "A": 0.0, "blur": 1.0, "noisy": 2.0, "noise": 3.0}
    draw = np.random.default_rng(1)
    rows = {name: shift + draw.normal(size=(16, 5)) for name, shift in shifts.items()}
    for name, found in rows.items():  # as if they had been computed before
        np.savez(tmp_path / "out" / f"{name}_000000.npz", **{"64": found})
    command = [str(photos), str(tmp_path / "w.safetensors"), str(tmp_path / "out")]
    command += ["--tap=64", "--counts=8,16", "--portion=16", "--seeds=3"]
    load("benchmarks/monge.py").main(command)
    found = lines(capsys)
    by = {(line["set"], line["metric"], line["n"]): line for line in found}
    assert len(by) == len(found) == 4 * 2 * 3
    for metric in ("FD-64", "MIND-64"):
        for n, parts in ((8, 2), (16, 1)):
            assert len(by["A", metric, n]["values"]) == parts
        means = [by[name, metric, 16]["mean"] for name in shifts if name != "B"]
        assert means == sorted(means)
    expected = fid.frechet_distance(rows["B"][8:], rows["blur"][8:])
    assert by["blur", "FD-64", 8]["values"][1] == pytest.approx(expected, rel=1e-9)
    drawn = by["blur", "MIND-64, directions", 16]
    expected = mind.drawn_distance(rows["B"], rows["blur"], seed=2)
    assert drawn["values"][2] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(drawn["std"], np.std(drawn["values"], ddof=1))
    assert drawn["seconds"] > 0


def test_monge_compares_different_real_images(photos, tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "samples.npz", images=images)
    sets = load("benchmarks/monge.py")._sets(photos, tmp_path / "samples.npz", 0)
    real = [sets[half](index).tobytes() for half in "AB" for index in range(32)]
    assert len(set(real)) == 64
    assert {sets["run"](index).tobytes() for index in range(8)} == {
        image.tobytes() for image in images
    }


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


def test_small_data_splits_by_class_without_overlap(photos, tmp_path):
    small_data = load("benchmarks/small_data.py")
    small_data.split(photos, tmp_path, 20)
    sets = [
        {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.png")}
        for name in ("train", "held_out")
    ]
    assert not sets[0] & sets[1]
    for found in sets:
        assert [path.parent.name for path in sorted(found)] == ["cat"] * 10 + [
            "dog"
        ] * 10
    with pytest.raises(SystemExit, match="cat has too few images; lower --count"):
        small_data.split(photos, tmp_path, 200)


@pytest.mark.slow
def test_small_data(photos, tmp_path, capsys):
    inception_weights.save(Weights(arrays("64")), tmp_path / "w.safetensors")
    command = [str(photos), str(tmp_path / "w.safetensors"), str(tmp_path / "out")]
    command += ["--count=20", "--steps=4"]
    load("benchmarks/small_data.py").main(command)
    printed = capsys.readouterr().out.splitlines()
    found = [json.loads(line) for line in printed if line.startswith("{")]
    assert [line["run"] for line in found] == [
        "training images",
        "plain",
        "diffaugment",
    ]
    for line in found[1:]:
        assert line["step"] == 4
        assert line["train"] > 0
        assert line["held_out"] > found[0]["held_out"]
        assert 0 <= line["closer_than_held_out"] <= 1
        assert line["leaks"].keys() == {"color", "translation", "cutout"}


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
