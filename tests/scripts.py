"""Programs in benchmarks/ and tools/, which are not modules of a package."""

import importlib.util
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def load(path):
    """Returns the program `path`, relative to the repository, as a module."""
    place = ROOT / path
    spec = importlib.util.spec_from_file_location(f"script_{place.stem}", place)
    module = importlib.util.module_from_spec(spec)
    # Programs import their neighbours, as `python PATH` lets them.
    sys.path.insert(0, str(place.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(place.parent))
    return module
