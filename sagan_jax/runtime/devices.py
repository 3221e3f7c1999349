"""The devices that jax starts with, in words, and why a GPU is not among them."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from sagan_jax.errors import UserError
from sagan_jax.runtime import machine

_LOGGER = "jax._src.xla_bridge"


def start() -> list[str]:
    """Starts jax's backend, and returns a remark if it leaves an NVIDIA GPU unused.

    Raises:
      UserError: JAX_PLATFORMS asks for a backend that does not start.
    """
    with _collected_warnings() as warnings:
        try:
            platform = jax.default_backend()
        # An AssertionError or a RuntimeError, by the platform and the plugin.
        except Exception as error:
            asked = os.environ.get("JAX_PLATFORMS", "")
            raise UserError(
                f"JAX_PLATFORMS={asked!r} asks for a backend that jax cannot start "
                f"({_first_line(error)}); {_remedy(asked)}."
            ) from None
    if platform == "gpu" or not machine.has_gpu():
        return []
    reason = machine.obstacle()
    if not reason:  # jax has a plugin, and tried it
        said = [text for text in warnings if "CUDA" in text]
        reason = (
            f"jax's plugin for CUDA did not start ({said[0] if said else 'no reason'})"
            "; check that nvidia-smi lists the GPU, and that the plugin and jax have "
            "the same version"
        )
    return [
        f"warning: an NVIDIA GPU is present, but jax uses the {platform.upper()}: "
        f"{reason}."
    ]


def run_in_calling_thread() -> None:
    """Makes a single CPU device run programs in the thread that calls them.

    Call it before the backend starts. A call then returns when its program is done.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def in_words(count: int) -> str:
    """Returns the first `count` devices in words, such as '2 gpu (NVIDIA H200)'.

    Args:
      count: a number of devices; 0: all.
    """
    devices = jax.devices()[: count or None]
    kinds = sorted({device.device_kind for device in devices})
    shown = f" ({', '.join(kinds)})" if kinds != [devices[0].platform] else ""
    return f"{len(devices)} {devices[0].platform}{shown}"


def _remedy(asked: str) -> str:
    if {"cuda", "gpu"} & set(asked.split(",")):
        found = machine.obstacle(asked) or "check that nvidia-smi lists a GPU"
        return f"{found}, or unset JAX_PLATFORMS"
    if "tpu" in asked.split(","):
        return "pip install 'jax[tpu]' on a TPU machine, or unset JAX_PLATFORMS"
    return "set it to cpu, cuda or tpu, or unset it"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0].partition(" (set JAX_PLATFORMS=")[0] if lines else ""
    return text.rstrip(".") or "there is no such device, or no plugin for it"


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collects the warnings of jax's backends instead of printing them."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(  # type: ignore[method-assign]
        record.getMessage().strip().partition("\n")[0]
    )
    logger = logging.getLogger(_LOGGER)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
