"""Layers in our form: HWIO kernels, [in, out] matrices, [classes, C] tables, and u."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.interop import spectral
from sagan_jax.interop.tensors import Kernel, Tensors, quoted

Array = NDArray[Any]
Path = tuple[str, ...]

_MOST_MISSED = 0.1  # of a sigma; beyond that, vectors and kernel do not belong together

CELLS = 16
"""Positions of the 4x4 map that a generator's dense layer makes."""


@dataclass
class Variables:
    """The variables of one network while they are put together.

    Attributes:
      tensors: where they come from.
      collections: what has been put so far.
      normalised: the layers with spectral norm, and what each is divided by.
      plain: the layers without.
      miss: the largest relative error of a sigma.
    """

    tensors: Tensors
    collections: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"params": {}, "batch_stats": {}, "spectral": {}}
    )
    normalised: dict[Path, float] = field(default_factory=dict)
    plain: list[Path] = field(default_factory=list)
    miss: float = 0.0

    def put(self, collection: str, path: Path, value: Array) -> None:
        """Puts a value under a path such as ('block1', 'conv1', 'kernel')."""
        inner = self.collections[collection]
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value

    def get(self, path: Path) -> Any:
        """Returns the parameter, or the dict of parameters, under a path."""
        inner = self.collections["params"]
        for name in path:
            inner = inner[name]
        return inner

    def conv(
        self, path: Path, name: str, *, reverse: str = "", bias: bool = True
    ) -> None:
        """Puts a convolution [out, in, side, side] of the file.

        Args:
          path: our module.
          name: theirs.
          reverse: 'in' or 'out': channels of an image that come in the other order.
          bias: whether ours has one; theirs may lack it.
        """
        kernel = self.tensors.kernel(name, 4)
        weight, u, v = kernel
        out, inputs, height, width = weight.shape
        v = None if v is None else v.reshape(inputs, height, width)
        if reverse == "in":
            weight, v = weight[:, ::-1], None if v is None else v[::-1]
        if reverse == "out":
            weight, u = weight[::-1], None if u is None else u[::-1]
        ours = weight.transpose(2, 3, 1, 0)
        right = None if v is None else v.transpose(1, 2, 0).ravel()
        self._kernel((*path, "kernel"), ours, kernel, u, right)
        if bias:
            values = self._bias(name, out)
            values = values[::-1] if reverse == "out" else values
            self.put("params", (*path, "bias"), values)

    def dense(self, path: Path, name: str, *, cells: int = 1) -> None:
        """Puts a matrix [out, in] of the file.

        Args:
          path: our module.
          name: theirs.
          cells: positions that the output is reshaped to. Theirs is [C, cells], ours
            [cells, C].
        """
        kernel = self.tensors.kernel(name, 2)
        weight, u, v = kernel
        out = len(weight)
        if out % cells:
            raise UserError(
                f"{self.tensors.label} has {out} outputs in {quoted(name)}, which is "
                f"no multiple of {cells}; networks that begin at 4x4 are supported."
            )
        order = np.arange(out).reshape(out // cells, cells).T.ravel()
        ours = weight.T if cells == 1 else weight[order].T
        self._kernel(
            (*path, "kernel"), ours, kernel, None if u is None else u[order], v
        )
        self.put("params", (*path, "bias"), self._bias(name, out)[order])

    def table(self, path: Path, name: str, *, linear: bool = False) -> None:
        """Puts an embedding [classes, C] or a linear layer [C, classes] of the file."""
        kernel = self.tensors.kernel(name, 2)
        if not linear:
            # Ours normalises the transposed table, which changes no singular value.
            table, u, v = kernel
            self._put_table(path, table, kernel, u, v)
            return
        u = kernel.u
        if u is not None and kernel.v is None:
            u = _iterated(kernel.weight, u)
        # The classes are the input of their layer, and the output of our matrix.
        self._put_table(path, kernel.weight.T, kernel, None, u)

    def _put_table(
        self, path: Path, table: Array, kernel: Kernel, u: Array | None, v: Array | None
    ) -> None:
        self.put("params", (*path, "embedding"), table)
        self._normalise((*path, "embedding"), table.T, kernel, u, v)

    def _kernel(
        self, path: Path, ours: Array, kernel: Kernel, u: Array | None, v: Array | None
    ) -> None:
        self.put("params", path, ours)
        self._normalise(path, ours.reshape(-1, ours.shape[-1]), kernel, u, v)

    def _normalise(
        self,
        path: Path,
        matrix: Array,
        kernel: Kernel,
        u: Array | None,
        v: Array | None,
    ) -> None:
        """Puts the u of a kernel; `matrix` [in, out], u and v are in our order."""
        if kernel.u is None:
            self.plain.append(path)
            return
        sigma = kernel.sigma()
        if not (np.isfinite(sigma) and sigma > 0):
            raise UserError(
                f"{self.tensors.label} divides {'.'.join(path)} by {sigma:.3g}; such a "
                "kernel has no spectral norm, so convert another checkpoint."
            )
        if v is not None:
            u, miss = spectral.start(
                matrix.astype(np.float64), v.astype(np.float64), sigma
            )
            if miss > _MOST_MISSED:
                raise UserError(
                    f"{self.tensors.label} divides {'.'.join(path)} by {sigma:.3g}, "
                    "which is none of its singular values nor between them; convert a "
                    "checkpoint of a later step."
                )
            self.miss = max(self.miss, miss)
        assert u is not None
        self.normalised[path] = sigma
        self.put("spectral", (*path[:-1], "u"), np.ascontiguousarray(u))

    def _bias(self, name: str, length: int) -> Array:
        """Returns the bias of a layer, zeros if it has none."""
        if not self.tensors.has(f"{name}.bias"):
            return np.zeros(length, np.float32)
        bias = self.tensors.array(f"{name}.bias", 1)
        if len(bias) != length:
            raise UserError(
                f"{self.tensors.label} has {len(bias)} biases and {length} outputs in "
                f"{quoted(name)}; download it again."
            )
        return bias

    def fold(self, paths: Iterable[Path]) -> int:
        """Divides kernels by their sigma, and removes their u; returns their number.

        Args:
          paths: any kernels; those without spectral norm stay as they are.
        """
        folded = [path for path in paths if path in self.normalised]
        for path in folded:
            sigma = np.float32(self.normalised.pop(path))
            self.put("params", path, self.get(path) / sigma)
            self.plain.append(path)
            _remove(self.collections["spectral"], (*path[:-1], "u"))
        return len(folded)


def _remove(tree: dict[str, Any], path: Path) -> None:
    """Removes an entry, and the dicts that are empty then."""
    if len(path) > 1:
        _remove(tree[path[0]], path[1:])
    if len(path) == 1 or not tree[path[0]]:
        del tree[path[0]]


def _iterated(weight: Array, u: Array) -> Array:
    """Returns u after one power iteration of a kernel [out, in]."""
    v = u @ weight
    u = weight @ (v / max(float(np.linalg.norm(v)), 1e-30))
    return u / max(float(np.linalg.norm(u)), 1e-30)
