"""Programs in benchmarks/ and tools/, which are not modules of a package."""

import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[1]


def load(path):
    """Returns the program `path`, relative to the repository, as a module."""
    place = ROOT / path
    spec = importlib.util.spec_from_file_location(f"script_{place.stem}", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
