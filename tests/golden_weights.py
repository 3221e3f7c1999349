"""Our variables under the official release's names, and back.

The official names and shapes are those of goldens/README.md: u is [1, out], moving
statistics of a conditional norm are [1, 1, 1, C]. Everything follows from the shapes of
the module at hand, so any width, resolution and attention placement works.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan_jax.networks import Discriminator, Generator
from sagan_jax.networks.layers import param_dtype

_ATTENTION = {
    r"query/kernel": "sn_conv_theta/w",
    r"key/kernel": "sn_conv_phi/w",
    r"value/kernel": "sn_conv_g/w",
    r"output/kernel": "sn_conv_attn/w",
    r"query/u": "sn_conv_theta/u",
    r"key/u": "sn_conv_phi/u",
    r"value/u": "sn_conv_g/u",
    r"output/u": "sn_conv_attn/u",
    r"gamma": "sigma_ratio",
}
_GENERATOR = {
    r"dense/kernel": "g_snh0/Matrix",
    r"dense/(bias|u)": r"g_snh0/\1",
    r"block(\d+)/norm1/scale": r"g_block\1/cbn_0/gamma",
    r"block(\d+)/norm1/bias": r"g_block\1/cbn_0/beta",
    r"block(\d+)/norm1/(mean|var)": r"g_block\1/cbn_0/\2",
    r"block(\d+)/norm2/scale": r"g_block\1/cbn_1/gamma",
    r"block(\d+)/norm2/bias": r"g_block\1/cbn_1/beta",
    r"block(\d+)/norm2/(mean|var)": r"g_block\1/cbn_1/\2",
    r"block(\d+)/conv([12])/kernel": r"g_block\1/snconv\2/w",
    r"block(\d+)/conv([12])/bias": r"g_block\1/snconv\2/biases",
    r"block(\d+)/conv([12])/u": r"g_block\1/snconv\2/u",
    r"block(\d+)/shortcut/kernel": r"g_block\1/snconv3/w",
    r"block(\d+)/shortcut/bias": r"g_block\1/snconv3/biases",
    r"block(\d+)/shortcut/u": r"g_block\1/snconv3/u",
    r"norm/scale": "g_bn/gamma",
    r"norm/bias": "g_bn/beta",
    r"norm/mean": "g_bn/moving_mean",
    r"norm/var": "g_bn/moving_variance",
    r"conv/kernel": "g_snconv_last/w",
    r"conv/bias": "g_snconv_last/biases",
    r"conv/u": "g_snconv_last/u",
    **{rf"attention\d+/{a}": f"g_non_local/{b}" for a, b in _ATTENTION.items()},
}
_DISCRIMINATOR = {
    r"block1/conv([12])/kernel": r"d_optimized_block1/sn_conv\1/w",
    r"block1/conv([12])/bias": r"d_optimized_block1/sn_conv\1/biases",
    r"block1/conv([12])/u": r"d_optimized_block1/sn_conv\1/u",
    r"block1/shortcut/kernel": "d_optimized_block1/sn_conv3/w",
    r"block1/shortcut/bias": "d_optimized_block1/sn_conv3/biases",
    r"block1/shortcut/u": "d_optimized_block1/sn_conv3/u",
    r"block(\d+)/conv([12])/kernel": r"d_block\1/sn_conv\2/w",
    r"block(\d+)/conv([12])/bias": r"d_block\1/sn_conv\2/biases",
    r"block(\d+)/conv([12])/u": r"d_block\1/sn_conv\2/u",
    r"block(\d+)/shortcut/kernel": r"d_block\1/sn_conv3/w",
    r"block(\d+)/shortcut/bias": r"d_block\1/sn_conv3/biases",
    r"block(\d+)/shortcut/u": r"d_block\1/sn_conv3/u",
    r"dense/kernel": "d_sn_linear/Matrix",
    r"dense/(bias|u)": r"d_sn_linear/\1",
    r"embed/embedding": "d_embedding/embedding_map",
    r"embed/u": "d_embedding/u",
    **{rf"attention\d+/{a}": f"d_non_local/{b}" for a, b in _ATTENTION.items()},
}
_COLLECTIONS = ("params", "batch_stats", "spectral")


def generator_variables(
    arrays: Mapping[str, Any], generator: Generator
) -> dict[str, Any]:
    """Returns variables of `generator` from `arrays['before/G/<official name>']`."""
    z = jnp.zeros((2, generator.latent_dim), param_dtype(generator.dtype))
    return _variables(arrays, generator, z, "before/G/", _GENERATOR)


def discriminator_variables(
    arrays: Mapping[str, Any], discriminator: Discriminator
) -> dict[str, Any]:
    """Returns variables of `discriminator` from `arrays['before/D/<name>']`."""
    side = discriminator.resolution
    images = jnp.zeros(
        (2, side, side, discriminator.channels), param_dtype(discriminator.dtype)
    )
    return _variables(arrays, discriminator, images, "before/D/", _DISCRIMINATOR)


def attention_variables(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns variables of a SelfAttention from `arrays['<prefix>/before/<name>']`.

    `prefix` may also name the folder of the variables itself. Under x64 they are
    float64.
    """
    prefix = prefix.rstrip("/")
    if f"{prefix}/sigma_ratio" not in arrays:
        prefix = f"{prefix}/before"
    variables: dict[str, Any] = {"params": {}, "spectral": {}}
    for path, name in _ATTENTION.items():
        array = jnp.asarray(arrays[f"{prefix}/{name}"], jnp.result_type(float))
        is_u = path.endswith("/u")
        *parents, leaf = path.split("/")
        node = variables["spectral" if is_u else "params"]
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array.reshape(-1) if is_u else array
    return variables


