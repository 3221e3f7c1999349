"""Checks of single values."""

from typing import Any

import numpy as np
import pytest

from sagan_jax.config import values
from sagan_jax.errors import UserError


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_any_integer_is_a_whole_number(value: Any) -> None:
    number = values.whole("count", value, 0)
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", [-1, 2.0, "2", None, True, [2], np.float32(2)])
def test_anything_else_is_refused_by_name(value: Any) -> None:
    with pytest.raises(UserError, match=r"^count=.*choose 0 or a larger whole"):
        values.whole("count", value, 0)


def test_a_bound_is_inclusive() -> None:
    assert values.whole("seed", 9, 0, 9) == 9
    with pytest.raises(UserError, match=r"seed=10 .*from 0 to 9"):
        values.whole("seed", 10, 0, 9)


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), np.int32(1)])
def test_numbers_are_finite(value: Any) -> None:
    assert values.finite("eps", value, 0) == float(value)


@pytest.mark.parametrize(
    "value", [-0.1, float("nan"), float("inf"), "1", None, 10**400, 1.1]
)
def test_what_is_not_a_finite_number_in_range_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"^eps=.*finite number from 0 to 1"):
        values.finite("eps", value, 0, 1)
