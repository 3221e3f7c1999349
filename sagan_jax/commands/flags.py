"""Checks the command line before absl parses it, for one clear error per mistake.

absl and ml_collections report a missing experiment file, a misspelt field or a wrong
type by tracebacks of their own; here each becomes a UserError.
"""

import contextlib
import difflib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags as absl_flags

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError

_PLAIN = ("workdir", "step", "truncations", "to", "labels", "count", "out", "dry_run")


def prepared(argv: list[str]) -> list[str]:
    """Returns the command line as absl should parse it, after checking it.

    A bare --dry_run gets its value, and for modes other than train --config.mesh.FIELD
    becomes --mesh.FIELD, which needs no --config.

    Args:
      argv: the command line, with the program's name.

    Raises:
      UserError: a --config that does not load, or an unknown field.
    """
    argv = ["--dry_run=shapes" if a.lstrip("-") == "dry_run" else a for a in argv]
    if _mode(argv) != "train":
        argv = [re.sub(r"^(--?(?:no)?)config\.mesh\.", r"\1mesh.", a) for a in argv]
    check(argv[1:])
    return argv


def check(argv: list[str]) -> None:
    """Raises UserError for a --config that does not load, or an unknown field.

    Args:
      argv: the command line without the program's name.
    """
    names, loaded = [], False
    for position, argument in enumerate(argv):
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-"):
            continue
        if name == "config":
            following = argv[position + 1 : position + 2]
            load_config(value if equals else "".join(following))
            loaded = True
        elif re.match(r"(no)?config\.", name):
            names.append("config." + name.partition(".")[2])
            if not loaded:
                raise UserError(f"--{name} needs a --config FILE.py before it.")
        elif re.match(r"(no)?(evaluation|mesh)\.", name):
            names.append(name.removeprefix("no"))
    known = [name for name, _, _ in config_lib.fields_of(Config())]
    for name in names:
        field = name.removeprefix("config.")
        if field not in known:
            close = difflib.get_close_matches(field, known, n=3, cutoff=0.5)
            raise UserError(
                f"{name} is not a field; "
                + (
                    f"did you mean {' or '.join(close)}?"
                    if close
                    else "see sagan_jax/config/fields.py."
                )
            )


def check_parsed(rest: list[str], mode: str, argv: list[str]) -> None:
    """Raises UserError for an argument that is no flag, or a field of another mode.

    Training uses the fields of its config. Other modes use those of the run, and only
    the fields of evaluation can be overridden.

    Args:
      rest: the arguments that absl did not parse, after the program's name.
      mode: the mode.
      argv: the command line as absl parsed it.
    """
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag; see --help.")
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        group, _, field = name.removeprefix("no").partition(".")
        if not argument.startswith("-") or not field:
            continue
        if mode == "train" and group in ("evaluation", "mesh"):
            raise UserError(
                f"--{name} is for other modes than train; write --config.{name}."
            )
        if mode != "train" and group == "config":
            short = field if field.startswith("evaluation.") else "evaluation.FIELD"
            raise UserError(
                f"--{name} is for --mode train; --mode {mode} uses the run's own "
                f"settings, of which --{short}=VALUE overrides one."
            )


def plain_values(values: absl_flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the flags that `options.Options` takes as they are."""
    return {name: values[name].value for name in _PLAIN}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns an error of absl into a UserError."""
    try:
        yield
    except absl_flags.Error as error:
        raise UserError(explain(str(error))) from None


def load_config(value: str) -> Config:
    """Returns the config of 'FILE.py' or 'FILE.py:ARGUMENT'.

    Raises:
      UserError: no such file, or one that does not return a Config.
    """
    path, _, argument = value.partition(":")
    if not Path(path).is_file():
        raise UserError(
            f"config={path!r} is not a file; try experiments/quickstart.py."
        )
    spec = importlib.util.spec_from_file_location("experiment", path)
    if spec is None or spec.loader is None:
        raise UserError(
            f"config={path!r} is not a Python file; its name must end in .py."
        )
    module = importlib.util.module_from_spec(spec)
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
    if not isinstance(config, Config):
        raise UserError(f"config={path!r}: get_config() must return a Config.")
    return config


def explain(message: str) -> str:
    """Returns an error message of absl as one sentence with the remedy."""
    first = message.strip().splitlines()[0]
    match = re.match(r"flag --(?:config\.)?([\w.]+)=(.*?): ", first)
    for name, _, annotation in config_lib.fields_of(Config()):
        if match and match[1] == name:
            expected = config_lib.type_in_words(annotation)
            return f"{name}={match[2]!r} has the wrong type; it takes {expected}."
    return f"{first.rstrip('.')}; see --help."


def _mode(argv: list[str]) -> str:
    """Returns the value of the last --mode, before absl has parsed it."""
    mode = "train"
    for position, argument in enumerate(argv):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "mode":
            mode = value if equals else "".join(argv[position + 1 : position + 2])
    return mode
