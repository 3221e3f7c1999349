"""Our names and layouts of the networks' arrays, and PyTorch's.

A path of ours is `generator/params/block1/conv1/kernel`: network, collection, path.
"""

from collections.abc import Mapping
from typing import Any

import torch


def load(network: Any, name: str, settings: Any, given: Mapping[str, Any]) -> None:
    """Copies the state of one network from arrays of ours.

    Raises:
      ValueError: an array of the network has no counterpart in `given`.
    """
    ours = {torch_name(path, settings): path for path in given if path.startswith(name)}
    tensors = dict(network.state_dict(keep_vars=True))
    if {f"{name}.{key}" for key in tensors} != ours.keys():
        different = {f"{name}.{key}" for key in tensors} ^ ours.keys()
        raise ValueError(f"one side alone has {', '.join(sorted(different))}.")
    with torch.no_grad():
        for path, tensor in paired(network, name, settings, given):
            tensor.copy_(to_torch(path, torch.from_numpy(given[path]), settings))


def paired(
    network: Any, name: str, settings: Any, given: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Returns our path and PyTorch's tensor of each array of a network."""
    tensors = dict(network.state_dict(keep_vars=True))
    return [
        (path, tensors[torch_name(path, settings).removeprefix(f"{name}.")])
        for path in given
        if path.startswith(f"{name}/")
    ]


def torch_name(path: str, settings: Any) -> str:
    """Returns the name of PyTorch's counterpart of `generator/params/block1/...`."""
    network, collection, *parts = path.split("/")
    blocks = getattr(settings, network)
    after = {block.attention: i for i, block in enumerate(blocks) if block.attention}
    if parts[0] in after:
        parts[:1] = ["blocks", str(after[parts[0]]), "attention"]
    elif parts[0].startswith("block"):
        parts[:1] = ["blocks", str(int(parts[0].removeprefix("block")) - 1)]
    *layer, leaf = parts
    raw = ["parametrizations", "weight", "original"]
    plain_tables = settings.class_tables != "one_plus_spectral"
    if collection == "spectral":
        layer += ["parametrizations", "weight", "0", "u"]
    elif collection == "batch_stats":
        layer += [f"running_{leaf}"]
    elif leaf == "kernel":
        layer += raw
    elif leaf == "embedding":
        in_norm = layer[-1] in ("scale", "bias")
        layer += ["weight"] if in_norm and plain_tables else raw
    elif leaf in ("scale", "bias") and layer[-1] in ("norm1", "norm2"):
        layer += [leaf, "weight"]
    else:
        layer += [leaf]
    return ".".join([network, *layer])


def to_torch(path: str, array: Any, settings: Any) -> Any:
    """Returns an array of ours in PyTorch's layout: OIHW kernels, NCHW maps."""
    if path.startswith("generator/") and "/dense/" in path:
        # Rows, columns and channels of the first map, in this order and in the other.
        array = array.reshape(*array.shape[:-1], 4, 4, settings.first)
        array = array.movedim(-1, -3).flatten(-3)
    if path.endswith("/kernel"):
        return array.permute(3, 2, 0, 1) if array.dim() == 4 else array.t()
    return array


def from_torch(path: str, tensor: Any, settings: Any) -> Any:
    """Returns a tensor of PyTorch's in our layout."""
    if path.endswith("/kernel"):
        tensor = tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor.t()
    if path.startswith("generator/") and "/dense/" in path:
        tensor = tensor.reshape(*tensor.shape[:-1], settings.first, 4, 4)
        tensor = tensor.movedim(-3, -1).flatten(-3)
    return tensor
