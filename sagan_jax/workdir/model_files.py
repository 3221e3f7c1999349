"""The files of a model folder: a trained model as it is given away.

A folder holds `model.safetensors`, `config.json` and a model card, `README.md`. It may
come from anywhere, so nothing in it is believed: sizes have bounds, paths of another
machine are dropped, and every array must fit the networks that the config describes.
"""

import copy
import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from sagan_jax import config as config_lib
from sagan_jax.config import Config, MeshConfig
from sagan_jax.errors import UserError
from sagan_jax.files import tensor_file
from sagan_jax.files.tensor_file import Entry
from sagan_jax.training.state import Tree

ARRAYS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
NAMES = (ARRAYS, CONFIG, CARD)
"""The files of a folder, and the only ones."""

PLACES = (
    "data.path",
    "train.init_from",
    "evaluation.encoder",
    "evaluation.weights",
    "evaluation.reference",
    "evaluation.held_out",
)
"""Fields of a config that name places, or code, of one machine."""

FORMAT = "sagan_jax model 1"
"""The note `format` of the arrays; a later layout will have another one."""

GENERATOR, DISCRIMINATOR, LIVE = "generator", "discriminator", "live"
"""First parts of the arrays' names; `live` has the generator before averaging."""

AVERAGED = "averaged"
"""The note `parameters` of a folder whose generator is the moving average."""

_AGAIN = "save or download the folder again"
_LARGEST_CONFIG = 2**20  # bytes
_LONGEST_TEXT, _MOST_ITEMS, _LARGEST_ITEM = 1000, 100, 10**5  # of a field of a config
_DATA_SET = re.compile(r"\w*(/[\w.-]+)?(:\d+\.\d+\.\d+)?", re.ASCII)

