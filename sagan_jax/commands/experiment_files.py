"""Experiment files: found as given or next to launch.py, and loaded by their path."""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import sagan_jax
from sagan_jax.config import Config, Sweep
from sagan_jax.errors import UserError, naming
from sagan_jax.files import paths

SHIPPED = Path(sagan_jax.__file__).resolve().parents[1]
"""The directory of launch.py and experiments/: the repository, or site-packages."""

_PACKAGE = "experiments"


def load(value: str) -> Config:
    """Returns the config of 'FILE.py' or 'FILE.py:ARGUMENT'; see `load_any`.

    Raises:
      UserError: no such file, or one that does not return a Config.
    """
    found = load_any(value)
    if isinstance(found, Sweep):
        raise UserError(
            f"config={value!r} is a sweep, and not one experiment; pass the file of an "
            "experiment."
        )
    return found


def load_any(value: str) -> Config | Sweep:
    """Returns the config or the sweep of 'FILE.py' or 'FILE.py:ARGUMENT'.

    A relative FILE is looked for in the current directory, then in `SHIPPED`, so that
    experiments/quickstart.py is found wherever the library is installed.

    Raises:
      UserError: no such file, or one that returns neither.
    """
    path, _, argument = value.partition(":")
    if argument.startswith("//") and not path.endswith(".py"):
        path = value  # a URL
    file = _find(path)
    spec = importlib.util.spec_from_file_location("experiment", file)
    if spec is None or spec.loader is None:
        raise UserError(
            f"config={path!r} is not a Python file; its name must end in .py."
        )
    module = importlib.util.module_from_spec(spec)
    with _siblings_of(file):
        try:
            spec.loader.exec_module(module)
            config = module.get_config(*([argument] if argument else []))
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"config={path!r} does not load ({type(error).__name__}: "
                f"{' '.join(str(error).split())}); fix the file."
            ) from None
    if not isinstance(config, Config | Sweep):
        raise UserError(
            f"config={path!r}: get_config() must return a Config, or a Sweep."
        )
    return config


def _find(path: str) -> Path:
    with naming("config", path):
        given = paths.local(path)
    # An absolute path stays as it is when it is joined.
    with contextlib.suppress(OSError):  # such as a name that is too long
        for file in (given, SHIPPED / given):
            if file.is_file():
                return file
    raise UserError(f"config={path!r} is not a file; try experiments/quickstart.py.")


@contextlib.contextmanager
def _siblings_of(file: Path) -> Iterator[None]:
    """Makes `experiments` the package of the file's siblings, then the shipped one.

    An experiment imports its base by name. Without this, a package `experiments` of the
    user's own in the current directory would hide the shipped one, or the reverse.
    """
    loaded = _set_aside()
    before = list(sys.path)
    folder = file.absolute().parent
    for place in (folder, folder.parent):  # a sweep lies in a folder of its own
        if place.name == _PACKAGE:
            sys.path.insert(0, str(place.parent))
    sys.path.append(str(SHIPPED))
    try:
        # The user's package may have no __init__, or may fail as it is imported.
        with contextlib.suppress(Exception):
            package = importlib.import_module(_PACKAGE)
            if (shipped := str(SHIPPED / _PACKAGE)) not in package.__path__:
                package.__path__.append(shipped)
        yield
    finally:
        sys.path[:] = before
        _set_aside()
        sys.modules.update(loaded)


def _set_aside() -> dict[str, ModuleType]:
    """Removes the package `experiments` from the loaded modules, and returns it."""
    names = [n for n in sys.modules if n.partition(".")[0] == _PACKAGE]
    return {name: sys.modules.pop(name) for name in names}
