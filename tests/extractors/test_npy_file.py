"""An array file that grows row by row."""

import errno

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.extractors.npy_file import NpyFile


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("counts", [[], [0], [1], [3, 1, 0, 7], [9] * 1200])
def test_numpy_reads_what_was_added(tmp_path, dtype, counts):
    rows = np.random.default_rng(0).standard_normal((sum(counts), 5)).astype(dtype)
    with NpyFile(tmp_path / "a.npy", 5, dtype) as file:
        for part in np.split(rows, np.cumsum(counts)[:-1] if counts else []):
            assert file.add(part) is file
    found = np.load(tmp_path / "a.npy")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, rows)


def test_rows_may_lie_in_memory_in_any_way(tmp_path):
    rows = np.arange(12.0).reshape(3, 4).T[::2]
    with NpyFile(tmp_path / "a.npy", 3) as file:
        file.add(rows)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), rows)


def test_rows_of_another_width_are_refused(tmp_path):
    with (
        NpyFile(tmp_path / "a.npy", 3) as file,
        pytest.raises(
            ValueError, match=r"^features of shape \(1, 2\) are not \[n, 3\]"
        ),
    ):
        file.add(np.zeros((1, 2)))


def test_a_full_disk_is_one_sentence(tmp_path):
    class Full:
        def write(self, content):
            raise OSError(errno.ENOSPC, "No space left on device")

    file = NpyFile(tmp_path / "a.npy", 3)
    file._file = Full()
    with pytest.raises(UserError) as caught:
        file.add(np.zeros((1, 3)))
    assert str(caught.value) == (
        f"keep: '{tmp_path}' cannot take more than 0 rows of features (No space left "
        "on device); make room or name another directory."
    )
