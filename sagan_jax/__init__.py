"""SAGAN, the Self-Attention GAN, as a functional JAX and Flax library.

Importing this package imports no jax; `sagan_jax.load` and `sagan_jax.save` do so when
they are first used.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "save"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from sagan_jax.workdir.models import load

        return load
    if name == "save":
        from sagan_jax.interop.model_folder import save

        return save
    raise AttributeError(f"module 'sagan_jax' has no attribute {name!r}")
