"""Checks of single values, for arguments that no config has checked."""

import math
import operator
from typing import Any

from sagan_jax.errors import UserError


def whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Returns `value` as an int.

    Args:
      name: the argument's name, for the message.
      value: any integer: Python's, numpy's or jax's.
      low: the smallest supported value.
      high: the largest supported value; None: there is none.

    Raises:
      UserError: `value` is not a whole number, or out of range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        choice = f"{low} or a larger whole number"
        if high is not None:
            choice = f"a whole number from {low} to {high}"
        raise UserError(f"{name}={value!r} is not supported; choose {choice}.")
    return number


def finite(name: str, value: Any, low: float, high: float | None = None) -> float:
    """Returns `value` as a float; the arguments are those of `whole`.

    Raises:
      UserError: `value` is not a finite number, or out of range.
    """
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= low) or (
        high is not None and number > high
    ):
        choice = f"{low} or a larger finite number"
        if high is not None:
            choice = f"a finite number from {low} to {high}"
        raise UserError(f"{name}={value!r} is not supported; choose {choice}.")
    return number