# How much is drawn and held at once is up to a config that somebody else wrote.
_MOST = {
    "evaluation.batch_size": 4096,
    "evaluation.standing_batch_size": 4096,
    "evaluation.standing_batches": 10_000,
    "evaluation.rows": 100,
    "evaluation.columns": 100,
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a folder says of its arrays.

    Attributes:
      step: the step of the checkpoint that they were saved from.
      averaged: whether the generator is the moving average.
      checkpoint: the digest of that checkpoint's manifest; '' if unknown.
      version: the version of this library that saved them.
      has_live: whether the generator before averaging is there as well.
      digest: the sha256 of all arrays and notes.
    """

    step: int
    averaged: bool
    checkpoint: str
    version: str
    has_live: bool
    digest: str


def is_folder(path: Path) -> bool:
    """Returns whether a directory is a model folder, or what is left of one."""
    if (path / ARRAYS).exists():
        return not (path / "checkpoints").exists()
    # A workdir with a config has starts.jsonl as well, and seldom a README.md.
    rest = (path / CARD).is_file() and (path / CONFIG).is_file()
    return rest and not (path / "starts.jsonl").exists()


def stripped(config: Config) -> Config:
    """Returns a config as a folder has it: nothing of one machine or one person.

    Paths, devices and trackers are dropped. Names of data sets stay.

    Raises:
      UserError: a value that a folder may not have; see `check_config`.
    """
    config = copy.deepcopy(config)
    for name in PLACES:
        group, field = name.split(".")
        default = getattr(getattr(Config(), group), field)
        setattr(getattr(config, group), field, default)
    config.train.trackers, config.mesh = (), MeshConfig()
    check_config(config)
    return config


def check_config(config: Config) -> None:
    """Raises UserError for values that a config of unknown origin may not have.

    They could exhaust the machine, or name what a data set's library would run.
    """
    for name, value, _ in config_lib.fields_of(config):
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            raise UserError(
                f"{name} has {len(value)} characters; a model folder keeps at most "
                f"{_LONGEST_TEXT}."
            )
        if isinstance(value, tuple) and (
            len(value) > _MOST_ITEMS
            or any(isinstance(item, int) and item > _LARGEST_ITEM for item in value)
        ):
            raise UserError(
                f"{name} has more than {_MOST_ITEMS} items, or one above "
                f"{_LARGEST_ITEM}; a model folder keeps no larger networks."
            )
        if name in _MOST and value > _MOST[name]:
            raise UserError(
                f"{name}={value} is out of range for a model folder, which is used on "
                f"other machines; choose at most {_MOST[name]}."
            )
    if not _DATA_SET.fullmatch(config.data.dataset):
        raise UserError(
            f"data.dataset={config.data.dataset!r} is no name of a data set; write "
            "NAME, NAME/CONFIG or NAME:VERSION."
        )


def read_config(folder: Path) -> Config:
    """Returns the config of a folder, without paths of another machine.

    Raises:
      UserError: it is missing, damaged, by another version, or has a value that a
        folder may not have.
    """
    path = _there(folder, CONFIG)
    size = path.stat().st_size
    if size > _LARGEST_CONFIG:
        raise UserError(f"{str(path)!r} has {size} bytes and is no config; {_AGAIN}.")
    try:
        config = config_lib.from_json(path.read_text(encoding="utf-8"))
        config_lib.validate(config, with_data=False)
        return stripped(config)
    except (UserError, ValueError, RecursionError) as error:
        reason = str(error)[:500]  # a damaged file may hold a value of any length
        raise UserError(f"{str(path)!r} cannot be read: {reason}") from None


def read_facts(folder: Path) -> Facts:
    """Returns what a folder says of its arrays, which are not read.

    Raises:
      UserError: they are missing, damaged, or not written by `sagan_jax.save`.
    """
    path = _there(folder, ARRAYS)
    entries, notes = tensor_file.read_header(path)
    step = notes.get("step", "")
    if notes.get("format") != FORMAT or not re.fullmatch(r"[0-9]{1,10}", step):
        found = notes.get("format", "none")[:50]
        raise UserError(
            f"{str(path)!r} has the format {found!r}, not {FORMAT!r}; use the version "
            "of sagan_jax that wrote it, or a folder that sagan_jax.save wrote."
        )
    return Facts(
        step=int(step),
        averaged=notes.get("parameters") == AVERAGED,
        checkpoint=notes.get("checkpoint", "")[:64],
        version=notes.get("sagan_jax", "")[:50],
        has_live=any(name.startswith(f"{LIVE}.") for name in entries),
        digest=notes.get(tensor_file.DIGEST, "")[:64],
    )


def write(
    folder: Path, config: Config, trees: Mapping[str, Tree], notes: Mapping[str, str]
) -> None:
    """Writes the config and the arrays into a new folder.

    Args:
      folder: the folder, under its temporary name.
      config: what `stripped` returned.
      trees: variables by the first part of their names: GENERATOR, DISCRIMINATOR, LIVE.
      notes: further facts; see `Facts`.
    """
    (folder / CONFIG).write_text(config_lib.to_json(config), encoding="utf-8")
    facts = {"format": FORMAT, "config": config_digest(folder), **notes}
    tensor_file.write(folder / ARRAYS, _named(dict(trees)), facts)


def write_card(folder: Path, text: str) -> None:
    """Writes the card into a new folder."""
    (folder / CARD).write_text(text, encoding="utf-8")


def config_digest(folder: Path) -> str:
    """Returns the sha256 of a folder's config.json."""
    return _sha256(_there(folder, CONFIG))


def arrays_digest(folder: Path) -> str:
    """Returns the sha256 of a folder's model.safetensors."""
    return _sha256(_there(folder, ARRAYS))


def check_arrays(folder: Path, shapes: Mapping[str, Tree]) -> None:
    """Raises UserError unless a folder has exactly the arrays that are described.

    Only the header is read: no array is larger than one of a network that could be
    built here.

    Args:
      folder: the folder.
      shapes: jax.ShapeDtypeStructs, by first parts of names as in `write_arrays`.
    """
    path = _there(folder, ARRAYS)
    found = tensor_file.read_header(path).entries
    wanted = {name: tensor_file.entry(x) for name, x in _named(dict(shapes)).items()}
    if reason := _difference(found, wanted):
        raise UserError(
            f"{str(path)!r} holds other networks than {CONFIG} describes ({reason}); "
            f"{_AGAIN}."
        )


def read_tree(folder: Path, part: str, shapes: Tree) -> Tree:
    """Returns one tree of a folder in NumPy arrays, after `check_arrays`.

    Raises:
      UserError: an array or the config has changed since they were written.
    """
    path = _there(folder, ARRAYS)
    expected = tensor_file.read_header(path).notes.get("config", "")
    if config_digest(folder) != expected:
        raise UserError(
            f"{str(folder / CONFIG)!r} was changed after {ARRAYS} was saved with it; "
            f"{_AGAIN}."
        )
    arrays = tensor_file.read(path, lambda name: name.startswith(f"{part}."))
    names = _named({part: shapes})
    return jax.tree.unflatten(jax.tree.structure(shapes), [arrays[n] for n in names])


def _difference(found: Mapping[str, Entry], wanted: Mapping[str, Entry]) -> str:
    """Returns the first difference between the arrays of two headers, or ''."""
    for name, expected in wanted.items():
        if name not in found:
            return f"{name} is missing there"
        if found[name] != expected:
            return f"{name} is {found[name]} there and {expected} by {CONFIG}"
    for name in found:
        if name not in wanted:
            return f"{name[:200]!r} is no array of these networks"
    return ""


def _named(tree: Tree) -> dict[str, Any]:
    """Returns the leaves of a tree by dotted name, in its own order."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _there(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"{str(folder)!r} is no whole model folder ({name} is missing); {_AGAIN}."
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