def generator_names(tree: Mapping[str, Any], generator: Generator) -> dict[str, Any]:
    """Returns {official name: array in its official shape} of our collections."""
    del generator  # the names follow from the tree
    return _names(tree, _GENERATOR)


def discriminator_names(
    tree: Mapping[str, Any], discriminator: Discriminator
) -> dict[str, Any]:
    """Returns {official name: array in its official shape} of our collections."""
    del discriminator
    return _names(tree, _DISCRIMINATOR)


def attention_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {official name: array in its official shape} of our collections."""
    return _names(tree, _ATTENTION)


def _variables(
    arrays: Mapping[str, Any],
    module: Generator | Discriminator,
    inputs: jax.Array,
    prefix: str,
    rules: Mapping[str, str],
) -> dict[str, Any]:
    labels = jnp.zeros((2,), jnp.int32) if module.num_classes else None
    shapes = jax.eval_shape(
        lambda key: module.init(key, inputs, labels, train=False), jax.random.key(0)
    )

    def leaf(path: Any, shape: jax.ShapeDtypeStruct) -> jax.Array:
        array = arrays[prefix + _official(_joined(path[1:]), rules)]
        return jnp.asarray(array, shape.dtype).reshape(shape.shape)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _names(tree: Mapping[str, Any], rules: Mapping[str, str]) -> dict[str, Any]:
    names = {}
    for collection in _COLLECTIONS:
        leaves = jax.tree_util.tree_leaves_with_path(tree.get(collection, {}))
        for path, array in leaves:
            name = _official(_joined(path), rules)
            if name.endswith("/u"):
                array = array.reshape(1, -1)
            elif re.search(r"cbn_\d/(mean|var)$", name):
                array = array.reshape(1, 1, 1, -1)
            names[name] = np.asarray(array)
    return names


def _joined(path: Any) -> str:
    return "/".join(entry.key for entry in path)


def _official(path: str, rules: Mapping[str, str]) -> str:
    for pattern, name in rules.items():
        match = re.fullmatch(pattern, path)
        if match:
            return match.expand(name)
    raise KeyError(f"{path} has no counterpart in the official release")
