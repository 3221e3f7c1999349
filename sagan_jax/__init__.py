"""SAGAN, the Self-Attention GAN, as a functional JAX and Flax library.

Importing this package imports no jax; `sagan_jax.load` does so when it is called.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from sagan_jax.workdir.run import load

        return load
    raise AttributeError(f"module 'sagan_jax' has no attribute {name!r}")
