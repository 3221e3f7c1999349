"""Reads a generator or a discriminator of a layout, and what its shapes say."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError
from sagan_jax.interop.layers import CELLS, Variables
from sagan_jax.interop.layout import Layout
from sagan_jax.interop.tensors import Tensors, quoted
from sagan_jax.networks.channels import DISCRIMINATOR_MULTIPLES, DOWN

Array = NDArray[Any]

ATTENTION = ("query", "key", "value", "output")


@dataclass(frozen=True)
class Read:
    """A network of the file in our form.

    Attributes:
      variables: `params`, `batch_stats` and `spectral`, nested dicts.
      channels: of the 4x4 map (generator only) and of each block.
      attention: sides of the maps that attention follows.
      resolution: side of an image.
      image_channels: channels of an image.
      num_classes: 0 if there are none.
      latent_dim: length of z; 0 for a discriminator.
      spectral_norm: whether the kernels have it.
      attention_spectral_norm: whether those of attention have it; None without any.
      class_tables: a name in networks.layers.CLASS_TABLES; '' without classes.
      notes: sentences about what was not kept.
    """

    variables: dict[str, dict[str, Any]]
    channels: tuple[int, ...]
    attention: tuple[int, ...]
    resolution: int
    image_channels: int
    num_classes: int
    latent_dim: int
    spectral_norm: bool
    attention_spectral_norm: bool | None
    class_tables: str
    notes: tuple[str, ...]


def generator(
    tensors: Tensors, layout: Layout, *, blue_first: bool, scales: str = ""
) -> Read:
    """Returns the generator of a file.

    Args:
      tensors: its tensors.
      layout: its names.
      blue_first: whether it makes images of blue, green and red.
      scales: 'plain' if the scales in its class tables are used as they are, 'one_plus'
        if one is added to them; '': one is added, unless that looks wrong.

    Raises:
      UserError: it is not a network of this layout that ours can represent.
    """
    v = Variables(tensors)
    blocks, attention = _places(tensors, layout)
    if len(blocks) not in (3, 4, 5, 6):
        raise UserError(
            f"{tensors.label} has {len(blocks)} blocks in its generator; those of 32, "
            "64, 128 and 256 pixels, with 3 to 6 blocks, are supported."
        )
    names, parts = layout.generator, layout.generator_block
    v.dense(("dense",), names["dense"], cells=CELLS)
    kernel = v.collections["params"]["dense"]["kernel"]
    latent_dim, channels = len(kernel), [kernel.shape[1] // CELLS]
    for number, place in enumerate(blocks, start=1):
        ours = f"block{number}"
        for part in ("conv1", "conv2", "shortcut"):
            v.conv((ours, part), f"{place}.{parts[part]}")
        for part in ("norm1", "norm2"):
            _norm(v, layout, (ours, part), f"{place}.{parts[part]}")
        channels.append(v.collections["params"][ours]["conv2"]["kernel"].shape[-1])
    sides = [8 * 2 ** (number - 1) for number, _ in attention]
    for side, (_, place) in zip(sides, attention, strict=True):
        _attention(v, layout, f"attention{side}", place)
    _norm(v, layout, ("norm",), names["norm"])
    v.conv(("conv",), names["conv"], reverse="out" if blue_first else "")
    image_channels = v.collections["params"]["conv"]["kernel"].shape[-1]
    tables, num_classes = _tables(v, scales)
    notes, normalised, attended = _finish(v, "generator")
    return Read(
        variables=v.collections,
        channels=tuple(channels),
        attention=tuple(sides),
        resolution=4 * 2 ** len(blocks),
        image_channels=image_channels,
        num_classes=num_classes,
        latent_dim=latent_dim,
        spectral_norm=normalised,
        attention_spectral_norm=attended,
        class_tables=tables,
        notes=notes,
    )


def discriminator(
    tensors: Tensors, layout: Layout, *, blue_first: bool, resolution: int = 0
) -> Read:
    """Returns the discriminator of a file.

    Args:
      tensors: its tensors.
      layout: its names.
      blue_first: whether it expects images of blue, green and red.
      resolution: side of an image; 0: that of networks with so many blocks.

    Raises:
      UserError: it is not a network of this layout that ours can represent.
    """
    v = Variables(tensors)
    blocks, attention = _places(tensors, layout)
    resolution = resolution or _resolution(tensors, len(blocks))
    if resolution not in DOWN:
        raise UserError(
            f"resolution={resolution} is not supported; choose one of "
            f"{', '.join(map(str, DOWN))}."
        )
    names, parts = layout.discriminator, layout.discriminator_block
    channels: list[int] = []
    for number, place in enumerate(blocks, start=1):
        ours, reverse = f"block{number}", "in" if blue_first and number == 1 else ""
        v.conv((ours, "conv1"), f"{place}.{parts['conv1']}", reverse=reverse)
        v.conv((ours, "conv2"), f"{place}.{parts['conv2']}")
        if tensors.has_kernel(f"{place}.{parts['shortcut']}"):
            v.conv((ours, "shortcut"), f"{place}.{parts['shortcut']}", reverse=reverse)
        channels.append(v.collections["params"][ours]["conv2"]["kernel"].shape[-1])
    _check_halvings(v, layout, channels, resolution)
    down = DOWN[resolution]
    sides = [resolution // 2 ** min(number, down) for number, _ in attention]
    for side, (number, place) in zip(sides, attention, strict=True):
        if number > down:
            raise UserError(
                f"{tensors.label} has attention after block {number}, and ours has it "
                f"after the first block of a side only; {_ALONE}."
            )
        _attention(v, layout, f"attention{side}", place)
    v.dense(("dense",), names["dense"])
    num_classes = 0
    if tensors.has_kernel(names["embed"]):
        v.table(("embed",), names["embed"])
        num_classes = len(v.collections["params"]["embed"]["embedding"])
    image_channels = v.collections["params"]["block1"]["conv1"]["kernel"].shape[2]
    notes, normalised, attended = _finish(v, "discriminator")
    return Read(
        variables=v.collections,
        channels=tuple(channels),
        attention=tuple(sorted(sides)),
        resolution=resolution,
        image_channels=image_channels,
        num_classes=num_classes,
        latent_dim=0,
        spectral_norm=normalised,
        attention_spectral_norm=attended,
        class_tables="",
        notes=notes,
    )


_ALONE = "convert the generator alone, by --only generator"


def _places(
    tensors: Tensors, layout: Layout
) -> tuple[list[str], list[tuple[int, str]]]:
    """Returns the names of the blocks, and of attention with the block before it."""
    pattern = re.compile(rf"({layout.places})\.")
    found = {
        match[1]: tuple(int(digits[:9]) for digits in match.groups()[1:])
        for name in tensors.stored
        if (match := pattern.match(name))
    }
    first = layout.discriminator.get("block1", "")
    in_front = first and any(name.startswith(f"{first}.") for name in tensors.stored)
    blocks = [first] if in_front else []
    attention: list[tuple[int, str]] = []
    for place in sorted(found, key=found.__getitem__):
        if tensors.has_kernel(f"{place}.{layout.attention['query']}"):
            if attention and attention[-1][0] == len(blocks):
                raise UserError(
                    f"{tensors.label} has attention twice after block {len(blocks)}, "
                    "and ours has it once; it is another network."
                )
            attention.append((len(blocks), place))
        else:
            blocks.append(place)
    return blocks, attention


def _resolution(tensors: Tensors, blocks: int) -> int:
    for resolution, multiples in DISCRIMINATOR_MULTIPLES.items():
        if len(multiples) == blocks:
            return resolution
    raise UserError(
        f"{tensors.label} has {blocks} blocks in its discriminator, which leaves the "
        "side of its images open; pass --resolution."
    )


def _check_halvings(
    v: Variables, layout: Layout, channels: list[int], resolution: int
) -> None:
    """Raises UserError if other blocks than ours halve the side, as far as one sees."""
    down = DOWN[resolution]
    theirs = (layout.halvings or {}).get(resolution, down)
    for number, (before, after) in enumerate(itertools.pairwise(channels), start=2):
        shortcut = "shortcut" in v.collections["params"][f"block{number}"]
        if before == after and shortcut != (number <= down):
            theirs = number if shortcut else number - 1
            break
    if theirs != down or len(channels) < down:
        raise UserError(
            f"{v.tensors.label} halves the side in {min(theirs, len(channels))} blocks "
            f"of its discriminator at {resolution} pixels, and ours in {down}; "
            f"{_ALONE}, or pass --resolution if images have another side."
        )


def _attention(v: Variables, layout: Layout, ours: str, place: str) -> None:
    for part in ATTENTION:
        v.conv((ours, part), f"{place}.{layout.attention[part]}", bias=False)
    gamma = v.tensors.array(f"{place}.{layout.attention['gamma']}")
    if gamma.size != 1:
        raise UserError(
            f"{v.tensors.label} has {gamma.size} gates in {quoted(place)}, where one "
            "is expected; it belongs to another network."
        )
    v.put("params", (ours, "gamma"), gamma.reshape(()))


def _norm(v: Variables, layout: Layout, path: tuple[str, ...], name: str) -> None:
    tensors = v.tensors
    for ends in layout.statistics:
        if tensors.has(f"{name}.{ends[0]}"):
            for ours, end in zip(("mean", "var"), ends, strict=True):
                values = tensors.array(f"{name}.{end}", 1)
                v.put("batch_stats", (*path, ours), values)
            break
    else:
        raise UserError(
            f"{tensors.label} has no running statistics of {quoted(name)}; networks "
            "with batch norm are supported."
        )
    if (values < 0).any():
        raise UserError(
            f"{tensors.label} has a negative variance in {quoted(name)}; download it "
            "again."
        )
    for form in layout.tables:
        if tensors.has_kernel(f"{name}.{form.scale}"):
            shared = layout.shared and tensors.has(f"{layout.shared}.weight")
            for ours, end in (("scale", form.scale), ("bias", form.bias)):
                if shared:
                    _shared_table(v, layout, (*path, ours), f"{name}.{end}")
                else:
                    v.table((*path, ours), f"{name}.{end}", linear=form.linear)
            return
    for scale, bias in layout.affine:
        if tensors.has(f"{name}.{scale}"):
            for ours, end in (("scale", scale), ("bias", bias)):
                v.put("params", (*path, ours), tensors.array(f"{name}.{end}", 1))
            return
    # A norm without parameters.
    v.put("params", (*path, "scale"), np.ones_like(values))
    v.put("params", (*path, "bias"), np.zeros_like(values))


def _shared_table(
    v: Variables, layout: Layout, path: tuple[str, ...], name: str
) -> None:
    """Puts the product of a norm's matrix and of the embedding that norms share."""
    embedding = v.tensors.array(f"{layout.shared}.weight", 2)
    kernel = v.tensors.kernel(name, 2)
    if kernel.weight.shape[1] != embedding.shape[1]:
        raise UserError(
            f"{v.tensors.label} has {kernel.weight.shape[1]} inputs in {quoted(name)} "
            f"and a class embedding of {embedding.shape[1]}: it feeds parts of the "
            "latents to its norms (a hierarchical BigGAN), which ours does not."
        )
    table = embedding @ (kernel.weight / np.float32(kernel.sigma())).T
    v.put("params", (*path, "embedding"), table)
    v.plain.append((*path, "embedding"))


