"""Where experiment files are found, and which package `experiments` they see.

test_flags.py has the errors of a file that does not load.
"""

import sys
from pathlib import Path

import pytest

import experiments
from sagan_jax.commands import experiment_files
from sagan_jax.errors import UserError

SHIPPED = ["imagenet128", "imagenet128_best", "quickstart"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another directory, with a package `experiments` of the user's own."""
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "__init__.py").write_text("NAME = 'theirs'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])  # as with python -m
    return folder


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_experiment_is_found_from_any_directory(
    name: str, elsewhere: Path
) -> None:
    # The remedy of a missing --config. The best run imports its base by name.
    assert experiment_files.load(f"experiments/{name}.py").name == name


def test_a_file_as_given_comes_first(elsewhere: Path) -> None:
    (elsewhere / "quickstart.py").write_text(
        "from sagan_jax.config import Config\n"
        "def get_config(): return Config(name='theirs')\n"
    )
    assert experiment_files.load("experiments/quickstart.py").name == "theirs"


def test_a_file_sees_its_siblings_and_then_the_shipped_ones(elsewhere: Path) -> None:
    (elsewhere / "base.py").write_text("WIDTH = 24\n")
    (elsewhere / "mine.py").write_text(
        "from experiments import NAME, base, quickstart\n"
        "def get_config(argument=None):\n"
        "    from experiments import imagenet128  # while the config is made\n"
        "    config = quickstart.get_config(argument)\n"
        "    config.name, config.model.width = NAME, base.WIDTH\n"
        "    return config\n"
    )
    config = experiment_files.load("experiments/mine.py:smoke")
    assert (config.name, config.model.width) == ("theirs", 24)


def test_a_shipped_base_does_not_come_from_the_current_directory(
    elsewhere: Path,
) -> None:
    (elsewhere / "imagenet128.py").write_text("raise ValueError('theirs')\n")
    best = experiment_files.load("experiments/imagenet128_best.py")
    assert best.name == "imagenet128_best"


def test_a_file_of_another_directory_sees_the_shipped_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from experiments.quickstart import get_config\n")
    assert experiment_files.load(str(file)).name == "quickstart"


def test_loading_leaves_no_trace(elsewhere: Path) -> None:
    before = list(sys.path)
    experiment_files.load("experiments/quickstart.py")
    assert sys.path == before
    assert sys.modules["experiments"] is experiments


def test_a_home_directory_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("from experiments.quickstart import get_config\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert experiment_files.load("~/mine.py:smoke").name == "quickstart_smoke"


def test_a_url_is_refused() -> None:
    with pytest.raises(UserError, match=r"^config='gs://b/mine.py' is a URL.*local"):
        experiment_files.load("gs://b/mine.py")
