"""--dry_run: settings, parameters, FLOP and memory of a run that is not started.

Everything but the compiler's figures follows from shapes alone: no array is made.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from sagan_jax import config as config_lib
from sagan_jax import networks
from sagan_jax.commands.options import Options
from sagan_jax.config import Config
from sagan_jax.networks import forms, products
from sagan_jax.runtime import compiled
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState
from sagan_jax.training.train_step import make_train_step


def main(options: Options) -> None:
    """Prints the page of a dry run."""
    config = options.needed_config()
    for remark in mesh_lib.start(config):
        print(remark)
    print(dry_run(config, compile_step=options.dry_run == "compile"))


def dry_run(config: Config, *, compile_step: bool = False) -> str:
    """Returns a page of text about a run that is not started.

    Args:
      config: the config of the run.
      compile_step: whether to compile the step for this machine, and add the compiler's
        figures.

    Raises:
      UserError: a field that cannot work.
    """
    config_lib.validate(config, with_data=False)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    state = jax.eval_shape(lambda: state_lib.create(*parts))
    mesh = mesh_lib.make_mesh(config)
    lowered = mesh_lib.jit_step(
        make_train_step(*parts, mesh_lib.constrain(mesh)), mesh
    ).lower(state, batch(config))
    pages = [
        config_lib.to_json(config).rstrip(),
        _parameters("generator", state.generator.params),
        _parameters("discriminator", state.discriminator.params),
        _arithmetic(config, state, lowered, mesh.size),
    ]
    if config.model.family == "resnet":  # the ports' convolutions have one form each
        pages.append(_convolutions(config, mesh.devices.flat[0].platform))
    if compile_step:
        devices = list(mesh.devices.flat)
        pages.append(compiled.in_words(compiled.describe(lowered.compile(), devices)))
    return "\n\n".join(pages)


def batch(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of the images and labels of a step."""
    count = config.train.batch_size * config.train.d_steps
    side = config.model.resolution
    return {
        "image": jax.ShapeDtypeStruct(
            (count, side, side, config.model.channels), jnp.uint8
        ),
        "label": jax.ShapeDtypeStruct((count,), jnp.int32),
    }


def _parameters(name: str, params: Mapping[str, Any]) -> str:
    """Returns a table of blocks: their arrays and their parameters."""
    rows = [f"{name:<28}{'arrays':>10}{'parameters':>16}"]
    for block, tree in _in_order(params):
        leaves = jax.tree.leaves(tree)
        rows.append(f"  {block:<26}{len(leaves):>10}{_size(tree):>16,}")
    rows.append(
        f"  {'total':<26}{len(jax.tree.leaves(params)):>10}{_size(params):>16,}"
    )
    return "\n".join(rows)


def _convolutions(config: Config, platform: str) -> str:
    """Returns a table of a step's convolutions, and the forms of their products."""
    rows: dict[tuple[str, products.Convolution], dict[str, str]] = {}
    for network, convolution, product in products.step_products(config):
        form = products.form_of(config, platform, product)
        rows.setdefault((network, convolution), {})[product.result] = form
    results = (forms.OUTPUT, forms.INPUT_GRADIENT, forms.KERNEL_GRADIENT)
    lines = [
        f"convolutions on {platform} (model.convolutions={config.model.convolutions})",
        f"  {'':<64}" + "".join(f"{result:<17}" for result in results),
    ]
    for (network, c), found in rows.items():
        shape = (
            f"{c.layer} {c.kernel}x{c.kernel}, {c.side} px, {c.inputs} to {c.outputs}"
        )
        name = f"{network[0].upper()} {c.name}"
        chosen = "".join(f"{found.get(result, '-'):<17}" for result in results)
        lines.append(f"  {name:<21}{shape:<43}{chosen}".rstrip())
    count = products.step_operations(config, platform) / config.train.batch_size
    lines.append(f"  {count / 1e9:,.1f} GFLOP per image in these forms")
    return "\n".join(lines)


def _in_order(params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Returns the blocks sorted by name, with 'block2' before 'block10'."""

    def key(item: tuple[str, Any]) -> tuple[str, int]:
        letters = item[0].rstrip("0123456789")
        return letters, int(item[0][len(letters) :] or 0)

    return sorted(params.items(), key=key)


def _size(tree: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _bytes(tree: Any) -> int:
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)
    )


def _arithmetic(config: Config, state: GanState, lowered: Any, devices: int) -> str:
    # Counted before XLA optimises the program: one multiply or add is one FLOP, and
    # taps on a padded border do not count.
    flops = float(lowered.cost_analysis()["flops"])
    images = config.train.batch_size
    return "\n".join(
        [
            f"one step: {config.train.d_steps} discriminator update(s) and one "
            f"generator update of {images} images, {images // devices} on each of "
            f"{devices} device(s)",
            f"  {flops / 1e9:,.1f} GFLOP, {flops / images / 1e9:,.2f} GFLOP per image",
            f"state: {_bytes(state) / 2**20:,.1f} MiB on each device",
            f"run: {config.train.steps:,} steps, "
            f"{flops * config.train.steps / 1e15:,.1f} PFLOP",
        ]
    )