def _tables(v: Variables, scales: str) -> tuple[str, int]:
    """Returns the form of the class tables and the number of classes."""
    paths = [path for path in (*v.normalised, *v.plain) if path[-1] == "embedding"]
    if not paths:
        return "", 0
    normalised = [path for path in paths if path in v.normalised]
    num_classes = len(v.get(paths[0]))
    if not scales:
        _check_scales(v, [path for path in paths if path[-2] == "scale"])
    if scales != "plain" and len(normalised) in (0, len(paths)):
        return "one_plus_spectral" if normalised else "one_plus", num_classes
    v.fold(normalised)
    if scales != "plain":
        return "one_plus", num_classes
    for path in paths:
        v.put("params", path[:-1], v.get(path))
    return "published", num_classes


def _check_scales(v: Variables, paths: list[tuple[str, ...]]) -> None:
    """Raises UserError if the scales look as if they were not added to one."""
    means = [float(v.get(p).mean()) / v.normalised.get(p, 1.0) for p in paths]
    if np.mean(means) > 0.5:
        raise UserError(
            f"{v.tensors.label} has scales in its class tables whose mean is "
            f"{np.mean(means):.2f}, and does not say whether one is added; pass "
            "--class_scales plain, or --class_scales one_plus if it is."
        )


def _finish(v: Variables, network: str) -> tuple[tuple[str, ...], bool, bool | None]:
    """Returns notes, and whether the kernels and those of attention are normalised."""
    if rest := v.tensors.left_over():
        names = ", ".join(quoted(name) for name in rest[:3])
        alone = f"; {_ALONE}" if network == "discriminator" else ""
        raise UserError(
            f"{v.tensors.label} has {len(rest)} tensors for which our {network} has no "
            f"place, such as {names}; it is another network{alone}."
        )
    notes = []
    kernels = [p for p in (*v.normalised, *v.plain) if not _is_class_table(p)]
    attention = [p for p in kernels if p[0].startswith("attention")]
    others = [p for p in kernels if not p[0].startswith("attention")]
    folded = 0
    if not all(path in v.normalised for path in others):
        folded = v.fold(kernels)
    elif not all(path in v.normalised for path in attention):
        folded = v.fold(attention)
    if folded:
        notes.append(
            f"The spectral norm of {folded} kernels of the {network} was multiplied "
            "into them, because others have none; further training goes without it."
        )
    if v.miss > _VISIBLE:
        notes.append(f"A sigma of the {network} is off by {v.miss:.1e} of its value.")
    normalised = all(path in v.normalised for path in others)
    attended = all(path in v.normalised for path in attention) if attention else None
    return tuple(notes), normalised, attended


_VISIBLE = 1e-5


def _is_class_table(path: tuple[str, ...]) -> bool:
    return path[-2] in ("scale", "bias")
