"""The numbers of attention maps and of their causal check, as tables and as JSON."""

from collections.abc import Sequence
from typing import Any

from sagan_jax.config import Config
from sagan_jax.evaluation import attention
from sagan_jax.evaluation.attention_files import Maps
from sagan_jax.evaluation.interventions import Check
from sagan_jax.metrics import attention_distance

_SCORES = {
    "score": "S",
    "class_correctness": "class correctness",
    "missing": "missing",
}


def rows(config: Config, maps: Maps) -> list[dict[str, Any]]:
    """Returns the reach of each layer of both networks, and on far pairs cross-mass.

    Args:
      config: the run's config.
      maps: the attention of its networks.
    """
    found = []
    for network in ("generator", "discriminator"):
        part = getattr(maps, network)
        layers = part.layers if part else ()
        crossings = attention.crossings(config, part.images, layers) if part else ()
        for layer, crossing in zip(layers, crossings, strict=True):
            reach = attention_distance.reach(layer.weights, layer.queries, layer.keys)
            facts = {"network": network, "layer": layer.name, "gamma": layer.gamma}
            facts |= {"queries": layer.queries, "keys": layer.keys}
            facts |= {"images": len(layer.weights)} | reach._asdict()
            found.append(facts | {"cross_mass": crossing})
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the numbers of each layer, from `rows`, as text, one line each."""
    numbers = {
        "gamma": "gamma",
        "distance": "distance",
        "uniform_distance": "uniform",
        "distance_ratio": "ratio",
        "entropy": "entropy",
    }
    if any(row["cross_mass"] is not None for row in rows):
        numbers["cross_mass"] = "cross-mass"
    lines = [
        [
            row["network"],
            row["layer"],
            *("-" if row[name] is None else f"{row[name]:.3f}" for name in numbers),
        ]
        for row in rows
    ]
    return _aligned([["network", "layer", *numbers.values()], *lines])


def of_check(found: Check) -> dict[str, Any]:
    """Returns a causal check as JSON takes it."""
    return found._asdict() | {"effects": [e._asdict() for e in found.effects]}


def check_table(found: Check) -> str:
    """Returns the effects of a causal check as text, one line each."""
    names = [name for name in _SCORES if name in found.effects[0].scores]
    heads = ["attention", "layers", "image change", *(_SCORES[name] for name in names)]
    lines = [
        [
            effect.change if effect.layers else "as learned",
            ", ".join(effect.layers) or "-",
            f"{effect.image_change:.2f}",
            *(f"{effect.scores[name]:.3f}" for name in names),
        ]
        for effect in found.effects
    ]
    scale = ""
    if found.between_samples is not None:
        scale = f" ({found.between_samples:.1f} between samples of one class)"
    return (
        f"{_aligned([heads, *lines])}\n"
        f"image change: mean absolute, in levels of 0 to 255{scale}; "
        f"{found.images} images"
    )


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            # Names to the left, numbers to the right.
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
