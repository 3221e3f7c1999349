"""Draws the training curves of a run: python tools/curves.py WORKDIR PICTURE.png.

Needs matplotlib (pip install matplotlib), which nothing else in this repository needs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan_jax.errors import UserError
from sagan_jax.files import json_lines, whole

PANELS = {
    "losses": ("loss/discriminator", "loss/generator"),
    "mean logits": ("logits/real", "logits/fake"),
    "share of logits above 0": ("positive/real", "positive/fake"),
    "attention gates (gamma)": ("gamma/generator", "gamma/discriminator"),
    "largest sigma": ("largest_sigma/generator", "largest_sigma/discriminator"),
    "gradient norms": ("gradient_norm/generator", "gradient_norm/discriminator"),
}
"""Title of each panel, and the prefixes of the metrics in it."""

WINDOW = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path, metavar="WORKDIR")
    parser.add_argument("picture", type=Path, metavar="PICTURE.png")
    options = parser.parse_args(argv)
    try:
        draw(options.workdir, options.picture)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def draw(workdir: Path, picture: Path) -> None:
    """Writes six panels of curves over steps: thin as logged, thick smoothed.

    Raises:
      UserError: the run has logged nothing, or matplotlib is not installed.
    """
    lines = read(workdir)
    try:
        import matplotlib
    except ImportError as error:
        raise UserError(
            "matplotlib is not installed; run pip install matplotlib."
        ) from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [line["step"] for line in lines]
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6), layout="constrained")
    for axis, (title, curves) in zip(axes.flat, panels(lines).items(), strict=True):
        for name, values in curves.items():
            (drawn,) = axis.plot(steps, values, linewidth=0.5, alpha=0.4)
            axis.plot(steps, smoothed(values), color=drawn.get_color(), label=name)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.legend(fontsize=7)
    with whole.replacing(picture) as temporary:
        figure.savefig(temporary, dpi=100, format=picture.suffix.lstrip(".") or "png")
    pyplot.close(figure)


def read(workdir: Path) -> list[dict[str, Any]]:
    """Returns the lines of the run's metrics.jsonl.

    Raises:
      UserError: there are none.
    """
    lines = json_lines.read(workdir / "metrics.jsonl")
    if not lines:
        raise UserError(
            f"workdir={str(workdir)!r} has no logged steps; pass the workdir of a run."
        )
    return lines


def panels(lines: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Returns {title: {metric: values}} of all panels."""
    return {
        title: {
            name: [line[name] for line in lines]
            for name in lines[0]
            if name.startswith(prefixes)
        }
        for title, prefixes in PANELS.items()
    }


def smoothed(values: Sequence[float]) -> list[float]:
    """Returns the mean of each value and up to nine before it."""
    starts = (max(0, i - WINDOW + 1) for i in range(len(values)))
    return [sum(values[s : i + 1]) / (i + 1 - s) for i, s in enumerate(starts)]


if __name__ == "__main__":
    sys.exit(main())
