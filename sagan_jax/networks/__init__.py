"""The generator and the discriminator, with their blocks and layers.

Importing this package does not import jax: the names below are loaded on first use, so
that channel plans and cost estimates stay available without it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sagan_jax.networks.from_config import build
    from sagan_jax.networks.resnet import Discriminator, Generator

__all__ = ["Discriminator", "Generator", "build"]


def __getattr__(name: str) -> Any:
    if name in ("Discriminator", "Generator"):
        from sagan_jax.networks import resnet

        return getattr(resnet, name)
    if name == "build":
        from sagan_jax.networks.from_config import build

        return build
    raise AttributeError(f"module 'sagan_jax.networks' has no attribute {name!r}")
