"""The environment of every test: 8 CPU devices, no rank promotion, its own cache."""

import atexit
import os
import pathlib
import shutil
import tempfile

import pytest

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Tests neither read nor write the user's cache of folders and compiled programs.
_CACHE = tempfile.mkdtemp(prefix="sagan_jax_tests_")
os.environ["XDG_CACHE_HOME"] = _CACHE
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

# Files that take longest, for the order below.
SLOWEST = ("test_processes.py", "test_launch.py", "test_train_step.py", "test_mesh.py")
SLOWEST += (
    "test_goldens.py",
    "test_train.py",
    "test_experiments.py",
    "test_results.py",
)
SLOWEST += ("test_quickstart.py", "test_checkpoint.py", "test_command_lines.py")

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config: pytest.Config) -> None:
    """Lets workers take the files in our order, not those with most tests first."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the slowest files first, so that no worker ends long after the others."""
    items.sort(key=lambda item: item.path.name not in SLOWEST)


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Returns the folder of real images and weights, which the repository omits."""
    if not SHARED.is_dir():
        pytest.skip("real images and weights are not in the repository")
    return SHARED
