"""An array file that grows: rows go to the disk as they come."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError


class NpyFile:
    """Features [N, d] as a .npy file, which is whole when the `with` block ends.

    How many rows there are is written last, over the count 0 that the file begins with:
    NumPy pads its header so that a longer number fits.
    """

    def __init__(self, path: Path, d: int, dtype: Any = np.float32) -> None:
        self._path, self._shape, self._dtype = path, (0, d), np.dtype(dtype)

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._write_header()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()

    def add(self, features: NDArray[Any], /) -> Self:
        """Returns itself with features [n, d] added.

        Raises:
          UserError: the disk is full, or fails.
        """
        n, d = self._shape
        if features.shape[1:] != (d,):
            raise ValueError(f"features of shape {features.shape} are not [n, {d}]")
        try:
            self._file.write(np.ascontiguousarray(features, self._dtype).data)
        except OSError as error:
            raise UserError(
                f"keep: {str(self._path.parent)!r} cannot take more than {n} rows of "
                f"features ({error.strerror}); make room or name another directory."
            ) from error
        self._shape = (n + len(features), d)
        return self

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "shape": self._shape,
                "fortran_order": False,
                "descr": np.lib.format.dtype_to_descr(self._dtype),
            },
        )
