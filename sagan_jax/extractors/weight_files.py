"""Files of weights, read tensor by tensor: safetensors, and those of torch.save.

A file of several gigabytes is never in memory as a whole.
"""

import functools
import hashlib
import json
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from sagan_jax.errors import UserError, naming
from sagan_jax.files import paths, torch_file, whole
from sagan_jax.files.torch_file import Stored

Notes = dict[str, str]

_DIGEST = "digest"  # the key of the digest in a file's notes


def opened(path: str | os.PathLike[str]) -> tuple[dict[str, Stored], Notes]:
    """Returns the tensors of a file, which are read when asked for, and its notes.

    Args:
      path: a .safetensors file, or one of torch.save, which has no notes.

    Raises:
      UserError: the file does not exist or is damaged.
    """
    with naming("weights", str(path)):
        path = paths.local(path)
    if not path.is_file():
        raise UserError(
            f"weights={str(path)!r} does not exist; pass a .safetensors or .pth file, "
            "or leave it empty to use those in the cache directory."
        )
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    groups = torch_file.open_nested(path).groups
    return dict(groups.get("", {})), {}


def digest_of(
    arrays: Iterable[tuple[str, NDArray[Any]]], *, where: str = "weights"
) -> str:
    """Returns the SHA-256 of names, shapes and values, in the order given.

    Raises:
      UserError: NaN or infinite values.
    """
    sha = hashlib.sha256()
    for name, array in arrays:
        # Little-endian on every machine, so that digests are comparable.
        values = np.ascontiguousarray(array, "<f4").reshape(array.shape)
        if not np.isfinite(values).all():
            raise UserError(
                f"{where}: {name} holds NaN or infinite values; download or convert "
                "the file again."
            )
        sha.update(f"{name} {values.shape}\n".encode())
        sha.update(values.data)
    return sha.hexdigest()


def save(path: Path, tensors: Mapping[str, Stored], notes: Notes) -> None:
    """Writes a safetensors file in float32, tensor by tensor, with its digest.

    Raises:
      UserError: NaN or infinite values.
      OSError: the file cannot be written.
    """
    names = sorted(tensors)
    with whole.replacing(path) as temporary, temporary.open("wb") as file:
        # The digest is known at the end. It is as long as what stands in its place.
        file.write(_header(tensors, notes | {_DIGEST: "0" * 64}))

        def written() -> Iterable[tuple[str, NDArray[Any]]]:
            for name in names:
                values = np.ascontiguousarray(tensors[name].read(), "<f4")
                file.write(values.data)
                yield name, values.reshape(tensors[name].shape)

        digest = digest_of(written(), where=f"weights={str(path)!r}")
        file.seek(0)
        file.write(_header(tensors, notes | {_DIGEST: digest}))


def check_digest(path: str, notes: Notes, found: str) -> None:
    """Raises UserError if a file's notes state another digest than the one found."""
    stated = notes.get(_DIGEST, "")
    if stated and stated != found:
        raise UserError(
            f"weights={path!r} is damaged: its arrays have sha256 {found[:12]}..., not "
            f"{stated[:12]}...; delete and recreate it."
        )


def _open_safetensors(path: Path) -> tuple[dict[str, Stored], Notes]:
    try:
        file = safetensors.safe_open(path, framework="numpy")
        tensors = {}
        for name in file.keys():  # noqa: SIM118
            shape = tuple(file.get_slice(name).get_shape())
            # Half precision needs less; this is a bound.
            size = 4 * int(np.prod(shape, dtype=np.int64))
            tensors[name] = Stored(shape, size, functools.partial(_read, file, name))
        return tensors, dict(file.metadata() or {})
    # Its own exception, and OSError.
    except Exception as error:
        raise _unreadable(path, error) from error


def _read(file: Any, name: str) -> NDArray[Any]:
    try:
        found: NDArray[Any] = file.get_tensor(name)
        return found
    except Exception as error:  # such as a type that NumPy does not have
        raise _unreadable(name, error) from error


def _unreadable(what: str | Path, error: Exception) -> UserError:
    return UserError(
        f"weights={str(what)!r} is not a readable safetensors file ({error}); copy or "
        "convert it again."
    )


def _header(tensors: Mapping[str, Stored], notes: Notes) -> bytes:
    """Returns the head of a safetensors file: its length, then JSON.

    Reference: huggingface/safetensors:README.md, Format.
    """
    head: dict[str, Any] = {"__metadata__": notes}
    begin = 0
    for name in sorted(tensors):
        shape = tensors[name].shape
        end = begin + 4 * int(np.prod(shape, dtype=np.int64))
        head[name] = {
            "dtype": "F32",
            "shape": list(shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return struct.pack("<Q", len(text)) + text
