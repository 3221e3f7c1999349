"""The weights of DINOv2: where they lie, and whether a file holds them.

They are not downloaded. A public file in the cache directory is converted once to a
safetensors file next to it; any other file is read where it lies.
"""

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sagan_jax.errors import UserError, naming
from sagan_jax.extractors import dinov2_layers, weight_files
from sagan_jax.extractors.dinov2_layers import SIZES
from sagan_jax.files import cache, paths
from sagan_jax.files.torch_file import Stored

TAP = "class_token"
"""The only features: the class token after the last norm."""


@dataclass(frozen=True, slots=True)
class Public:
    """A file of the release.

    Attributes:
      url: where it is published.
      size: bytes.
      sha256: digest. The publisher states none; at least two public copies of each file
        state this one.
    """

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[1]


_BASE = "https://dl.fbaipublicfiles.com/dinov2/"
PUBLIC = {
    "dinov2-s": Public(
        _BASE + "dinov2_vits14/dinov2_vits14_pretrain.pth",
        88_283_115,
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    ),
    "dinov2-b": Public(
        _BASE + "dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        346_378_731,
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    ),
    "dinov2-l": Public(
        _BASE + "dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        1_217_586_395,
        "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    ),
}
"""The files by name of the network."""


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one network, which are read when asked for.

    Attributes:
      name: a key of dinov2_layers.SIZES.
      tensors: the arrays in the hub's layout.
      digest: SHA-256 of names, shapes and values; independent of the file's format and
        layout.
      origin: SHA-256 of the .pth file that they come from, or '' if unknown.
    """

    name: str
    tensors: Mapping[str, Stored]
    digest: str
    origin: str = ""

    @functools.cached_property
    def taps(self) -> tuple[str, ...]:
        """The names of the features."""
        return (TAP,)

    @property
    def is_public(self) -> bool:
        """Whether these weights come from the public file."""
        return self.origin == PUBLIC[self.name].sha256


def load(name: str, path: str | os.PathLike[str] = "") -> Weights:
    """Returns the weights from a file, or the public ones from the cache directory.

    Args:
      name: a key of dinov2_layers.SIZES.
      path: a .safetensors or .pth file, in the layout of the hub or of transformers.

    Raises:
      UserError: there is no file; or it is damaged, or of another network.
    """
    if path:
        return read(name, path)
    folder = cache.directory("weights")
    if folder is not None:
        place, source = folder / f"{name}.safetensors", folder / PUBLIC[name].name
        if place.exists():
            return read(name, place)
        if source.exists():
            return _convert(name, source, place)
    raise UserError(_missing(name, folder))


def are_here(name: str, path: str | os.PathLike[str] = "") -> bool:
    """Returns whether `load(name, path)` has a file to read."""
    if path:
        return True
    folder = cache.directory("weights")
    names = (f"{name}.safetensors", PUBLIC[name].name)
    return folder is not None and any((folder / each).exists() for each in names)


def read(name: str, path: str | os.PathLike[str]) -> Weights:
    """Returns the weights from a .safetensors file, or from a file of torch.save.

    Raises:
      UserError: the file is unreadable or damaged, or belongs to another network.
    """
    tensors, notes = weight_files.opened(path)
    tensors = _checked(name, str(path), tensors)
    digest = _digest(tensors, str(path))
    weight_files.check_digest(str(path), notes, digest)
    if Path(path).suffix == ".safetensors":
        return Weights(name, tensors, digest, notes.get("origin_sha256", ""))
    with open(path, "rb") as file:
        origin = hashlib.file_digest(file, "sha256").hexdigest()
    return Weights(name, tensors, digest, origin)


def save(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Writes a safetensors file in the hub's layout that records the origin.

    Raises:
      UserError: the file is not writable.
    """
    with naming("weights", str(path)):
        place = paths.local(path)
    try:
        notes = {"origin_sha256": weights.origin}
        weight_files.save(place, weights.tensors, notes)
    except OSError as error:
        raise UserError(
            f"weights={str(path)!r} is not writable ({error.strerror}); choose another "
            "location."
        ) from error


def converted_file(name: str) -> Path:
    """Returns the path of the converted public weights, which need not exist yet.

    Raises:
      UserError: there is no home directory to keep them in.
    """
    folder = cache.directory("weights")
    if folder is None:
        raise UserError(_missing(name, None))
    return folder / f"{name}.safetensors"


def _checked(name: str, path: str, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """Returns the tensors in the hub's layout if they are those of the network."""
    found = dinov2_layers.in_hub_layout(tensors)
    cause = dinov2_layers.problem(found, SIZES[name])
    if not cause:
        found.pop(dinov2_layers.UNUSED, None)
        return found
    for other, size in SIZES.items():
        if not dinov2_layers.problem(found, size):
            raise UserError(
                f"weights={path!r} are those of encoder {other!r}, not of {name!r}; "
                f"choose encoder={other}, or pass {PUBLIC[name].name}."
            )
    raise UserError(
        f"weights={path!r} are not those of encoder {name!r} ({cause}); pass "
        f"{PUBLIC[name].name}, or the model.safetensors of the same network without "
        "registers for transformers."
    )


def _digest(tensors: Mapping[str, Stored], path: str) -> str:
    """Returns the digest of the tensors, which are read one at a time."""
    arrays = ((name, tensors[name].read()) for name in sorted(tensors))
    floats = ((name, np.asarray(array, np.float32)) for name, array in arrays)
    return weight_files.digest_of(floats, where=f"weights={path!r}")


def _convert(name: str, source: Path, place: Path) -> Weights:
    """Returns the weights of a public file in the cache, converted to `place`."""
    weights = read(name, source)
    if not weights.is_public:
        raise UserError(
            f"weights={str(source)!r} has sha256 {weights.origin}, but the public file "
            f"has {PUBLIC[name].sha256}; it is a different file: download it again, or "
            "pass it as a file of your own."
        )
    save(weights, place)
    return read(name, place)


def _missing(name: str, folder: Path | None) -> str:
    public = PUBLIC[name]
    where = (
        "set XDG_CACHE_HOME to a writable directory, since there is no home directory "
        "to keep it in"
        if folder is None
        else f"copy it to {str(folder)!r}"
    )
    return (
        f"no weights of encoder {name!r}: download {public.url} ({public.size} bytes) "
        f"and {where}, or pass evaluation.weights=FILE (sagan_jax.metrics.evaluate: "
        "--weights FILE)."
    )
