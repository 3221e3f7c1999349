"""Draws the curves of a run: python docs/curves.py WORKDIR PICTURE.png.

Needs matplotlib (pip install matplotlib), which nothing else here does.
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

PANELS = {
    "losses": ("loss/discriminator", "loss/generator"),
    "mean logits": ("logits/real", "logits/fake"),
    "share of logits above 0": ("positive/real", "positive/fake"),
    "attention gates (gamma)": ("gamma/generator", "gamma/discriminator"),
    "largest sigma": ("largest_sigma/generator", "largest_sigma/discriminator"),
    "gradient norms": ("gradient_norm/generator", "gradient_norm/discriminator"),
}
WINDOW = 10


def smoothed(values: list[float]) -> list[float]:
    """Returns the mean of each value and up to nine before it."""
    starts = (max(0, i - WINDOW + 1) for i in range(len(values)))
    return [sum(values[s : i + 1]) / (i + 1 - s) for i, s in enumerate(starts)]


def draw(workdir: Path, picture: Path) -> None:
    """Writes `picture`: six panels over the steps, thin as logged, thick smoothed."""
    lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    steps = [record["step"] for record in records]
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6), layout="constrained")
    for axis, (title, prefixes) in zip(axes.flat, PANELS.items(), strict=True):
        names = [n for n in records[0] if n.startswith(prefixes)]
        for name in names:
            values = [record[name] for record in records]
            (line,) = axis.plot(steps, values, linewidth=0.5, alpha=0.4)
            axis.plot(steps, smoothed(values), color=line.get_color(), label=name)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.legend(fontsize=7)
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
