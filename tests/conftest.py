"""What every test runs under: 8 CPU devices, no rank promotion, an own cache."""

import atexit
import os
import pathlib
import shutil
import tempfile

import pytest

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# What is remembered of folders and compiled must not come from, or go to, the user's.
_CACHE = tempfile.mkdtemp(prefix="sagan_jax_tests_")
os.environ["XDG_CACHE_HOME"] = _CACHE
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real images and weights, which stays out of the repository."""
    if not SHARED.is_dir():
        pytest.skip("real images and weights are not in the repository")
    return SHARED
