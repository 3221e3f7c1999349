"""Sentences for command lines that cannot be, found before flags are parsed.

The flag library reports a missing experiment file, a misspelt field or a wrong type by
tracebacks of its own; here each becomes a UserError.
"""

import difflib
import importlib.util
import re
from pathlib import Path

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError


def check(argv: list[str]) -> None:
    """Raises UserError for a --config that does not load or a field that is not there.

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
        elif re.match(r"(no)?evaluation\.", name):
            names.append(name.removeprefix("no"))
    known = [name for name, _, _ in config_lib.fields_of(Config())]
    for name in names:
        field = name.removeprefix("config.")
        if field not in known:
            close = difflib.get_close_matches(field, known, n=3, cutoff=0.5)
            raise UserError(
                f"{name} is not a field; "
                + (f"did you mean {' or '.join(close)}?" if close else "see config.py.")
            )


def check_mode(mode: str, argv: list[str]) -> None:
    """Raises UserError for a field given to a mode that would not use it.

    Training takes the fields of its config; other modes those of the run's own, and
    only the ones of evaluation may differ.
    """
    for argument in argv:
        name = argument.lstrip("-").partition("=")[0]
        group, _, field = name.removeprefix("no").partition(".")
        if not argument.startswith("-") or not field:
            continue
        if mode == "train" and group == "evaluation":
            raise UserError(
                f"--{name} is for other modes than train; write --config.{name}."
            )
        if mode != "train" and group == "config":
            short = field if field.startswith("evaluation.") else "evaluation.FIELD"
            raise UserError(
                f"--{name} is for --mode train; --mode {mode} takes the run's own "
                f"settings, and of these --{short}=VALUE may differ."
            )


def load_config(value: str) -> Config:
    """Returns the config of 'FILE.py' or 'FILE.py:ARGUMENT'.

    Raises:
      UserError: no such file, or one that does not give a Config.
    """
    path, _, argument = value.partition(":")
    if not Path(path).is_file():
        raise UserError(
            f"config={path!r} is not a file; try experiments/quickstart.py."
        )
    spec = importlib.util.spec_from_file_location("experiment", path)
    if spec is None or spec.loader is None:
        raise UserError(f"config={path!r} is not a Python file; its name ends in .py.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*([argument] if argument else []))
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"config={path!r} does not load ({type(error).__name__}: "
            f"{' '.join(str(error).split())})."
        ) from None
    if not isinstance(config, Config):
        raise UserError(f"config={path!r}: get_config() must return a Config.")
    return config


def explain(message: str) -> str:
    """Returns a flag library's message as one sentence that names the remedy."""
    first = message.strip().splitlines()[0]
    match = re.match(r"flag --(?:config\.)?([\w.]+)=(.*?): ", first)
    for name, _, annotation in config_lib.fields_of(Config()):
        if match and match[1] == name:
            wanted = config_lib.wanted(annotation)
            return f"{name}={match[2]!r} has the wrong type; it takes {wanted}."
    return f"{first.rstrip('.')}; see --help."
