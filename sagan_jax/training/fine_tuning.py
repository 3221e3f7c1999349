"""Starts the networks of a run from those of another run."""

import dataclasses
from typing import Any, NamedTuple

import jax

from sagan_jax.errors import UserError
from sagan_jax.training.state import GanState, Tree

_MOST_NAMED = 8  # arrays that a sentence names


class Source(NamedTuple):
    """The networks of another run, to start from.

    Attributes:
      generator: the live collections of the generator.
      discriminator: those of the discriminator.
      ema: the averaged parameters; {} if that run keeps none.
    """

    generator: dict[str, Tree]
    discriminator: dict[str, Tree]
    ema: Tree


def started_from(
    state: GanState, source: Source, frozen: tuple[str, ...] = ()
) -> tuple[GanState, str]:
    """Returns `state` with every array that `source` has in the same shape, in words.

    Arrays of other shapes, such as class tables of other classes, keep their initial
    values, and all optimizer states are new. Averages start from the average of the
    source, or from its live parameters.

    Args:
      state: the state of a new run.
      source: the networks to start from.
      frozen: layers of the discriminator that will not be trained.

    Raises:
      UserError: no array fits, or a frozen layer is not in `source`.
    """
    g = transplanted(state.generator.variables, source.generator)
    d = transplanted(state.discriminator.variables, source.discriminator)
    averaged = source.ema or source.generator["params"]
    if not g.copied or not d.copied:
        raise UserError(
            "no array of the "
            f"{'discriminator' if g.copied else 'generator'} has the shape of ours; "
            "use the resolution, width and blocks of that run."
        )
    for name in d.new:
        if name.split(".")[1] in frozen:
            raise UserError(
                f"{name} is to be frozen, but is not there in this shape; lower "
                "train.freeze_discriminator, or use the widths of that run."
            )
    new = [f"{kind} {name}" for kind, part in (("G", g), ("D", d)) for name in part.new]
    words = ", ".join(new[:_MOST_NAMED]) + (", ..." if len(new) > _MOST_NAMED else "")
    started = dataclasses.replace(
        state,
        generator=dataclasses.replace(state.generator, **g.tree),
        discriminator=dataclasses.replace(state.discriminator, **d.tree),
        ema=transplanted(state.ema, averaged).tree,
        averages={
            name: transplanted(tree, averaged).tree
            for name, tree in state.averages.items()
        },
    )
    return started, (
        f"{g.copied + d.copied} arrays copied, {len(new)} new"
        f"{f' ({words})' if new else ''}"
    )


class Transplant(NamedTuple):
    """Arrays of which some were taken from another tree.

    Attributes:
      tree: the arrays.
      copied: number of arrays that were taken.
      new: names of the arrays that were not, such as 'block1.norm1.scale'.
    """

    tree: Tree
    copied: int
    new: list[str]


def transplanted(ours: Tree, theirs: Tree) -> Transplant:
    """Returns `ours` with each array that `theirs` has under its path in its shape.

    Values that are taken get the dtype of ours.
    """
    found = dict(_named(theirs))
    copied = 0
    new: list[str] = []

    def chosen(path: Any, leaf: Any) -> Any:
        nonlocal copied
        name = _name(path)
        other = found.get(name)
        if other is None or other.shape != leaf.shape:
            new.append(name)
            return leaf
        copied += 1
        return other.astype(leaf.dtype)

    tree = jax.tree.map_with_path(chosen, ours)
    return Transplant(tree, copied, new)


def _named(tree: Tree) -> list[tuple[str, Any]]:
    return [(_name(path), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
