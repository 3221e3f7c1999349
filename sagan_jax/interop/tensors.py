"""The tensors of one network in a file, by name, with a record of what was read."""

import os
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.files.names import shown
from sagan_jax.files.torch_file import Stored

Array = NDArray[Any]

# Counters, logs of sigma, and singular vectors beyond the first: no pass uses them.
_UNUSED = re.compile(
    r"(^|\.)(num_batches_tracked|accumulation_counter|sv\d+|u[1-9]\d*|_extra_state)$"
)


class Kernel(NamedTuple):
    """A kernel as the file holds it.

    Attributes:
      weight: [out, ...], before it is divided by sigma.
      u: [out], the left singular vector; None without spectral norm.
      v: [the rest], the right one, where it is stored as well. Such a kernel is
        divided by u W v. Otherwise an iteration is made first.
    """

    weight: Array
    u: Array | None
    v: Array | None

    def sigma(self) -> float:
        """Returns what the kernel is divided by in evaluation; 1 without a norm."""
        if self.u is None:
            return 1.0
        matrix = self.weight.reshape(len(self.weight), -1).astype(np.float64)
        if self.v is not None:
            return float(self.u.astype(np.float64) @ (matrix @ self.v))
        v = self.u.astype(np.float64) @ matrix
        v /= max(float(np.linalg.norm(v)), 1e-300)
        return float(np.linalg.norm(matrix @ v))


@dataclass
class Tensors:
    """The tensors of one network.

    Attributes:
      label: where they are, for messages: the file, and the names above them.
      stored: the tensors by name.
      limit: bytes that all of them together may have.
    """

    label: str
    stored: dict[str, Stored]
    limit: int
    _read: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        # A damaged file may let many tensors share one storage.
        total = sum(tensor.nbytes for tensor in self.stored.values())
        if total > self.limit:
            raise UserError(
                f"{self.label} has tensors of {total} bytes in a file of {self.limit}; "
                "download it again."
            )

    def has(self, name: str) -> bool:
        """Returns whether there is a tensor of this name."""
        return name in self.stored

    def has_kernel(self, name: str) -> bool:
        """Returns whether there is a layer of this name."""
        return any(self.has(f"{name}.{end}") for end, _, _ in _KERNELS)

    def array(self, name: str, axes: int | None = None) -> Array:
        """Returns a tensor as float32, a view of the file where it is one.

        Args:
          name: its name.
          axes: the number of axes that it must have.

        Raises:
          UserError: there is none, it has others, or values that are not finite.
        """
        if name not in self.stored:
            raise UserError(
                f"{self.label} has no tensor {quoted(name)}; convert a file of the "
                "whole network."
            )
        shape = self.stored[name].shape
        if axes is not None and len(shape) != axes:
            raise UserError(
                f"{self.label} has a tensor {quoted(name)} of shape {shape}, where "
                f"{axes} axes are expected; it belongs to another network."
            )
        values = self.stored[name].read()
        if values.dtype.kind != "f":
            raise UserError(
                f"{self.label} has a tensor {quoted(name)} of type {values.dtype}; "
                "weights of float16, bfloat16, float32 or float64 are supported."
            )
        self._read.add(name)
        with np.errstate(over="ignore"):  # of float64, and found below
            values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise UserError(
                f"{self.label} has values in {quoted(name)} that are not finite; "
                "convert a checkpoint from before the training diverged."
            )
        return values

    def kernel(self, name: str, axes: int) -> Kernel:
        """Returns the kernel of a layer.

        Raises:
          UserError: there is none, or it has other shapes than a layer's.
        """
        for weight, u, v in _KERNELS:
            if self.has(f"{name}.{weight}") and (not u or self.has(f"{name}.{u}")):
                kernel = self.array(f"{name}.{weight}", axes)
                left = self.array(f"{name}.{u}").reshape(-1) if u else None
                right = self.array(f"{name}.{v}").reshape(-1) if v else None
                self._check_vectors(name, kernel, left, right)
                return Kernel(kernel, left, right)
        raise UserError(
            f"{self.label} has no layer {quoted(name)}; convert a file of the whole "
            "network."
        )

    def _check_vectors(
        self, name: str, weight: Array, u: Array | None, v: Array | None
    ) -> None:
        out = len(weight)
        expected = {"u": (u, out), "v": (v, weight.size // out)}
        for letter, (vector, length) in expected.items():
            if vector is not None and len(vector) != length:
                raise UserError(
                    f"{self.label} has a vector {letter} of {len(vector)} values for "
                    f"{quoted(name)}, which needs {length}; download it again."
                )

    def left_over(self) -> list[str]:
        """Returns the names that were not read, in order, but for logs and counters."""
        rest = self.stored.keys() - self._read
        return sorted(name for name in rest if not _UNUSED.search(name))


_KERNELS = (
    ("weight_orig", "weight_u", "weight_v"),  # torch.nn.utils.spectral_norm
    (  # torch.nn.utils.parametrizations.spectral_norm
        "parametrizations.weight.original",
        "parametrizations.weight.0._u",
        "parametrizations.weight.0._v",
    ),
    ("weight", "u0", ""),  # ajbrock/BigGAN-PyTorch:layers.py
    ("weight", "", ""),
)


def label(path: str | os.PathLike[str], prefix: str) -> str:
    """Returns the words for a network in a file, for messages."""
    inside = f" ({shown(prefix)[:_LONGEST]})" if prefix else ""
    return f"{shown(os.fspath(path))!r}{inside}"


def quoted(name: str) -> str:
    """Returns a tensor's name for messages; that of a damaged file may be long."""
    text = shown(name)
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


_LONGEST = 100
