"""Sharing and gathering rows; tests/test_processes.py runs real processes."""

from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from sagan_jax.runtime import processes


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a function that makes a call as each of three processes."""

    def run(call: Any) -> list[Any]:
        monkeypatch.setattr(jax, "process_count", lambda: 3)
        found = []
        for index in range(3):
            monkeypatch.setattr(jax, "process_index", lambda index=index: index)
            found.append(call())
        return found

    return run


@pytest.mark.parametrize("count", [0, 1, 3, 7, 11])
def test_every_row_belongs_to_one_process(three: Any, count: int) -> None:
    spans = three(lambda: processes.share(count))
    rows = [row for span in spans for row in range(span.start, span.stop)]
    assert rows == list(range(count))
    sizes = [span.stop - span.start for span in spans]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [1, 7, 11])
def test_gathered_rows_are_in_order(
    three: Any, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.arange(1, 2 * count + 1).reshape(count, 2)

    def send_only(sent: np.ndarray) -> np.ndarray:
        return np.stack([sent] * 3)

    def gather() -> np.ndarray:
        return processes.gather(rows[processes.share(count)], count)

    monkeypatch.setattr(multihost_utils, "process_allgather", send_only)
    # All processes send arrays of one shape; here each receives its own three times.
    alone = three(gather)
    assert {found.shape for found in alone} == {(count, 2)}
    most = -(-count // 3)
    sent = [np.resize(rows[:0], (most, 2)) for _ in range(3)]
    for part, span in zip(sent, three(lambda: processes.share(count)), strict=True):
        part[:] = 0
        part[: span.stop - span.start] = rows[span]
    monkeypatch.setattr(
        multihost_utils, "process_allgather", lambda part: np.stack(sent)
    )
    for found in three(gather):
        np.testing.assert_array_equal(found, rows)


def test_with_one_process_nothing_is_shared() -> None:
    assert processes.agree(True)
    assert not processes.agree(False)
    assert processes.is_first()
    assert processes.share(5) == slice(0, 5)


@pytest.mark.parametrize("flags", [[False, False, True], [False, False, False]])
def test_agree_is_true_everywhere_if_it_is_anywhere(
    three: Any, flags: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        multihost_utils, "process_allgather", lambda flag: np.array(flags)
    )
    assert three(lambda: processes.agree(False)) == [any(flags)] * 3
