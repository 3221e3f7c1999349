"""A user's own encoder: a function `module:function` from images to features.

It maps uint8 images [N, H, W, 3] to features [N, d], and is called as it is. Images of
several sizes come one at a time.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.extractors import preprocessing
from sagan_jax.extractors.preprocessing import Batch

TAP = "features"
"""The name of the features."""

PIPELINE = "none"
"""The name of the preprocessing, which is the function's own."""

Function = Callable[[NDArray[np.uint8]], Any]


@dataclass(frozen=True, eq=False)
class Code:
    """A function, in the place of a network's weights.

    Attributes:
      name: 'module:function'.
      function: the function.
      digest: SHA-256 of the module's file and of the function's attribute `version`, if
        it has one. Weights that the function loads do not count: change `version` with
        them.
    """

    name: str
    function: Function
    digest: str
    origin: str = ""
    taps: tuple[str, ...] = (TAP,)
    is_public: bool = False


def load(name: str) -> Code:
    """Returns the function `module:function`.

    The module is looked for as Python does, and in the current directory.

    Raises:
      UserError: the module cannot be imported, or has no such function.
    """
    module_name, _, function_name = name.partition(":")
    try:
        if "" not in sys.path and "." not in sys.path:
            # Scripts have their own folder there, and `python -m` the current one.
            sys.path.append("")
        module = importlib.import_module(module_name)
    except Exception as error:  # the module's own code runs, and may raise anything
        raise UserError(
            f"encoder={name!r}: module {module_name!r} cannot be imported "
            f"({_in_words(error)}); check the name, and run from its folder."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(
            f"encoder={name!r}: module {module_name!r} has no function "
            f"{function_name!r}; pass module:function."
        )
    sha = hashlib.sha256()
    file = getattr(module, "__file__", None)
    if file and Path(file).is_file():
        sha.update(Path(file).read_bytes())
    sha.update(f"{function_name} {getattr(function, 'version', '')}".encode())
    return Code(name, function, sha.hexdigest())


class UserExtractor:
    """Calls a user's function and checks what it returns; see features.extract.

    Attributes:
      taps: the name of the features.
      batch_size: images per call.
      provenance: what the features depend on.
    """

    def __init__(
        self, code: Code, taps: Sequence[str] = (TAP,), *, batch_size: int = 0
    ) -> None:
        """Takes the function.

        Args:
          code: the function.
          taps: ('features',).
          batch_size: images per call; 0 means 64.
        """
        self._code = code
        self._width = 0
        self.taps = tuple(taps)
        self.batch_size = batch_size or 64
        self.provenance: dict[str, Any] = {
            "pipeline": PIPELINE,
            "weights": code.digest,
            "origin": "",
            "taps": [TAP],
            "precision": "the function's own",
        }

    def __call__(self, images: Batch) -> dict[str, NDArray[np.float32]]:
        """Returns {'features': float32 [n, d]} for uint8 images [n, H, W, 3].

        Raises:
          UserError: invalid images; or the function raises, or returns something other
            than finite numbers [n, d], with one d for all calls.
        """
        images = preprocessing.check_batch(images)
        size = 1 if isinstance(images, list) else self.batch_size
        rows = [
            self._rows(np.stack(list(images[begin : begin + size])))
            for begin in range(0, len(images), size)
        ]
        return {TAP: np.concatenate(rows)}

    def _rows(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        given = f"encoder={self._code.name!r}, given images {images.shape},"
        try:
            rows = np.asarray(self._code.function(images))
        except Exception as error:
            raise UserError(
                f"{given} raised {_in_words(error)}; correct the function."
            ) from error
        if rows.dtype.kind not in "fiu" or rows.ndim != 2 or len(rows) != len(images):
            raise UserError(
                f"{given} returned {rows.dtype} {rows.shape}, not one row of real "
                f"numbers for each image; return an array [{len(images)}, d]."
            )
        if not rows.shape[1] or rows.shape[1] != (self._width or rows.shape[1]):
            raise UserError(
                f"{given} returned {rows.shape[1]} features per image, and "
                f"{self._width} before; return the same number, 1 or more, for all."
            )
        self._width = rows.shape[1]
        found = rows.astype(np.float32)
        if not np.isfinite(found).all():
            raise UserError(
                f"{given} returned NaN, infinite values, or numbers beyond float32; "
                "correct the function."
            )
        return found


def _in_words(error: Exception) -> str:
    """Returns type and message of an error in one line."""
    text = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
