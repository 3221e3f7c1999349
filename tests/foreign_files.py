"""Networks of ours, with random variables, in the names and forms of other libraries.

The names are written out here and not taken from the tables of the library.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch_files

from sagan_jax.config import ModelConfig
from sagan_jax.networks import Discriminator, Generator, build

Dict = dict[str, np.ndarray]

SMALL = {"resolution": 32, "num_classes": 3, "latent_dim": 5, "width": 8}
ONE_PLUS, SPECTRAL = {"class_tables": "one_plus"}, {"class_tables": "one_plus_spectral"}
TABLES = {"biggan": ONE_PLUS, "studiogan": SPECTRAL, "mmgeneration": SPECTRAL}


def random_variables(network: Generator | Discriminator, seed: int = 0) -> Any:
    """Returns variables of a network without special values."""
    random = np.random.default_rng(seed)
    side = network.resolution
    shape = (2, side, side, network.channels)
    inputs = (2, network.latent_dim) if isinstance(network, Generator) else shape
    labels = jnp.zeros(2, jnp.int32) if network.num_classes else None
    shapes = jax.eval_shape(
        lambda key, x: network.init(key, x, labels),
        jax.random.key(0),
        jax.ShapeDtypeStruct(inputs, jnp.float32),
    )

    def leaf(path: Any, like: Any) -> np.ndarray:
        values = random.normal(size=like.shape)
        values = values**2 + 0.5 if path[-1].key == "var" else values
        return np.asarray(values, np.float32)

    found = jax.tree_util.tree_map_with_path(leaf, shapes)
    return {"batch_stats": {}, "spectral": {}} | found


class Writer:
    """Collects the tensors of one network under the names of `style`."""

    def __init__(self, style: str, variables: Any):
        self.style, self.variables, self.tensors = style, variables, {}
        self.random = np.random.default_rng(1)

    def get(self, collection: str, *path: str) -> Any:
        inner = self.variables[collection]
        for name in path:
            inner = inner.get(name) if inner is not None else None
        return inner

    def kernel(self, name: str, weight: np.ndarray, u: np.ndarray | None) -> None:
        """Puts a kernel [out, ...], with vectors if ours has a u."""
        if u is None:
            self.tensors[f"{name}.weight"] = weight
        elif self.style == "biggan":
            self.tensors |= {f"{name}.weight": weight, f"{name}.u0": u[None]}
            self.tensors[f"{name}.sv0"] = np.ones(1, np.float32)
        else:
            # Vectors in the middle of an iteration, not those of the end.
            matrix = weight.reshape(len(weight), -1)
            v = unit(self.random.normal(size=len(matrix)) @ matrix)
            self.tensors[f"{name}.weight_orig"] = weight
            self.tensors[f"{name}.weight_u"] = unit(matrix @ v).astype(np.float32)
            self.tensors[f"{name}.weight_v"] = v.astype(np.float32)

    def conv(self, name: str, *path: str) -> None:
        weight = self.get("params", *path, "kernel").transpose(3, 2, 0, 1)
        self.kernel(name, weight, self.get("spectral", *path, "u"))
        if (bias := self.get("params", *path, "bias")) is not None:
            self.tensors[f"{name}.bias"] = bias

    def dense(self, name: str, cells: int) -> None:
        weight = self.get("params", "dense", "kernel").T
        order = np.arange(len(weight)).reshape(cells, -1).T.ravel()
        u = self.get("spectral", "dense", "u")
        self.kernel(name, weight[order], None if u is None else u[order])
        self.tensors[f"{name}.bias"] = self.get("params", "dense", "bias")[order]

    def table(self, name: str, *path: str, linear: bool = False) -> None:
        table, u = self.get("params", *path, "embedding"), self.get("spectral", *path)
        self.kernel(name, table.T if linear else table, u and u["u"])

    def norm(self, path: tuple[str, ...], statistics: str, tables: Any) -> None:
        """Puts a norm; `tables` are the names of scale and bias, and if linear."""
        mean, var = {
            "biggan": ("stored_mean", "stored_var"),
        }.get(self.style, ("running_mean", "running_var"))
        self.tensors[f"{statistics}{mean}"] = self.get("batch_stats", *path, "mean")
        self.tensors[f"{statistics}{var}"] = self.get("batch_stats", *path, "var")
        if self.style != "biggan":
            self.tensors[f"{statistics}num_batches_tracked"] = np.int64(7)
        scale, bias, linear = tables
        for ours, name in (("scale", scale), ("bias", bias)):
            value = self.get("params", *path, ours)
            if isinstance(value, dict):
                self.table(name, *path, ours, linear=linear)
            else:
                self.tensors[name] = value

    def attention(self, name: str, ours: str, parts: str, gamma: str) -> None:
        theirs = parts.split()
        for part, own in zip(("query", "key", "value", "output"), theirs, strict=True):
            self.conv(f"{name}.{own}", ours, part)
        shape = () if self.style == "biggan" else (1,)
        self.tensors[f"{name}.{gamma}"] = self.get("params", ours, "gamma").reshape(
            shape
        )


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


ATTENTION = {
    "biggan": ("theta phi g o", "gamma"),
    "studiogan": ("conv1x1_theta conv1x1_phi conv1x1_g conv1x1_attn", "sigma"),
    "mmgeneration": ("theta.conv phi.conv g.conv o.conv", "gamma"),
}
CONVS = {
    "biggan": ("conv1", "conv2", "conv_sc"),
    "studiogan": ("conv2d1", "conv2d2", "conv2d0"),
    "mmgeneration": ("conv_1.conv", "conv_2.conv", "shortcut.conv"),
}
GENERATOR = {
    "biggan": ("linear", "output_layer.0.", ("gain", "bias"), "output_layer.2"),
    "studiogan": ("linear0", "bn4.", ("weight", "bias"), "conv2d5"),
    "mmgeneration": ("noise2feat", "to_rgb.bn.", ("weight", "bias"), "to_rgb.conv"),
}
DISCRIMINATOR = {
    "biggan": ("linear", "embed"),
    "studiogan": ("linear1", "embedding"),
    "mmgeneration": ("decision", "proj_y"),
}


def _places(style: str, network: Any) -> Any:
    """Yields (our block, its place, our attention or '', its place)."""
    stages = network.plan()
    stages = stages[1] if isinstance(network, Generator) else stages
    head = style == "mmgeneration" and isinstance(network, Discriminator)
    place = 0
    for number, stage in enumerate(stages, start=1):
        if style == "biggan":
            block, attention = f"blocks.{number - 1}.0", f"blocks.{number - 1}.1"
        elif head and number == 1:
            block, attention = "from_rgb", f"conv_blocks.{place}"
            place += stage.attention
        else:
            form = "blocks.{}.0" if style == "studiogan" else "conv_blocks.{}"
            block, attention = form.format(place), form.format(place + 1)
            place += 1 + stage.attention
        ours = f"attention{stage.resolution}" if stage.attention else ""
        yield f"block{number}", block, ours, attention


def _norm_names(style: str, place: str, number: int, classes: int) -> Any:
    if style == "biggan":
        name = f"{place}.bn{number}"
        return f"{name}.", (f"{name}.gain", f"{name}.bias", False)
    if style == "studiogan":
        name = f"{place}.bn{number}"
        if classes:
            return f"{name}.bn.", (f"{name}.gain", f"{name}.bias", True)
        return f"{name}.", (f"{name}.weight", f"{name}.bias", False)
    name = f"{place}.norm_{number}"
    tables = f"{name}.weight_embedding", f"{name}.bias_embedding"
    plain = f"{name}.norm.weight", f"{name}.norm.bias"
    return f"{name}.norm.", (*(tables if classes else plain), False)


def of_generator(style: str, generator: Generator, variables: Any) -> Dict:
    """Returns the tensors of a generator, by their names in `style`."""
    w = Writer(style, variables)
    dense, statistics, affine, conv = GENERATOR[style]
    w.dense(dense, cells=16)
    for ours, place, attention, where in _places(style, generator):
        for part, name in zip(
            ("conv1", "conv2", "shortcut"), CONVS[style], strict=True
        ):
            w.conv(f"{place}.{name}", ours, part)
        for number in (1, 2):
            names = _norm_names(style, place, number, generator.num_classes)
            w.norm((ours, f"norm{number}"), *names)
        if attention:
            w.attention(where, attention, *ATTENTION[style])
    scale, bias = (statistics + end for end in affine)
    w.norm(("norm",), statistics, (scale, bias, False))
    w.conv(conv, "conv")
    return w.tensors


def of_discriminator(style: str, discriminator: Discriminator, variables: Any) -> Dict:
    """Returns the tensors of a discriminator, by their names in `style`."""
    w = Writer(style, variables)
    for ours, place, attention, where in _places(style, discriminator):
        for part, name in zip(
            ("conv1", "conv2", "shortcut"), CONVS[style], strict=True
        ):
            if part in variables["params"][ours]:
                w.conv(f"{place}.{name}", ours, part)
        if attention:
            w.attention(where, attention, *ATTENTION[style])
    dense, embed = DISCRIMINATOR[style]
    w.dense(dense, cells=1)
    if discriminator.num_classes:
        w.table(embed, "embed")
    return w.tensors


def model(style: str, **fields: Any) -> ModelConfig:
    """Returns the fields of a small network as `style` builds it."""
    given: dict[str, Any] = SMALL | {"attention_resolutions": (16,)} | TABLES[style]
    return ModelConfig(**(given | fields))


@functools.cache
def made(style: str, **fields: Any) -> tuple[Any, Any, Dict, Dict]:
    """Returns variables of both networks, and their tensors; do not change them."""
    networks = build(model(style, **fields))
    both = [random_variables(n, seed) for seed, n in enumerate(networks)]
    return (
        *both,
        of_generator(style, networks[0], both[0]),
        of_discriminator(style, networks[1], both[1]),
    )


def saved(
    tensors: dict[str, Any],
    nest: Callable[[Any], Any] = lambda tree: tree,
    container: Callable[..., bytes] = torch_files.zipped,
) -> bytes:
    """Returns a file of torch.save with these tensors, put into `nest`."""
    tree = {
        name: torch_files.tensor(value, str(index))
        for index, (name, value) in enumerate(tensors.items())
    }
    return container(nest(tree))
