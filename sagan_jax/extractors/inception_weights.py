"""The Inception weights: cache, download, and identification.

The public file is converted once to a safetensors file in the user's cache directory.
Digests identify it, because a distance is FID only with the public weights.
"""

import functools
import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from tqdm import tqdm

from sagan_jax.errors import UserError, naming
from sagan_jax.extractors import inception_layers, weight_files
from sagan_jax.files import cache, paths, torch_file, whole

URL = (
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    "pt_inception-2015-12-05-6726825d.pth"
)
SIZE = 95_628_359
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of the public file, which pytorch-fid and torch-fidelity share."""

NAMES = (
    "pt_inception-2015-12-05-6726825d.pth",
    "weights-inception-2015-12-05-6726825d.pth",
)
CONVERTED = "inception-2015-12-05.safetensors"

Opener = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Weights:
    """The arrays of the network, named as in inception_layers.

    Attributes:
      arrays: float32 arrays, without counters.
      origin: SHA-256 of the .pth file that they were converted from, or '' if unknown.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    origin: str = ""

    @property
    def taps(self) -> tuple[str, ...]:
        """The taps that the arrays cover."""
        return inception_layers.covered_taps(self.arrays)

    @property
    def is_public(self) -> bool:
        """Whether these are the complete weights that define FID."""
        return self.origin == SHA256 and self.taps == inception_layers.TAPS

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of names, shapes and values; independent of the file format."""
        return weight_files.digest_of(
            (name, self.arrays[name]) for name in sorted(self.arrays)
        )


def load(path: str | os.PathLike[str] = "", *, opener: Opener | None = None) -> Weights:
    """Returns the weights from a file, or the public weights from the cache directory.

    Without a path, the public file is downloaded and converted on first use. Call this
    before a run to make sure that its evaluation will have weights.

    Args:
      path: a .safetensors or .pth file; it may hold only the first layers.
      opener: replacement for urllib.request.urlopen.

    Raises:
      UserError: the file does not exist, is damaged or belongs to another network; or
        no file was given and the download failed.
    """
    if path:
        return read(path)
    place = converted_file()
    if place.exists():
        return read(place)
    for name in NAMES:
        source = place.with_name(name)
        if source.exists():
            return _convert(source, str(source), place)
    return _download(place, opener or urllib.request.urlopen)


def are_here(path: str | os.PathLike[str] = "") -> bool:
    """Returns whether `load(path)` will find the weights without a download."""
    if path:
        return True
    folder = cache.directory("weights")
    names = (CONVERTED, *NAMES)
    return folder is not None and any((folder / name).exists() for name in names)


def converted_file() -> Path:
    """Returns the path of the converted public weights, which need not exist yet.

    Raises:
      UserError: there is no home directory to keep them in.
    """
    folder = cache.directory("weights")
    if folder is None:
        raise UserError(
            "no home directory to keep the Inception weights in; pass "
            "evaluation.weights=FILE (sagan_jax.metrics.evaluate: --weights FILE), or "
            "set XDG_CACHE_HOME to a writable directory."
        )
    return folder / CONVERTED


def read(path: str | os.PathLike[str]) -> Weights:
    """Returns the weights from a .safetensors file, or from a file of torch.save.

    Raises:
      UserError: the file is unreadable or damaged, or belongs to another network.
    """
    with naming("weights", str(path)):
        path = paths.local(path)
    if not path.is_file():
        raise UserError(
            f"weights={str(path)!r} does not exist; pass a .safetensors or .pth file, "
            "or leave it empty to use the public weights."
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
            f"weights={str(path)!r} is damaged: its arrays have sha256 "
            f"{weights.digest[:12]}..., not {digest[:12]}...; delete and recreate it."
        )
    return weights


def save(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Writes a safetensors file that records the origin of the weights.

    Raises:
      UserError: the file is not writable.
    """
    notes = {"origin_sha256": weights.origin, "digest": weights.digest}
    content = safetensors.numpy.save(dict(weights.arrays), notes)
    with naming("weights", str(path)):
        path = paths.local(path)
    try:
        whole.write_bytes(path, content)
    except OSError as error:
        raise UserError(
            f"weights={str(path)!r} is not writable ({error.strerror}); choose another "
            "location."
        ) from error


def metric_name(tap: str, weights: Weights) -> str:
    """Returns the name of the Frechet distance: 'FID' or 'FD-<tap>'.

    FID is the Frechet distance at tap 2048 of the public weights. Other layers and
    other weights give numbers on other scales.
    """
    return "FID" if tap == "2048" and weights.is_public else f"FD-{tap}"


def _read_safetensors(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}
    # Its own exception, OSError, and errors for types that NumPy does not have.
    except Exception as error:
        raise UserError(
            f"weights={str(path)!r} is not a readable safetensors file ({error}); copy "
            "or convert it again."
        ) from error


def _download(place: Path, opener: Opener) -> Weights:
    """Returns the public weights, downloaded and then converted to `place`."""
    folder = str(place.parent)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Processes that share the cache may download at the same time: each has its own
        # copy, and only the converted file gets a common name.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            source = Path(scratch, NAMES[0])
            _fetch(source, opener)
            return _convert(source, URL, place)
    except (OSError, http.client.HTTPException) as error:
        reason = (
            getattr(error, "reason", None)
            or getattr(error, "strerror", None)
            or type(error).__name__
        )
        raise UserError(
            f"no Inception weights in {folder!r}, and the download failed ({reason}). "
            f"Download {URL} ({SIZE} bytes, sha256 {SHA256}) on another machine and "
            f"copy it to {folder!r}, or pass evaluation.weights=FILE "
            "(sagan_jax.metrics.evaluate: --weights FILE)."
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


def _convert(source: Path, origin: str, place: Path) -> Weights:
    """Returns the weights of the public file `source`, converted to `place`.

    Raises:
      UserError: the file, which comes from the path or URL `origin`, is another one.
    """
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != SHA256:
        raise UserError(
            f"weights: {origin!r} has sha256 {sha256}, but the public file has "
            f"{SHA256}; it is incomplete or a different file. Delete it and download "
            "it again."
        )
    weights = read(source)
    save(weights, place)
    return weights
