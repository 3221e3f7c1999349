"""Whether a workdir holds the run that is asked for, and the record of its starts."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import json_lines, whole
from sagan_jax.runtime import processes, provenance

Change = tuple[str, Any, Any]
"""A field's dotted name, its earlier value, its present value."""

# A run may be resumed with other values of these; any other change is another run.
MAY_CHANGE = (
    "name",
    "model.attention_kernel",
    "model.rematerialize",
    "data.path",
    "data.max_unreadable",
    "data.threads",
    "train.steps",
    "train.log_every",
    "train.sample_every",
    "train.checkpoint_every",
    "train.steps_per_dispatch",
    "train.keep_checkpoints",
    "train.keep_every",
    "train.rollbacks",
    "train.trackers",
)
_IDENTITY = ("model", "data", "optim", "train", "regularizers")
_GROUPS = ("name", *_IDENTITY, "evaluation", "mesh")


def read(path: Path) -> Config:
    """Returns the config in a config.json.

    Raises:
      UserError: there is none, it is damaged, or it was changed by hand.
    """
    if not path.is_file():
        raise UserError(
            f"workdir={str(path.parent)!r} holds no run ({path.name} is missing); "
            "train one with --mode train, or pass another --workdir."
        )
    try:
        config = config_lib.from_json(path.read_text(encoding="utf-8"))
        config_lib.validate(config, with_data=False)
    except (UserError, OSError, ValueError, RecursionError) as error:
        reason = str(error)[:500]  # a damaged file may hold a value of any length
        raise UserError(f"{str(path)!r} cannot be read: {reason}") from None
    _check_as_started(path, config)
    return config


def write(path: Path, config: Config) -> None:
    """Writes a config.json, in process 0."""
    if processes.is_first():
        whole.write_text(path, config_lib.to_json(config))


def changes(
    workdir: Path, earlier: Config, config: Config, *, images: str, known_images: str
) -> list[Change]:
    """Returns the fields that changed since the last start of the run.

    'images' is among them if the place of the data is the same but its content is not.

    Args:
      workdir: the workdir, for messages.
      earlier: the config of the run in the workdir.
      config: the config that is asked for.
      images: digest of the training images; '' if unknown.
      known_images: digest of the images of the last start; '' if unknown.

    Raises:
      UserError: the workdir holds another run: a field that may not change differs, or
        the images are others from another place.
    """
    _check_same_run(workdir, config, earlier)
    found = config_lib.differences(earlier, config, _GROUPS)
    if images and known_images and known_images != images:
        if config.data.path != earlier.data.path:
            raise UserError(
                f"workdir={str(workdir)!r} holds a run on other images (from "
                f"data.path={earlier.data.path!r}); pass another --workdir, or the "
                "images of that run."
            )
        found.append(("images", known_images[:12], images[:12]))
    return found


def record_start(
    path: Path,
    config: Config,
    *,
    step: int,
    command: str,
    changes: list[Change],
    images: str = "",
    classes: Sequence[str] = (),
) -> None:
    """Appends a line to a starts.jsonl: everything that a run was started with.

    Args:
      path: the starts.jsonl.
      config: the resolved config.
      step: the step that the run starts from.
      command: the command that started it.
      changes: the changed fields, from `changes`.
      images: digest of the training images; '' if unknown.
      classes: the name of each class, by label.
    """
    json_lines.append(
        path,
        {
            "time": round(time.time(), 3),
            "step": step,
            "command": command,
            "images": images,
            "classes": list(classes),
            "changes": {name: [before, now] for name, before, now in changes},
            **provenance.facts(),
            "config": dataclasses.asdict(config),
        },
    )


def _check_as_started(path: Path, config: Config) -> None:
    """Raises UserError if a config.json is not of the run that starts.jsonl records.

    Its checkpoints would not fit it, and would be called damaged.
    """
    for line in json_lines.newest_first(path.with_name("starts.jsonl")):
        if not isinstance(line.get("config"), dict):
            continue  # a damaged line, which would stand for a run of defaults
        try:
            started = config_lib.from_json(json.dumps(line["config"]))
        except UserError:
            return  # by another version
        for name, ours, theirs in config_lib.differences(config, started, _IDENTITY):
            if name not in MAY_CHANGE:
                raise UserError(
                    f"{path}: {name}={_brief(ours)}, but the run was started with "
                    f"{_brief(theirs)} (last line of starts.jsonl); set it back to "
                    f"{_brief(theirs)}."
                )
        return


def _brief(value: Any) -> str:
    """Returns `repr(value)`, shortened: a damaged file may hold a very long value."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def last_images(path: Path) -> str:
    """Returns the digest of the images of the last start in a starts.jsonl, or ''."""
    for line in json_lines.newest_first(path):
        return str(line.get("images", ""))
    return ""


def _check_same_run(workdir: Path, config: Config, found: Config) -> None:
    changed = [
        f"{name} is {theirs!r} there and {ours!r} here"
        for name, ours, theirs in config_lib.differences(config, found, _IDENTITY)
        if name not in MAY_CHANGE
    ]
    if changed:
        raise UserError(
            f"workdir={str(workdir)!r} holds another run ({'; '.join(changed)}); pass "
            "another --workdir, or the settings of that run."
        )
