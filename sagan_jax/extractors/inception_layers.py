"""Names and shapes of the arrays in a weight file, and their conversion to parameters.

The names are those of mseitzer/pytorch-fid and toshas/torch-fidelity: each module has a
convolution without bias and a batch norm, and the last layer is the linear layer `fc`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError

Arrays = Mapping[str, NDArray[Any]]
Shape = tuple[int, ...]

TAPS = ("64", "192", "768", "1280", "2048", "logits_unbiased", "logits")
"""Layers where features can be taken, from the first to the last."""

WIDTHS = dict(zip(TAPS, (64, 192, 768, 1280, 2048, 1008, 1008), strict=True))
"""Number of features at each tap."""

EPS = 1e-3
"""Epsilon of the batch norms of 2015-12-05."""

COUNTER = ".bn.num_batches_tracked"
"""Suffix of training counters, which are ignored and may be missing."""

_ENTRIES = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


def shapes(tap: str = TAPS[-1]) -> dict[str, Shape]:
    """Returns {name: shape} of a tap's arrays; kernels are [O, I, H, W]."""
    parts = TAPS[: TAPS.index(tap) + 1]
    return {name: shape for part in parts for name, shape in _SHAPES[part].items()}


def covered_taps(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the taps for which all arrays are present."""
    names = set(names)
    covered = []
    for tap, needed in _SHAPES.items():
        if not needed.keys() <= names:  # taps are nested
            break
        covered.append(tap)
    return tuple(covered)


def problem(arrays: Arrays) -> str:
    """Returns why the arrays are not those of the network, or ''.

    Valid arrays are complete up to some tap.
    """
    names = {name for name in arrays if not name.endswith(COUNTER)}
    expected = {
        name: shape for part in _SHAPES.values() for name, shape in part.items()
    }
    if unknown := sorted(names - expected.keys()):
        return f"it holds {unknown[0]!r}, which the network does not have"
    for name in sorted(names):
        if arrays[name].shape != expected[name]:
            return f"{name} has shape {arrays[name].shape}, not {expected[name]}"
        if not np.isfinite(arrays[name]).all():
            return f"{name} holds NaN or infinite values"
        if name.endswith("running_var") and arrays[name].min() < 0:
            return f"{name} holds negative values"
    if not covered_taps(names):
        return f"{min(_SHAPES[TAPS[0]].keys() - names)} is missing"
    for module in {name.rsplit(".", 2)[0] for name in names if "fc" not in name}:
        for entry in _ENTRIES:
            if f"{module}.{entry}" not in names:
                return f"{module}.{entry} is missing"
    return ""


def parameters(arrays: Arrays, taps: Sequence[str]) -> dict[str, Any]:
    """Returns the `params` of Inception(taps), float32, with batch norms folded in.

    A batch norm after a convolution multiplies the kernel's outputs by
    scale / sqrt(var + eps) and adds bias - mean * scale / sqrt(var + eps). Both are
    computed in float64 and rounded once.

    Raises:
      UserError: an unknown tap, or one whose arrays are missing.
    """
    check_taps(taps, covered_taps(arrays))
    last = max(TAPS.index(tap) for tap in taps)
    params: dict[str, Any] = {}
    for tap in TAPS[: last + 1]:
        for module in _MODULES.get(tap, ()):
            block, *branch = module.split(".")
            layer = _folded(arrays, module)
            if not branch:
                params[block] = layer
            else:
                params.setdefault(block, {})[branch[0]] = layer
    # The network reads the input of parallel 1x1 kernels once; see inception.Pointwise.
    for block, merged in MERGED.items():
        if block in params:
            layers = [params[block].pop(branch) for branch in merged]
            params[block]["pointwise"] = {
                name: np.concatenate([layer[name] for layer in layers], axis=-1)
                for name in ("kernel", "bias")
            }
    for tap, name in (("logits_unbiased", "weight"), ("logits", "bias")):
        if last >= TAPS.index(tap):
            array = np.asarray(arrays[f"fc.{name}"], np.float32)
            params[f"fc_{name}"] = np.ascontiguousarray(
                array.T
            )  # [1008, 2048] of PyTorch
    return params


def check_taps(taps: Sequence[str], covered: Sequence[str] = TAPS) -> None:
    """Raises UserError if a tap is unknown or not covered, or if there is none."""
    for tap in taps:
        if tap not in TAPS:
            raise UserError(
                f"taps: {tap!r} is not known; choose among {', '.join(TAPS)}."
            )
        if tap not in covered:
            raise UserError(
                f"taps: {tap!r} needs layers that the weights do not hold; choose one "
                f"that they cover ({', '.join(covered)}), or use complete weights."
            )
    if not taps:
        raise UserError(f"taps=() is empty; choose among {', '.join(covered)}.")


def _folded(arrays: Arrays, module: str) -> dict[str, NDArray[np.float32]]:
    """Returns the kernel [H, W, I, O] and bias [O] of convolution and batch norm."""
    kernel, scale, bias, mean, var = (
        np.asarray(arrays[f"{module}.{entry}"], np.float64) for entry in _ENTRIES
    )
    factor = scale / np.sqrt(var + EPS)
    return {
        # [O, I, H, W] of PyTorch to [H, W, I, O] of JAX.
        "kernel": np.ascontiguousarray(
            kernel.transpose(2, 3, 1, 0) * factor, np.float32
        ),
        "bias": (bias - mean * factor).astype(np.float32),
    }


def _block_a(inputs: int, pool: int) -> dict[str, Shape]:
    return {
        "branch1x1": (64, inputs, 1, 1),
        "branch5x5_1": (48, inputs, 1, 1),
        "branch5x5_2": (64, 48, 5, 5),
        "branch3x3dbl_1": (64, inputs, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": (pool, inputs, 1, 1),
    }


def _block_b() -> dict[str, Shape]:
    return {
        "branch3x3": (384, 288, 3, 3),
        "branch3x3dbl_1": (64, 288, 1, 1),
        "branch3x3dbl_2": (96, 64, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    }


def _block_c(width: int) -> dict[str, Shape]:
    return {
        "branch1x1": (192, 768, 1, 1),
        "branch7x7_1": (width, 768, 1, 1),
        "branch7x7_2": (width, width, 1, 7),
        "branch7x7_3": (192, width, 7, 1),
        "branch7x7dbl_1": (width, 768, 1, 1),
        "branch7x7dbl_2": (width, width, 7, 1),
        "branch7x7dbl_3": (width, width, 1, 7),
        "branch7x7dbl_4": (width, width, 7, 1),
        "branch7x7dbl_5": (192, width, 1, 7),
        "branch_pool": (192, 768, 1, 1),
    }


def _block_d() -> dict[str, Shape]:
    return {
        "branch3x3_1": (192, 768, 1, 1),
        "branch3x3_2": (320, 192, 3, 3),
        "branch7x7x3_1": (192, 768, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    }


def _block_e(inputs: int) -> dict[str, Shape]:
    return {
        "branch1x1": (320, inputs, 1, 1),
        "branch3x3_1": (384, inputs, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": (448, inputs, 1, 1),
        "branch3x3dbl_2": (384, 448, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": (192, inputs, 1, 1),
    }


def _within(**blocks: dict[str, Shape]) -> dict[str, Shape]:
    return {
        f"{block}.{branch}": shape
        for block, branches in blocks.items()
        for branch, shape in branches.items()
    }


_MODULES: dict[str, dict[str, Shape]] = {
    "64": {
        "Conv2d_1a_3x3": (32, 3, 3, 3),
        "Conv2d_2a_3x3": (32, 32, 3, 3),
        "Conv2d_2b_3x3": (64, 32, 3, 3),
    },
    "192": {
        "Conv2d_3b_1x1": (80, 64, 1, 1),
        "Conv2d_4a_3x3": (192, 80, 3, 3),
    },
    "768": _within(
        Mixed_5b=_block_a(192, pool=32),
        Mixed_5c=_block_a(256, pool=64),
        Mixed_5d=_block_a(288, pool=64),
        Mixed_6a=_block_b(),
        Mixed_6b=_block_c(128),
        Mixed_6c=_block_c(160),
        Mixed_6d=_block_c(160),
        Mixed_6e=_block_c(192),
    ),
    "1280": _within(Mixed_7a=_block_d()),
    "2048": _within(Mixed_7b=_block_e(1280), Mixed_7c=_block_e(2048)),
}
"""For each tap, the kernels [O, I, H, W] of the modules after the previous tap."""

_SHAPES: dict[str, dict[str, Shape]] = {
    tap: {
        f"{module}.{entry}": shape if entry == "conv.weight" else shape[:1]
        for module, shape in modules.items()
        for entry in _ENTRIES
    }
    for tap, modules in _MODULES.items()
} | {
    "logits_unbiased": {"fc.weight": (1008, 2048)},
    "logits": {"fc.bias": (1008,)},
}
"""For each tap, the arrays that it needs in addition to the previous tap."""

_AVERAGED = ("branch1x1", "branch5x5_1", "branch3x3dbl_1", "branch_pool")
_SEVENS = ("branch1x1", "branch7x7_1", "branch7x7dbl_1", "branch_pool")
_LAST = ("branch1x1", "branch3x3_1", "branch3x3dbl_1")

MERGED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), _AVERAGED),
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), _SEVENS),
    "Mixed_7a": ("branch3x3_1", "branch7x7x3_1"),
    "Mixed_7b": (*_LAST, "branch_pool"),
    "Mixed_7c": _LAST,  # its max pool does not commute with a 1x1 kernel
}
"""For each block, the 1x1 kernels that the network applies as one, `pointwise`."""
