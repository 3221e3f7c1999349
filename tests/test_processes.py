"""Two processes train one run: the same losses as one, and one set of files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_gan
import tiny_runs
from PIL import Image

from sagan_jax.commands import sample
from sagan_jax.workdir import run as run_lib

# Eight devices in one process, or four in each of two; images of different sizes.
CHANGES: dict[str, Any] = {
    "mesh__devices": 0,
    "train__batch_size": 8,
    "train__steps": 5,
    "train__checkpoint_every": 3,
    "data__source": "folder",
    "data__path": "images",
    "data__horizontal_flip": True,
    "data__random_crop": True,
    "model__num_classes": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Returns the working directory, which contains the images."""
    path = tmp_path_factory.mktemp("processes")
    random = np.random.default_rng(0)
    for index in range(12):
        pixels = random.integers(256, size=(40 + index, 60 - index, 3), dtype=np.uint8)
        file = path / "images" / "ab"[index % 2] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    before = Path.cwd()
    os.chdir(path)
    yield path
    os.chdir(before)


def _by_two(program: str, *arguments: str, folder: Path) -> list[str]:
    """Runs a program as two processes, and returns the output of each."""
    port = 40_000 + os.getpid() % 20_000
    path = Path(__file__).with_name(program)
    started = [
        subprocess.Popen(
            [sys.executable, str(path), str(port), str(rank), *arguments],
            env=os.environ
            | {
                "JAX_NUM_CPU_DEVICES": "4",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = [process.communicate(timeout=500) for process in started]
    assert [process.returncode for process in started] == [0, 0], found
    return [out for out, _ in found]


@pytest.fixture(scope="module")
def one(folder: Path) -> Path:
    workdir = folder / "one"
    tiny_runs.train(tiny_runs.config(**CHANGES), workdir)
    return workdir


@pytest.fixture(scope="module")
def two(folder: Path) -> Path:
    workdir = folder / "two"
    _by_two("trained_by_processes.py", str(workdir), folder=folder)
    return workdir


def test_losses_equal_those_of_one_process(one: Path, two: Path) -> None:
    ours, theirs = (tiny_runs.read_metrics(workdir) for workdir in (two, one))
    assert [line["step"] for line in ours] == [1, 2, 3, 4, 5]
    for name in ("loss/generator", "loss/discriminator"):
        np.testing.assert_allclose(
            [line[name] for line in ours], [line[name] for line in theirs], rtol=1e-5
        )


def test_files_are_the_same_as_of_one_process(one: Path, two: Path) -> None:
    def names(workdir: Path) -> list[str]:
        found = (path.relative_to(workdir) for path in workdir.rglob("*"))
        return sorted(
            str(path)
            for path in found
            if path.parts[0] not in ("checkpoints", "tensorboard")
        )

    assert names(two) == names(one)
    assert tiny_runs.steps(two) == tiny_runs.steps(one) == [3, 5]


def test_a_run_of_two_processes_can_be_resumed_in_one(
    two: Path, tmp_path: Path
) -> None:
    workdir = Path(shutil.copytree(two, tmp_path / "run"))
    run = tiny_runs.train(tiny_runs.config(**CHANGES | {"train__steps": 6}), workdir)
    assert "resumed at step 5\n" in run.output
    assert [line["step"] for line in tiny_runs.read_metrics(workdir)] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]


def test_two_processes_sample_together_and_one_writes(
    two: Path, folder: Path, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "two", tmp_path / "one"
    _by_two("sampled_by_processes.py", str(two), str(ours), folder=folder)
    with tiny_gan.quick_compiles():
        run = run_lib.open_run(two)
        sample.save(run, kind="npz", count=37, out=theirs / "samples.npz")
        sample.save(run, kind="images", count=5, out=theirs / "images")
        sample.save(run, out=theirs / "sheet.png")
        sample.save(run, kind="neighbours", count=7, out=theirs / "neighbours.png")
    with np.load(ours / "samples.npz") as a, np.load(theirs / "samples.npz") as b:
        for name in ("images", "labels", "made_by"):
            np.testing.assert_array_equal(a[name], b[name])
    found, expected = tiny_runs.tree_of(ours), tiny_runs.tree_of(theirs)
    for tree in (found, expected):
        del tree["samples.npz"]  # a zip holds the time of its members
    assert found == expected
