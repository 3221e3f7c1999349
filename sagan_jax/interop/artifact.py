"""A trained generator as one program that runs without this library.

The program is StableHLO, as jax.export writes it: code for CPU, CUDA and TPU with the
weights inside, for any number of images. Later versions of jax read it for six months,
as jax's documentation of export says.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from sagan_jax.networks import Generator
from sagan_jax.networks.forms import PLATFORMS
from sagan_jax.networks.layers import param_dtype


def make(generator: Generator, variables: dict[str, Any]) -> bytes:
    """Returns the program that maps z and labels to images.

    `jax.export.deserialize(bytearray(program)).call(z, labels)` returns images
    [N, H, W, C] in [-1, 1], for z [N, latent_dim] and labels [N] int32. A generator
    without classes takes z alone. The images are those of `generator.apply` up to
    rounding, and NaN for a label that is no class.

    Args:
      generator: the module.
      variables: its variables; see `evaluation.generator`.
    """
    (batch,) = export.symbolic_shape("n")
    z = jax.ShapeDtypeStruct(
        (batch, generator.latent_dim), param_dtype(generator.dtype)
    )
    inputs = [z]
    if generator.num_classes:
        inputs.append(jax.ShapeDtypeStruct((batch,), jnp.int32))

    def images(z: jax.Array, labels: jax.Array | None = None) -> Any:
        return generator.apply(variables, z, labels, train=False)

    exported = export.export(jax.jit(images), platforms=PLATFORMS)(*inputs)
    return bytes(exported.serialize())
