"""The Inception weights: where they lie, how they come there, what they are called.

They are kept as one safetensors file in the user's cache directory, made once of the
public file, and recognised by digests: a number is FID only with the public weights.
"""

import contextlib
import functools
import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from tqdm import tqdm

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_layers
from sagan_jax.files import torch_file

URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
SIZE = 95_628_359
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""Of the public file, which pytorch-fid and torch-fidelity publish byte for byte."""

NAMES = (
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.pth",
)
CONVERTED = "inception-2015-12-05.safetensors"

Opener = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Weights:
    """The arrays of the network, by the names of inception_layers.

    Attributes:
      arrays: float32, without counters.
      origin: sha256 of the .pth file that they were converted from; '' if not known.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    origin: str = ""

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps that the arrays suffice for."""
        return inception_layers.covered_taps(self.arrays)

    @property
    def is_public(self) -> bool:
        """Whether these are the weights that FID is defined by, all of them."""
        return self.origin == SHA256 and self.taps == inception_layers.TAPS

    @functools.cached_property
    def digest(self) -> str:
        """The sha256 of names, shapes and numbers, the same in every container."""
        sha = hashlib.sha256()
        for name in sorted(self.arrays):
            array = self.arrays[name]
            sha.update(f"{name} {array.shape}\n".encode())
            sha.update(np.ascontiguousarray(array, "<f4").data)
        return sha.hexdigest()


def load(path: str | os.PathLike[str] = "", *, opener: Opener | None = None) -> Weights:
    """Returns the weights of a file, or those of the cache directory.

    Without a path the public file is downloaded the first time, and converted. Called
    before a run it is the check that its evaluation will find weights.

    Args:
      path: of a .safetensors or .pth file; it may hold the first layers only.
      opener: stands in for urllib.request.urlopen.

    Raises:
      UserError: no such file, a damaged one or one of another network; or there is
        neither a file nor a network to get it over.
    """
    if path:
        return read(path)
    cache = cache_dir()
    place = cache / CONVERTED
    if place.exists():
        return read(place)
    for name in NAMES:
        if (cache / name).exists():
            return _convert(cache / name, str(cache / name), place)
    return _download(place, opener or urllib.request.urlopen)


def read(path: str | os.PathLike[str]) -> Weights:
    """Returns the weights of a .safetensors file, or of one by torch.save.

    Raises:
      UserError: it cannot be read, is damaged, or belongs to another network.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(
            f"weights={str(path)!r} does not exist; name a .safetensors or .pth file, "
            "or none to use the cache directory's."
        )
    if path.suffix == ".safetensors":
        arrays, notes = _read_safetensors(path)
        origin, digest = notes.get("origin_sha256", ""), notes.get("digest", "")
    else:
        file = torch_file.read(path)
        arrays, origin, digest = file.tensors, file.sha256, ""
    if cause := inception_layers.problem(arrays):
        raise UserError(
            f"weights={str(path)!r} is not the Inception network of 2015-12-05 "
            f"({cause}); pass {NAMES[0]} or a file converted from it."
        )
    weights = Weights(
        {
            name: np.ascontiguousarray(array, np.float32)
            for name, array in arrays.items()
            if not name.endswith(inception_layers.COUNTER)
        },
        origin,
    )
    if digest and digest != weights.digest:
        raise UserError(
            f"weights={str(path)!r} is damaged: its numbers have sha256 "
            f"{weights.digest[:12]}..., not {digest[:12]}...; remove and make it again."
        )
    return weights


def save(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Writes a safetensors file that remembers where the weights are from.

    Raises:
      UserError: it cannot be written there.
    """
    notes = {"origin_sha256": weights.origin, "digest": weights.digest}
    content = safetensors.numpy.save(dict(weights.arrays), notes)
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _beside(path) as beside:
            beside.write_bytes(content)
            beside.chmod(0o644)  # mkstemp lets nobody else read
            beside.replace(path)
    except OSError as error:
        raise UserError(
            f"weights={str(path)!r} cannot be written ({error.strerror}); name another "
            "place."
        ) from error


def metric_name(tap: str, weights: Weights) -> str:
    """Returns 'FID' for what that name means, and 'FD-<tap>' for all else.

    FID is the Frechet distance at tap 2048 of the public weights; layers before it
    see other things, and networks with other weights give other numbers.
    """
    return "FID" if tap == "2048" and weights.is_public else f"FD-{tap}"


def cache_dir() -> Path:
    """Returns where weights are kept: $XDG_CACHE_HOME or ~/.cache, and within."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the standard says to ignore relative ones
        base = os.path.expanduser("~/.cache")
    return Path(base) / "sagan_jax" / "weights"


def _read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    # Besides its own exception: types that NumPy does not have, and OSError.
    except Exception as error:
        raise UserError(
            f"weights={str(path)!r} cannot be read as a safetensors file ({error}); "
            "copy or convert it again."
        ) from error


def _download(place: Path, opener: Opener) -> Weights:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _beside(place) as beside:
            _fetch(beside, opener)
            return _convert(beside, URL, place)
    except (OSError, http.client.HTTPException) as error:
        reason = (
            getattr(error, "reason", None)
            or getattr(error, "strerror", None)
            or type(error).__name__
        )
        raise UserError(
            f"weights: none lie in {str(place.parent)!r} and none can be downloaded "
            f"({reason}); get {URL} ({SIZE} bytes, sha256 {SHA256}) where there is a "
            "network and put it there as it is, or name another file."
        ) from error


def _fetch(target: Path, opener: Opener) -> None:
    with (
        opener(URL, timeout=30) as answer,
        target.open("wb") as file,
        tqdm(total=SIZE, desc="Inception weights", unit="B", unit_scale=True) as bar,
    ):
        while part := answer.read(2**20):
            file.write(part)
            bar.update(len(part))


def _convert(source: Path, name: str, place: Path) -> Weights:
    """Returns the weights of the public file, converted; any other is refused."""
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != SHA256:
        raise UserError(
            f"weights: {name!r} has sha256 {sha256}, but the public file has {SHA256}; "
            "it is cut short or another file: remove it and get it again."
        )
    weights = read(source)
    save(weights, place)
    return weights


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Gives a name of its own in the directory of `path`, free again at the end."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
