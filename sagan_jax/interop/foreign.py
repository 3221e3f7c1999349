"""Reads weight files of other implementations as a config and our variables."""

import dataclasses
import functools
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sagan_jax import config as config_lib
from sagan_jax import networks
from sagan_jax.config import SAME, Config, ModelConfig
from sagan_jax.errors import UserError, naming
from sagan_jax.files import paths, torch_file
from sagan_jax.interop import biggan, mmgeneration, networks_in, studiogan
from sagan_jax.interop.layout import Layout
from sagan_jax.interop.networks_in import Read
from sagan_jax.interop.tensors import Tensors, label
from sagan_jax.networks.channels import (
    DISCRIMINATOR_MULTIPLES,
    GENERATOR_MULTIPLES,
    discriminator_plan,
)
from sagan_jax.runtime import keys

LAYOUTS = {
    "biggan": biggan.LAYOUT,
    "studiogan": studiogan.LAYOUT,
    "mmgeneration": mmgeneration.LAYOUT,
}
"""The implementations whose weights are read."""

DECAY = 0.9
"""Of running statistics; PyTorch's default, which all of them keep."""


@dataclasses.dataclass(frozen=True)
class Converted:
    """Networks in our form.

    Attributes:
      config: a config that builds them; what it says about training is the default.
      generator: `params`, `batch_stats` and `spectral`, as nested dicts of arrays that
        may be views of the file; None if there was none.
      discriminator: the same.
      notes: sentences about what was assumed, and what was not kept.
    """

    config: Config
    generator: dict[str, Any] | None
    discriminator: dict[str, Any] | None
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a file does not say; '' and 0 stand for what its layout implies.

    Attributes:
      only: 'generator' or 'discriminator', to leave the other out.
      live: whether to take the live generator where there is an averaged one as well.
      resolution: side of an image of the discriminator.
      batch_norm_eps: the constant of batch norm.
      channel_order: 'rgb' or 'bgr'.
      shortcut: 'raw', or 'rectified' if the discriminator's ReLUs work in place.
      class_scales: 'one_plus' or 'plain'; see networks_in.generator.
    """

    only: str = ""
    live: bool = False
    resolution: int = 0
    batch_norm_eps: float = 0.0
    channel_order: str = ""
    shortcut: str = ""
    class_scales: str = ""


class _Found(NamedTuple):
    """A network that was found in a file."""

    layout: str
    prefix: str
    where: str
    tensors: Tensors

    @property
    def is_average(self) -> bool:
        return "ema" in self.where.lower()


def read(
    files: Sequence[str | os.PathLike[str]], options: Options = Options()
) -> Converted:
    """Returns the networks in files of torch.save.

    Nothing of a file is executed. Its arrays are mapped, not loaded: the memory in use
    is that of a few tensors.

    Args:
      files: one or more files; together they hold at most a generator, with or without
        an average, and a discriminator.
      options: what the files do not say.

    Raises:
      UserError: a file is not readable, holds other networks or two of a kind, or ours
        cannot represent them.
    """
    found = [network for file in files for network in _networks(file)]
    generators = [n for is_generator, n in found if is_generator]
    discriminators = [n for is_generator, n in found if not is_generator]
    if options.only == "generator":
        discriminators = []
    if options.only == "discriminator":
        generators = []
    averaged = [n for n in generators if n.is_average]
    lives = [n for n in generators if not n.is_average]
    chosen = _single((lives if options.live else averaged) or generators)
    other = _single(discriminators)
    if chosen is None and other is None:
        raise UserError(f"files={_names(files)} {_NONE}")
    return _converted(chosen, other, options)


def _names(files: Iterable[str | os.PathLike[str]]) -> str:
    return ", ".join(repr(os.fspath(file)) for file in files)


_NONE = (
    "hold no generator or discriminator of a known layout; pass weights of a SAGAN of "
    "BigGAN-PyTorch, StudioGAN, mmgeneration or mmagic."
)


def _single(found: list[_Found]) -> _Found | None:
    if len(found) > 1:
        labels = " and ".join(network.tensors.label for network in found[:3])
        raise UserError(
            f"files hold several networks of a kind ({labels}); pass the file of one, "
            "or --live to leave averages out."
        )
    return found[0] if found else None


def _networks(file: str | os.PathLike[str]) -> Iterable[tuple[bool, _Found]]:
    """Yields the networks in a file, with whether each is a generator."""
    with naming("file", os.fspath(file)):
        path = paths.local(file)
    if not path.is_file():
        raise UserError(
            f"file={os.fspath(file)!r} does not exist; pass files of torch.save."
        )
    nested = torch_file.open_nested(path)
    for group, tensors in nested.groups.items():
        for name, layout in LAYOUTS.items():
            for prefix, is_generator in _prefixes(tensors, layout):
                where = "/".join(part for part in (group, prefix.rstrip(".")) if part)
                inside = {
                    key.removeprefix(prefix): value
                    for key, value in tensors.items()
                    if key.startswith(prefix)
                }
                own = Tensors(label(path, where), inside, nested.size)
                yield is_generator, _Found(name, prefix, f"{path.name}/{where}", own)


def _prefixes(names: Iterable[str], layout: Layout) -> list[tuple[str, bool]]:
    """Returns what is in front of the names of each network, and if it generates."""
    known = set(names)

    def fronts(layer: str) -> set[str]:
        ends = [f"{layer}.{end}" for end in ("weight", "weight_orig")]
        ends.append(f"{layer}.parametrizations.weight.original")
        return {
            name.removesuffix(end)
            for name in known
            for end in ends
            if name == end or name.endswith(f".{end}")
        }

    generators = fronts(layout.generator["conv"]) & fronts(layout.generator["dense"])
    head = layout.discriminator_block["conv1"]
    first = layout.discriminator.get("block1", "blocks.0.0")
    discriminators = fronts(layout.discriminator["dense"]) & fronts(f"{first}.{head}")
    return [(prefix, True) for prefix in sorted(generators)] + [
        (prefix, False) for prefix in sorted(discriminators - generators)
    ]


def _converted(
    generator: _Found | None, discriminator: _Found | None, options: Options
) -> Converted:
    first = generator or discriminator
    assert first is not None
    if generator and discriminator and generator.layout != discriminator.layout:
        raise UserError(
            f"{generator.tensors.label} is of {LAYOUTS[generator.layout].name} and "
            f"{discriminator.tensors.label} of {LAYOUTS[discriminator.layout].name}; "
            "convert them separately."
        )
    layout = LAYOUTS[first.layout]
    blue_first = layout.blue_first
    if options.channel_order:
        blue_first = options.channel_order == "bgr"
    g = d = None
    if generator:
        g = networks_in.generator(
            generator.tensors,
            layout,
            blue_first=blue_first,
            scales=options.class_scales,
        )
    if discriminator:
        side = options.resolution or (g.resolution if g else 0)
        d = networks_in.discriminator(
            discriminator.tensors, layout, blue_first=blue_first, resolution=side
        )
    config = Config(name=f"converted from {layout.name}")
    config.model = _model(g, d, layout, options)
    config.train.ema_decay = 0.0  # what is read is one set of parameters
    _check(config, g, d, first.tensors.label)
    notes = (
        *_assumed(layout, options, d is not None),
        *(g.notes if g else ()),
        *(d.notes if d else ()),
    )
    return Converted(
        config, g.variables if g else None, d.variables if d else None, notes
    )


def _model(
    g: Read | None, d: Read | None, layout: Layout, options: Options
) -> ModelConfig:
    """Returns the fields that build both networks, or the one that is there."""
    one = g or d
    assert one is not None
    if g and d and (g.resolution, g.num_classes) != (d.resolution, d.num_classes):
        raise UserError(
            f"the generator has {g.resolution} pixels and {g.num_classes} classes, the "
            f"discriminator {d.resolution} and {d.num_classes}; convert one of them by "
            "--only generator."
        )
    attended = [n.attention_spectral_norm for n in (g, d) if n and n.spectral_norm]
    known = {value for value in attended if value is not None}
    if len(known) > 1:
        raise UserError(
            "attention has spectral norm in one network and not in the other; convert "
            "one of them by --only generator."
        )
    model = ModelConfig(
        resolution=one.resolution,
        num_classes=one.num_classes,
        channels=one.image_channels,
        latent_dim=g.latent_dim if g else ModelConfig().latent_dim,
        attention_resolutions=(),
        attention_spectral_norm=known.pop() if known else True,
        generator_normalization=_normalization(g),
        discriminator_normalization=_normalization(d),
        discriminator_rectified_shortcut=_is_rectified(layout, options),
        batch_norm_decay=DECAY,
        batch_norm_last_decay=DECAY,
        batch_norm_eps=options.batch_norm_eps or layout.batch_norm_eps,
    )
    if g:
        model.generator_attention_resolutions = g.attention
        model.class_tables = g.class_tables or model.class_tables
        model.width, model.generator_channel_multiples = _width(
            g.channels, GENERATOR_MULTIPLES[g.resolution]
        )
    if d:
        model.discriminator_attention_resolutions = d.attention
        width, model.discriminator_channel_multiples = _width(
            d.channels, DISCRIMINATOR_MULTIPLES[d.resolution]
        )
        model.width = model.width if g else width
        model.discriminator_width = 0 if model.width == width else width
    if g and not d:
        model.discriminator_attention_resolutions = _sides_of_a_new_one(model, g)
    if g and d and g.attention == d.attention:
        model.attention_resolutions = g.attention
        model.generator_attention_resolutions = SAME
        model.discriminator_attention_resolutions = SAME
    return model


def _sides_of_a_new_one(model: ModelConfig, g: Read) -> tuple[int, ...]:
    """Returns those of the generator's sides that suit a new discriminator."""
    stages = discriminator_plan(g.resolution, model.width)
    able = {s.resolution for s in stages if s.features % 8 == 0}
    return tuple(side for side in g.attention if side in able)


