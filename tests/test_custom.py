"""The experiment for your own images: its argument, its errors, and a run."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from image_files import assert_says, encoded, put
from PIL import Image

from experiments import custom
from sagan_jax import autoconfig
from sagan_jax import config as config_lib
from sagan_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
FILE = str(ROOT / "experiments" / "custom.py")
MISSING = ("experiments/custom.py needs your images", "experiments/custom.py:DIR")


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of four pictures, 40 px high."""
    root = tmp_path_factory.mktemp("own") / "my pets"
    rng = np.random.default_rng(0)
    for number in range(16):
        picture = Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8))
        put(
            root / ("cat", "cow", "dog", "owl")[number % 4] / f"{number}.png",
            encoded(picture),
        )
    return root


@pytest.mark.parametrize("argument", [None, ""])
def test_without_images_the_command_is_shown(argument: str | None) -> None:
    with pytest.raises(UserError) as caught:
        custom.get_config(argument)
    assert_says(str(caught.value), *MISSING)


def test_the_argument_is_the_path_of_the_images(pets: Path) -> None:
    config = custom.get_config(str(pets))
    config_lib.validate(config)
    assert (config.name, config.data.path) == ("my_pets", str(pets))
    assert config.model.num_classes == 4


def test_later_settings_do_not_change_the_next_config(pets: Path) -> None:
    # One command loads the file twice; the choice is made once.
    custom.get_config(str(pets)).train.batch_size = 3
    assert custom.get_config(str(pets)).train.batch_size == 16


def test_smoke_needs_no_images() -> None:
    config = custom.get_config("smoke")
    config_lib.validate(config)
    assert (config.name, config.data.source) == ("custom_smoke", "synthetic")


def test_smoke_keeps_the_algorithm() -> None:
    ours, theirs = custom.get_config("smoke"), autoconfig.recipe("cpu")
    groups = ("optim", "train.loss", "train.order", "train.ema_decay", "train.d_steps")
    groups += ("data.horizontal_flip", "evaluation.statistics", "evaluation.ema")
    assert config_lib.differences(ours, theirs, groups) == []


def test_own_images_train_from_end_to_end(pets: Path, tmp_path: Path) -> None:
    # tiny_runs' program, which is often compiled already, on these images.
    config = tiny_runs.config(train__steps=2, train__log_every=1)
    config.data = custom.get_config(str(pets)).data
    run = tiny_runs.train(config, tmp_path / "run")
    assert " 16 images of 4 classes: cat 4, cow 4, dog 4, owl 4." in run.output
    assert tiny_runs.steps(run.workdir) == [2]
    sheets = sorted(path.name for path in (run.workdir / "samples").iterdir())
    assert sheets == ["real.png", "step_00000000.png", "step_00000002.png"]


# From the command line.


def _launch(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *argv],
        cwd=cwd,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("", MISSING),
        (":", MISSING),
        (
            ":C:nowhere",
            ("experiments/custom.py: 'C:nowhere' does not exist", "directory"),
        ),
        (
            f":{FILE}",
            (f"custom.py: {FILE!r} is neither a directory nor a .zip", "choose"),
        ),
    ],
)
def test_a_wrong_argument_is_answered_in_one_sentence(
    argument: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    answer = _launch(f"--config={FILE}{argument}", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    assert_says(answer.stderr, *parts)
    assert tiny_runs.tree_of(tmp_path) == {}


def test_help_prints_no_choice(pets: Path, tmp_path: Path) -> None:
    answer = _launch(f"--config={FILE}:{pets}", "--help", cwd=tmp_path)
    assert "chosen for" not in answer.stdout + answer.stderr


def test_a_command_prints_its_choice_once_and_accepts_overrides(
    pets: Path, tmp_path: Path
) -> None:
    argv = (f"--config={FILE}:{pets}", "--config.train.steps=7", "--dry_run")
    answer = _launch(*argv, cwd=tmp_path)
    assert answer.returncode == 0, answer
    title, *lines = answer.stdout.partition("workdir: ")[0].splitlines()
    assert_says(title, f"chosen for {str(pets)!r}", "--config.GROUP.FIELD=VALUE")
    assert lines[0] == "  16 images, 4 classes by sub-folder (cat, cow, dog, owl)"
    assert answer.stdout.count("chosen for") == 1
    assert "\nworkdir: runs/my_pets\n" in answer.stdout
    assert '"steps": 7,' in answer.stdout
