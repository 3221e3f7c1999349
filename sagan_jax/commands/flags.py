"""Checks the command line before absl parses it, for one clear error per mistake.

absl and ml_collections report a missing experiment file, a misspelt field or a wrong
type by tracebacks of their own; here each becomes a UserError.
"""

import contextlib
import dataclasses
import difflib
import re
from collections.abc import Iterator
from typing import Any

from absl import flags as absl_flags
from ml_collections import config_flags

from sagan_jax import config as config_lib
from sagan_jax.commands import experiment_files
from sagan_jax.config import Config, Sweep
from sagan_jax.errors import UserError
from sagan_jax.files import names

_PLAIN: tuple[str, ...] = ("workdir", "step", "truncations", "to", "labels", "count")
_PLAIN += ("out", "queries", "dry_run", "keep_memory", "cells")
_TRAINING = ("train", "sweep")
"""Modes that take the fields of --config."""

_MODES_OF = {
    "step": ("sample", "evaluate", "attention", "report"),
    "truncations": ("sample", "evaluate"),
    "to": ("sample",),
    "labels": ("sample", "attention"),
    "count": ("sample", "attention"),
    "out": ("sample", "attention", "report"),
    "queries": ("attention",),
    "cells": ("sweep",),
    "dry_run": _TRAINING,
    "keep_memory": _TRAINING,
}
"""The modes that look at a flag; the others would do something else than asked."""


def define_config() -> absl_flags.FlagHolder[Config]:
    """Returns the flag --config, whose file `experiment_files` finds and loads."""
    holder = config_flags.DEFINE_config_file(
        "config",
        None,
        "Experiment file, with an optional argument: FILE.py[:smoke].",
    )
    absl_flags.FLAGS["config"].parser = _Parser()
    return holder


class _Parser(absl_flags.ArgumentParser[Config]):
    sweep: Sweep | None = None
    """The sweep of the file, if it holds one."""

    def parse(self, argument: str) -> Config:
        """Returns the config of 'FILE.py[:ARGUMENT]'; of a sweep, its base."""
        found = experiment_files.load_any(argument)
        if isinstance(found, Config):
            return found
        self.sweep = found
        found.base.name = found.name
        return found.base


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
    mode = _mode(argv)
    given = {a.lstrip("-").partition("=")[0] for a in argv if a.startswith("-")}
    if mode == "sweep" and not given & {"config", "workdir", "help"}:
        raise UserError(
            "--mode sweep needs --config with the file of a sweep, such as "
            "experiments/ablations/quickstart_attention.py, or --workdir with its "
            "finished cells."
        )
    if mode not in _TRAINING:
        argv = [re.sub(r"^(--?(?:no)?)config\.mesh\.", r"\1mesh.", a) for a in argv]
    check(argv[1:], mode)
    return argv


def check(argv: list[str], mode: str = "train") -> None:
    """Raises UserError for a --config that does not load, or a field it cannot have.

    Training uses the fields of its config. Other modes use those of the run, and only
    the fields of evaluation can be overridden.

    Args:
      argv: the command line without the program's name.
      mode: the mode.
    """
    loaded = False
    for position, argument in enumerate(argv):
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-"):
            continue
        group, dot, field = name.removeprefix("no").partition(".")
        if name == "config":
            if loaded:  # fields that were set before would be lost
                raise UserError(f"--config={value} is the second --config; pass one.")
            following = argv[position + 1 : position + 2]
            value = value if equals else "".join(following)
            _check_kind(value, experiment_files.load_any(value), mode)
            loaded = True
        elif dot and group in ("config", "evaluation", "mesh"):
            _check_field(name, group, field, mode)
            if group == "config" and not loaded:
                raise UserError(f"--{name} needs a --config FILE.py before it.")


def _check_kind(value: str, found: Config | Sweep, mode: str) -> None:
    if mode == "sweep" and not isinstance(found, Sweep):
        raise UserError(
            f"config={value!r} is one experiment and no sweep; pass a file such as "
            "experiments/ablations/quickstart_attention.py, or train it by --mode "
            "train."
        )
    if mode != "sweep" and isinstance(found, Sweep):
        raise UserError(
            f"config={value!r} is a sweep; pass --mode sweep, or the file of an "
            "experiment."
        )


def _check_field(name: str, group: str, field: str, mode: str) -> None:
    known = [name for name, _, _ in config_lib.fields_of(Config())]
    full = field if group == "config" else f"{group}.{field}"
    if full not in known:
        shown = name if group == "config" else full
        close = difflib.get_close_matches(full, known, n=3, cutoff=0.5)
        raise UserError(
            f"{names.shown(shown.removeprefix('no'))} is not a field; "
            + (
                f"did you mean {' or '.join(close)}?"
                if close
                else "see sagan_jax/config/fields.py."
            )
        )
    if mode in _TRAINING and group != "config":
        raise UserError(
            f"--{name} is for other modes than {mode}; write --config.{name}."
        )
    if mode == "sweep" and full in ("train.seed", "name"):
        raise UserError(
            f"--{name} is not for --mode sweep, whose file sets it; change the file."
        )
    if mode not in _TRAINING and full == "mesh.devices":
        raise UserError(
            f"--{name} is for --mode train; --mode {mode} uses every device of this "
            "machine: remove it."
        )
    if mode not in _TRAINING and group == "config":
        remedy = f"write --{full}" if full.startswith("evaluation.") else "remove it"
        raise UserError(
            f"--{name} is for --mode train; --mode {mode} uses the run's own settings: "
            f"{remedy}, since only --evaluation.FIELD=VALUE overrides one."
        )


def check_parsed(rest: list[str], values: absl_flags.FlagValues) -> None:
    """Raises UserError for an argument that is no flag, or no flag of the mode.

    Args:
      rest: the arguments that absl did not parse, after the program's name.
      values: the flags that it parsed.
    """
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag; see --help.")
    for name, modes in _MODES_OF.items():
        if values[name].present and values.mode not in modes:
            raise UserError(
                f"--{name} is for --mode {' and '.join(modes)}; --mode {values.mode} "
                "does not take it: remove it."
            )


def plain_values(values: absl_flags.FlagValues) -> dict[str, Any]:
    """Returns the values of the flags that `options.Options` takes as they are."""
    plain = {name: values[name].value for name in _PLAIN}
    parser = values["config"].parser
    sweep = parser.sweep if isinstance(parser, _Parser) else None
    config: Any = values["config"].value
    if sweep is not None:
        # With the fields that the command line overrides.
        sweep = dataclasses.replace(sweep, base=config)
    return {**plain, "sweep": sweep}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns an error of absl into a UserError."""
    try:
        yield
    except absl_flags.Error as error:
        raise UserError(explain(str(error))) from None


def explain(message: str) -> str:
    """Returns an error message of absl as one sentence with the remedy."""
    first = names.shown(message.strip().splitlines()[0])
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
