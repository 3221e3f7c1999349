"""The config of a run on disk, and whether a workdir holds the run asked for."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import json_lines
from sagan_jax.runtime import provenance

CONFIG = "config.json"
STARTS = "starts.jsonl"

Change = tuple[str, Any, Any]
"""A field's dotted name, its value before, its value now."""

# A run may go on with other values of these; every other field makes another run.
MAY_CHANGE = (
    "name",
    "data.path",
    "data.max_unreadable",
    "data.threads",
    "train.steps",
    "train.log_every",
    "train.sample_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.keep_every",
    "train.rollbacks",
)
_IDENTITY = ("model", "data", "optim", "train")
_GROUPS = ("name", *_IDENTITY, "evaluation", "mesh")


def prepare(workdir: Path, config: Config, images: str = "") -> list[Change]:
    """Makes a workdir for `config`, or checks that it holds a run of the same kind.

    Returns what changed since the last start; 'images' is among it where the place of
    the data is the same but what lies there is not.

    Args:
      workdir: of the run.
      config: of the run.
      images: tells the training images from others; '' for not known.

    Raises:
      UserError: it is a file, cannot be written, or holds another run: of another
        kind, or on other images from another place.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(
            f"workdir={str(workdir)!r} is a file; give a directory, or a new name."
        )
    path = workdir / CONFIG
    changes: list[Change] = []
    if path.exists():
        before = read(workdir)
        _check_same_run(workdir, config, before)
        changes = config_lib.differences(before, config, _GROUPS)
        known = last_images(workdir)
        if images and known and known != images:
            if config.data.path != before.data.path:
                raise UserError(
                    f"workdir={str(workdir)!r} holds a run on other images (of "
                    f"data.path={before.data.path!r}); give another --workdir, or its "
                    "own images."
                )
            changes.append(("images", known[:12], images[:12]))
    if jax.process_index():
        return changes  # two writers of one file would take it from each other
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".tmp")
        beside.write_text(config_lib.to_json(config), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise UserError(
            f"workdir={str(workdir)!r} cannot be written ({error.strerror}); give "
            "another with --workdir."
        ) from None
    return changes


def record_start(
    workdir: Path,
    config: Config,
    *,
    step: int,
    command: str,
    changes: list[Change],
    images: str = "",
) -> None:
    """Appends a line to starts.jsonl: all that a run was started with, at which step.

    Args:
      workdir: of the run.
      config: the resolved config.
      step: that the run goes on from.
      command: that started it.
      changes: from `prepare`.
      images: likewise as there.
    """
    json_lines.append_json(
        workdir / STARTS,
        {
            "time": round(time.time(), 3),
            "step": step,
            "command": command,
            "images": images,
            "changes": {name: [before, now] for name, before, now in changes},
            **provenance.facts(),
            "config": dataclasses.asdict(config),
        },
    )


def last_images(workdir: Path) -> str:
    """Returns what tells the images of the last recorded start from others, or ''."""
    path = workdir / STARTS
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in reversed(lines):
        try:
            return str(json.loads(line).get("images", ""))
        except (ValueError, AttributeError):
            continue  # cut short by a kill
    return ""


def _check_same_run(workdir: Path, config: Config, found: Config) -> None:
    changed = [
        f"{name}: {theirs!r} there, {ours!r} asked for"
        for name, ours, theirs in config_lib.differences(config, found, _IDENTITY)
        if name not in MAY_CHANGE
    ]
    if changed:
        raise UserError(
            f"workdir={str(workdir)!r} holds another run ({'; '.join(changed)}); give "
            "another --workdir, or its own settings."
        )


def read(workdir: Path) -> Config:
    """Returns the config of the run in a workdir.

    Raises:
      UserError: there is none, or it cannot be read.
    """
    path = workdir / CONFIG
    if not path.is_file():
        raise UserError(
            f"workdir={str(workdir)!r} holds no run ({CONFIG} is missing); train one "
            "with --mode train, or give its --workdir."
        )
    try:
        return config_lib.from_json(path.read_text(encoding="utf-8"))
    except (UserError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
