"""Converts a config to JSON and back, and lists its fields."""

import dataclasses
import json
from typing import Any

from sagan_jax.config.fields import Config
from sagan_jax.errors import UserError


def fields_of(config: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Returns (dotted name, value, type) for every leaf field, in order."""
    leaves: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(config):
        name, value = prefix + item.name, getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            leaves += fields_of(value, name + ".")
        else:
            leaves.append((name, value, item.type))
    return leaves


def differences(
    ours: Config, theirs: Config, groups: tuple[str, ...]
) -> list[tuple[str, Any, Any]]:
    """Returns (dotted name, our value, their value) for every field that differs.

    Args:
      ours: one config.
      theirs: the config to compare it with.
      groups: the fields to compare: the first part of their dotted names, such as
        'model', or whole dotted names.
    """
    other = {name: value for name, value, _ in fields_of(theirs)}
    return [
        (name, value, other[name])
        for name, value, _ in fields_of(ours)
        if (name.split(".")[0] in groups or name in groups) and value != other[name]
    ]


def to_json(config: Config) -> str:
    """Returns the config as indented JSON; `from_json` is its inverse."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> Config:
    """Returns the Config that `to_json` serialised.

    Missing fields keep their defaults, and fields that were replaced are read as the
    ones that took their place, so older runs can still be read.

    Raises:
      UserError: if `text` is not JSON, or has a field that Config lacks.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"the config is not valid JSON ({error}); restore a backup of the file."
        ) from None
    config = Config()
    _fill(config, values, "")
    return config


REPLACED: dict[str, tuple[str, dict[bool, str]]] = {
    f"model.{network}_spectral_norm": (
        f"{network}_normalization",
        {True: "spectral", False: "none"},
    )
    for network in ("generator", "discriminator")
}
"""Fields of earlier versions: the field that replaced each, and its values."""


def _fill(target: Any, values: Any, prefix: str) -> None:
    if not isinstance(values, dict):
        where = f"config field {prefix[:-1]}" if prefix else "the config"
        raise UserError(f"{where} is not a JSON object; restore a backup of the file.")
    known = {item.name for item in dataclasses.fields(target)}
    for name, value in values.items():
        if name not in known and prefix + name in REPLACED:
            name, meaning = REPLACED[prefix + name]
            value = meaning[value] if isinstance(value, bool) else value
        if name not in known:
            raise UserError(
                f"config field {prefix}{name} is not known to this version of "
                "sagan_jax; use the version that wrote the config."
            )
        if dataclasses.is_dataclass(getattr(target, name)):
            _fill(getattr(target, name), value, f"{prefix}{name}.")
        else:
            # JSON has no tuples: a list was one.
            setattr(target, name, tuple(value) if isinstance(value, list) else value)
