"""Attention maps as a file: the arrays behind the pictures, to be read back."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sagan_jax.errors import UserError
from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.files import names, whole


class NetworkMaps(NamedTuple):
    """Images, and the attention of one network over them.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: int32 [N], zeros without classes.
      points: int64 [N, P, 2], the queries of the pictures, as (row, column) in pixels.
      layers: the attention of each layer, in order.
    """

    images: np.ndarray
    labels: np.ndarray
    points: np.ndarray
    layers: list[LayerMaps]


class Maps(NamedTuple):
    """The content of a maps.npz.

    Attributes:
      step: step of the checkpoint.
      seed: seed of the latents.
      generator: generated images, and the generator's attention.
      discriminator: real images, and the discriminator's; None where it was left out.
    """

    step: int
    seed: int
    generator: NetworkMaps
    discriminator: NetworkMaps | None


_LAYER = ("weights", "queries", "keys", "gamma")


def save_maps(path: Path, maps: Maps) -> None:
    """Writes maps as an .npz file, whole or not at all.

    Its arrays are `step`, `seed`, and for each network, here the generator,
    `generator/images`, `generator/labels`, `generator/points`, `generator/layers` (the
    names, in order), and for each layer `generator/NAME/weights`, float32 [N, H*W,
    H'*W'], `generator/NAME/queries`, `generator/NAME/keys` and `generator/NAME/gamma`.
    """
    arrays = {"step": np.array(maps.step), "seed": np.array(maps.seed)}
    for network in ("generator", "discriminator"):
        found = getattr(maps, network)
        if found is None:
            continue
        for name in ("images", "labels", "points"):
            arrays[f"{network}/{name}"] = getattr(found, name)
        arrays[f"{network}/layers"] = np.array([layer.name for layer in found.layers])
        for layer in found.layers:
            for name in _LAYER:
                arrays[f"{network}/{layer.name}/{name}"] = np.array(
                    getattr(layer, name)
                )
    with whole.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def load_maps(path: Path) -> Maps:
    """Returns the maps in a file that `save_maps` wrote.

    Raises:
      UserError: there is no such file, or it is damaged.
    """
    try:
        # numpy would leave the file of a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Maps(
                step=int(arrays["step"]),
                seed=int(arrays["seed"]),
                generator=_network(arrays, "generator"),
                discriminator=_network(arrays, "discriminator")
                if "discriminator/images" in arrays
                else None,
            )
    except FileNotFoundError:
        raise UserError(
            f"{names.shown(path)} does not exist; make it with --mode attention."
        ) from None
    # numpy, zipfile and zlib raise errors of many kinds about bytes that are no arrays.
    except Exception as error:
        raise UserError(
            f"{names.shown(path)} is damaged or no file of attention maps "
            f"({type(error).__name__}); make it again with --mode attention."
        ) from None


def _network(arrays: "np.lib.npyio.NpzFile", network: str) -> NetworkMaps:
    layers = []
    for name in arrays[f"{network}/layers"].tolist():
        weights, queries, keys, gamma = (
            arrays[f"{network}/{name}/{part}"] for part in _LAYER
        )
        (height, width), (rows, columns) = queries.tolist(), keys.tolist()
        grids = (height, width), (rows, columns)
        if weights.shape[1:] != (height * width, rows * columns):
            raise ValueError(f"weights of shape {weights.shape} for grids {grids}")
        layers.append(LayerMaps(name, *grids, float(gamma), weights))
    images, labels, points = (
        arrays[f"{network}/{name}"] for name in ("images", "labels", "points")
    )
    return NetworkMaps(images, labels, points, layers)
