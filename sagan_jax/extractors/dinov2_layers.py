"""Names and shapes of the arrays in a weight file of DINOv2, in two layouts.

The names of this library are those of the release ('hub'). Files of transformers name
the arrays differently, and hold query, key and value separately.
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagan_jax.extractors import dinov2_positions
from sagan_jax.files.torch_file import Stored

Shape = tuple[int, ...]
Tensors = Mapping[str, Stored]

PATCH = 14
"""Pixels per side of a patch."""

TRAINED = 37
"""Patches per side in training, at 518 px."""

UNUSED = "mask_token"
"""An array that only training needs; it may be missing."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width, number of blocks, and attention heads of a network."""

    width: int
    depth: int
    heads: int


SIZES = {
    "dinov2-s": Size(384, 12, 6),
    "dinov2-b": Size(768, 12, 12),
    "dinov2-l": Size(1024, 24, 16),
}
"""The networks by name."""


def shapes(size: Size) -> dict[str, Shape]:
    """Returns {name: shape} of all arrays in the hub's layout, without `mask_token`."""
    width = size.width
    block = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "ls1.gamma": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (4 * width, width),
        "mlp.fc1.bias": (4 * width,),
        "mlp.fc2.weight": (width, 4 * width),
        "mlp.fc2.bias": (width,),
        "ls2.gamma": (width,),
    }
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + TRAINED**2, width),
        "patch_embed.proj.weight": (width, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (width,),
        **{
            f"blocks.{index}.{name}": shape
            for index in range(size.depth)
            for name, shape in block.items()
        },
        "norm.weight": (width,),
        "norm.bias": (width,),
    }


def in_hub_layout(tensors: Tensors) -> dict[str, Stored]:
    """Returns the tensors under the hub's names; those of other networks stay.

    The layout of transformers is recognised by its names. Values are read later.
    """
    found: dict[str, Stored] = {}
    parts: dict[str, dict[str, Stored]] = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(_SEPARATE, name):
            index, which, entry = match.groups()
            joined = f"blocks.{index}.attn.qkv.{entry}"
            parts.setdefault(joined, {})[which] = tensor
            continue
        for pattern, ours in _RENAMED.items():
            renamed, count = re.subn(f"^{pattern}$", ours, name)
            if count:
                found[renamed] = tensor
                break
        else:
            found[name] = tensor
    for joined, three in parts.items():
        if three.keys() == {*_THREE}:
            found[joined] = _joined([three[which] for which in _THREE])
        else:
            found |= {f"{joined} ({which})": each for which, each in three.items()}
    return found


def problem(tensors: Tensors, size: Size) -> str:
    """Returns why tensors in the hub's layout are not those of a network, or ''."""
    expected = shapes(size)
    names = tensors.keys() - {UNUSED}
    for name in sorted(names & expected.keys()):
        if tensors[name].shape != expected[name]:
            return f"{name} has shape {tensors[name].shape}, not {expected[name]}"
    if unknown := sorted(names - expected.keys()):
        return f"it holds {unknown[0]!r}, which the network does not have"
    if missing := sorted(expected.keys() - names):
        return f"{missing[0]} is missing"
    return ""


def parameters(
    tensors: Tensors,
    size: Size,
    side: int,
    *,
    variant: str = "hub",
    put: Callable[[NDArray[np.float32]], Any] = np.ascontiguousarray,
) -> dict[str, Any]:
    """Returns the `params` of DINOv2(size), float32, for inputs of `side` patches.

    Args:
      tensors: the arrays in the hub's layout.
      size: the network.
      side: patches per side of the inputs, 16 for 224 px.
      variant: how positions are resized, see dinov2_positions.
      put: called with each parameter, which is read just before and dropped after it;
        moves it to a device.
    """

    def dense(name: str) -> dict[str, Any]:
        # Linear weights are [out, in] in PyTorch, and [in, out] in Flax.
        return {
            "kernel": put(_values(tensors, f"{name}.weight").T),
            "bias": put(_values(tensors, f"{name}.bias")),
        }

    def norm(name: str) -> dict[str, Any]:
        return {
            "scale": put(_values(tensors, f"{name}.weight")),
            "bias": put(_values(tensors, f"{name}.bias")),
        }

    # [width, 3, 14, 14] to the order of a patch in an image [H, W, C].
    kernel = _values(tensors, "patch_embed.proj.weight").transpose(2, 3, 1, 0)
    table = _values(tensors, "pos_embed")[0]
    params: dict[str, Any] = {
        "class_token": put(_values(tensors, "cls_token").reshape(size.width)),
        "positions": put(dinov2_positions.interpolated(table, side, variant)),
        "patches": {
            "kernel": put(kernel.reshape(-1, size.width)),
            "bias": put(_values(tensors, "patch_embed.proj.bias")),
        },
        "norm": norm("norm"),
    }
    for index in range(size.depth):
        block = f"blocks.{index}"
        params[f"block{index}"] = {
            "norm1": norm(f"{block}.norm1"),
            "qkv": dense(f"{block}.attn.qkv"),
            "proj": dense(f"{block}.attn.proj"),
            "scale1": put(_values(tensors, f"{block}.ls1.gamma")),
            "norm2": norm(f"{block}.norm2"),
            "fc1": dense(f"{block}.mlp.fc1"),
            "fc2": dense(f"{block}.mlp.fc2"),
            "scale2": put(_values(tensors, f"{block}.ls2.gamma")),
        }
    return params


def _values(tensors: Tensors, name: str) -> NDArray[np.float32]:
    return np.asarray(tensors[name].read(), np.float32)


def _joined(parts: list[Stored]) -> Stored:
    """Returns tensors joined along the first axis."""
    ends = {part.shape[1:] for part in parts}
    first = sum(part.shape[0] for part in parts if part.shape)
    return Stored(
        (first, *(ends.pop() if len(ends) == 1 else ())),
        sum(part.nbytes for part in parts),
        functools.partial(_concatenated, parts),
    )


def _concatenated(parts: list[Stored]) -> NDArray[Any]:
    return np.concatenate([part.read() for part in parts])


_THREE = ("query", "key", "value")
_SEPARATE = (
    r"encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)"
)
_LAYER = r"encoder\.layer\.(\d+)\."
_RENAMED = {
    r"embeddings\.cls_token": "cls_token",
    r"embeddings\.mask_token": "mask_token",
    r"embeddings\.position_embeddings": "pos_embed",
    r"embeddings\.patch_embeddings\.projection\.(\w+)": r"patch_embed.proj.\1",
    _LAYER + r"(norm[12]\.\w+|mlp\.fc[12]\.\w+)": r"blocks.\1.\2",
    _LAYER + r"attention\.output\.dense\.(\w+)": r"blocks.\1.attn.proj.\2",
    _LAYER + r"layer_scale([12])\.lambda1": r"blocks.\1.ls\2.gamma",
    r"layernorm\.(\w+)": r"norm.\1",
}
"""Names of transformers, and their replacements.

Reference: huggingface/transformers:src/transformers/models/dinov2/
convert_dinov2_to_hf.py.
"""
