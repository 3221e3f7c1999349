"""Inception weights that need no download: random arrays seeded by their names.

The golden of six images was made with them by torch-fidelity 0.4.0 (`f32`, and `f64`
with its network cast to float64) and pytorch-fid 0.3.0 (`pf32`, `pf64`), PyTorch 2.13.
"""

import functools
import pathlib
import zlib

import numpy as np

from sagan_jax.extractors import inception_layers

GOLDEN = pathlib.Path(__file__).parent / "goldens" / "inception_random.npz"

BOUND = 5e-6
"""Bound for the largest |difference| over the largest |value| of a tap.

PyTorch's own float32 lies 6e-7 from its float64 at the logits; the least of the
mistakes that the tests know of lies at 1e-4.
"""


@functools.cache
def array(name, shape):
    random = np.random.RandomState(zlib.crc32(name.encode("ascii")) % 2**32)
    if name == "fc.weight":
        values = random.standard_normal(shape) * np.sqrt(1 / 2048)
    elif name == "fc.bias":
        values = 0.5 * random.standard_normal(shape)
    elif name.endswith("conv.weight"):
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("bn.weight"):
        values = 0.8 + 0.4 * random.random_sample(shape)
    elif name.endswith("running_var"):
        values = 0.5 + random.random_sample(shape)
    else:
        values = 0.1 * random.standard_normal(shape)
    values = values.astype(np.float32)
    values.flags.writeable = False
    return values


def arrays(tap="logits"):
    """Returns the state dict of all layers up to a tap."""
    shapes = inception_layers.shapes(tap)
    return {name: array(name, shape) for name, shape in shapes.items()}


@functools.cache
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def error(features, reference):
    """Returns the largest |difference| over the largest |value|."""
    difference = np.asarray(features, np.float64) - reference
    return np.abs(difference).max() / np.abs(reference).max()
