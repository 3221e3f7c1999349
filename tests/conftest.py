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

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """Returns the folder of real images and weights, which the repository omits."""
    if not SHARED.is_dir():
        pytest.skip("real images and weights are not in the repository")
    return SHARED
