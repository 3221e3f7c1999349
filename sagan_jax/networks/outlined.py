"""Calls that XLA keeps as calls, so that nothing is fused across their borders."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def outlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `function` as a call that XLA does not inline.

    XLA's CPU compiler repeats cheap operations in each fusion that uses their result.
    A sum of 36 arrays is then computed and compiled five times over: in the gradient's
    norm, in Adam's moments, in the new kernel. It ignores optimization barriers.
    """
    call = jax.jit(function)

    @functools.wraps(function)
    def kept(*arguments: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return call(*arguments)

    return kept