def _normalization(network: Read | None) -> str:
    return "none" if network and not network.spectral_norm else "spectral"


def _is_rectified(layout: Layout, options: Options) -> bool:
    if options.shortcut:
        return options.shortcut == "rectified"
    return layout.rectified_shortcut


def _width(
    channels: tuple[int, ...], multiples: tuple[int, ...]
) -> tuple[int, tuple[int, ...]]:
    """Returns the width, and the multiples of it if they are not the default."""
    width = max(1, channels[0] // multiples[0])
    if channels == tuple(width * multiple for multiple in multiples):
        return width, ()
    width = math.gcd(*channels)
    return width, tuple(count // width for count in channels)


def _assumed(layout: Layout, options: Options, judged: bool) -> list[str]:
    """Returns sentences about what the layout was trusted for."""
    notes = []
    if not options.batch_norm_eps:
        notes.append(
            f"Batch norm adds {layout.batch_norm_eps:g} to variances, as {layout.name} "
            "does by default; --batch_norm_eps changes that."
        )
    if not options.channel_order and layout.blue_first:
        notes.append(
            "The networks were taken to have blue, green and red in this order, and "
            "were converted to red, green and blue; --channel_order rgb leaves them."
        )
    if judged and not options.shortcut and layout is not biggan.LAYOUT:
        rectified = "rectified" if layout.rectified_shortcut else "raw"
        notes.append(
            f"Shortcuts of the discriminator take the {rectified} input, as "
            f"{layout.name} has it by default; --shortcut changes that."
        )
    return notes


def _check(config: Config, g: Read | None, d: Read | None, where: str) -> None:
    """Raises UserError unless the variables are those of the networks of a config."""
    config_lib.validate(config, with_data=False)
    model = config.model
    generator, discriminator = networks.build(model)
    side = model.resolution
    inputs = {
        "generator": (generator, (1, model.latent_dim)),
        "discriminator": (discriminator, (1, side, side, model.channels)),
    }
    for name, network in (("generator", g), ("discriminator", d)):
        if network is not None:
            shapes = _shapes(*inputs[name])
            _compare(shapes, network.variables, f"{where}: the {name}")


@functools.lru_cache(maxsize=4)
def _shapes(module: Any, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a network's variables, by dotted name."""
    labels = jnp.zeros((1,), jnp.int32) if module.num_classes else None
    wanted = jax.eval_shape(
        lambda key, x: module.init(key, x, labels),
        jax.eval_shape(lambda: keys.key(0)),
        jax.ShapeDtypeStruct(shape, jnp.float32),
    )
    return {name: tuple(leaf.shape) for name, leaf in _leaves(wanted).items()}


def _compare(
    wanted: dict[str, tuple[int, ...]], found: dict[str, Any], where: str
) -> None:
    found_by_name = _leaves(found)
    for name, shape in wanted.items():
        if name not in found_by_name:
            raise UserError(f"{where} has no {name}; it is another network.")
        theirs = tuple(found_by_name[name].shape)
        if theirs != shape:
            raise UserError(
                f"{where} has {name} of shape {theirs}, and ours {shape}; it is "
                "another network."
            )
    for name in found_by_name.keys() - wanted.keys():
        raise UserError(f"{where} has {name}, and ours has not; it is another network.")


def _leaves(tree: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }
