"""Random weights of DINOv2, and the golden features of the release's code with them.

goldens/encoders.npz was computed in float64 by the code of facebookresearch/dinov2
(027a9ac), behind the resizes of Pillow, PyTorch and torch-fidelity (5e211a9). Features
are promised to 1e-5 of the largest: the network runs in float32.
"""

import functools
import pathlib

import numpy as np

from sagan_jax.extractors import dinov2_layers
from sagan_jax.extractors.dinov2_layers import SIZES, Size
from sagan_jax.files.torch_file import Stored

BOUND = 1e-5
TINY = Size(48, 2, 3)
_SEEDS = {TINY: 5, SIZES["dinov2-b"]: 6, SIZES["dinov2-l"]: 7, SIZES["dinov2-s"]: 8}
_TOKENS = ("cls_token", "pos_embed", "mask_token")


@functools.cache
def golden():
    """Returns the golden arrays by name."""
    path = pathlib.Path(__file__).parent / "goldens" / "encoders.npz"
    with np.load(path) as archive:
        return dict(archive)


def error(found, expected):
    """Returns the largest difference, as a share of the largest value."""
    assert found.shape == expected.shape
    return np.abs(np.float64(found) - expected).max() / np.abs(expected).max()


def arrays(size=TINY):
    """Returns {key: float32} in the layout of the release."""
    shapes = dinov2_layers.shapes(size) | {"mask_token": (1, size.width)}
    return {
        key: _values(key, shapes[key], [_SEEDS[size], index])
        for index, key in enumerate(sorted(shapes))
    }


def _values(key, shape, seed):
    n = np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape)
    if key.endswith(".gamma"):
        n = 0.5 + 0.1 * n
    elif "norm" in key and key.endswith("weight"):
        n = 1 + 0.1 * n
    elif key.endswith("bias"):
        n = 0.1 * n
    elif key in _TOKENS:
        n = 0.5 * n
    else:
        n = n / np.sqrt(np.prod(shape[1:]))
    return n.astype(np.float32)


def stored(given):
    """Returns arrays as tensors that are read when asked for."""
    return {
        name: Stored(array.shape, array.nbytes, functools.partial(np.asarray, array))
        for name, array in given.items()
    }


def in_transformers_layout(given):
    """Returns arrays under the names of transformers, with separate query, key, value.

    Written out here, independently of the table that reads them.
    """
    plain = {
        "cls_token": "embeddings.cls_token",
        "mask_token": "embeddings.mask_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    found = {}
    for key, array in given.items():
        if key in plain:
            found[plain[key]] = array
            continue
        _, index, rest = key.split(".", 2)
        layer = f"encoder.layer.{index}"
        if rest.startswith("attn.qkv"):
            for which, part in zip(
                ("query", "key", "value"), np.split(array, 3), strict=True
            ):
                entry = rest.rsplit(".", 1)[1]
                found[f"{layer}.attention.attention.{which}.{entry}"] = part
            continue
        rest = rest.replace("attn.proj", "attention.output.dense")
        for number in "12":
            rest = rest.replace(f"ls{number}.gamma", f"layer_scale{number}.lambda1")
        found[f"{layer}.{rest}"] = array
    return found


def images224():
    """Returns the uint8 images of the golden features at 224 px, [3, 224, 224, 3]."""
    return _random_images([11, 0], (3, 224, 224, 3))


def big_images():
    """Returns uint8 images [2, 300, 260, 3]."""
    return _random_images([11, 2], (2, 300, 260, 3))


def _random_images(seed, shape):
    rng = np.random.Generator(np.random.Philox(key=seed))
    return rng.integers(0, 256, shape, dtype=np.uint8)
