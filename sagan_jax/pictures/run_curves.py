"""The curves of a run: what its logs hold, in charts that belong together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sagan_jax.pictures import curves
from sagan_jax.pictures.page import Html

Lines = Sequence[Mapping[str, Any]]

_GROUPS = (
    ("loss", "Losses", ""),
    ("logits", "D\u2019s mean logits", "Apart: D tells real from fake."),
    ("margin", "Halves of the hinge loss", "0: all logits beyond the margin."),
    ("positive", "Share of logits above 0", "Both at 0.5: D cannot tell."),
    ("gamma", "Gamma of attention", "0: the block is the identity."),
    ("largest_sigma", "Largest sigma", "Largest singular value of any kernel."),
    ("gradient_norm", "Gradient norms", ""),
    ("parameter_norm", "Parameter norms", ""),
)
"""Names in metrics.jsonl up to the first slash, titles, and notes."""

_ALONE = (
    ("images_per_second", "Images per second", ""),
    ("skipped", "Steps that were not finite", ""),
    ("collapse_signs", "Signs of collapse", ""),
    ("images_replaced", "Unreadable images replaced", ""),
)
_ONLY_IF_SEEN = ("skipped", "collapse_signs", "images_replaced")

_LOWER = "Lower is better."
_TITLES = {
    "score": "Disagreement S",
    "missing": "Missing glyphs",
    "den": "Hue coverage",
    "class_correctness": "Class correctness",
}
_NOTES = {
    "score": "0: both sides agree. 1: they are independent.",
    "class_correctness": "Share of images that show their class.",
    "missing": "Share of images without both glyphs.",
    "den": "1: that of real images.",
    "IS": "Higher is better.",
}
_NOT_SCORES = ("step", "time", "num_samples", "seed", "n", "raw")

MOST_SCORES = 12
"""Charts of scores at most; a damaged log may hold any number of names."""


def of_metrics(lines: Lines) -> list[Html]:
    """Returns the charts of metrics.jsonl."""
    names = _names(lines)
    charts = []
    for group, title, note in _GROUPS:
        members = [name for name in names if name.startswith(f"{group}/")]
        if members:
            charts.append(_chart(title, note, lines, members[: curves.COLORS]))
    for name, title, note in _ALONE:
        seen = any(line.get(name) for line in lines)
        if name in names and (seen or name not in _ONLY_IF_SEEN):
            charts.append(_chart(title, note, lines, [name]))
    return charts


def of_scores(lines: Lines) -> list[Html]:
    """Returns a chart for each score in evaluations.jsonl."""
    names = [name for name in _names(lines) if name not in _NOT_SCORES]
    return [
        _chart(title_of(name), note_of(name), lines, [name])
        for name in names[:MOST_SCORES]
    ]


def of_attention(lines: Lines) -> list[Html]:
    """Returns a chart for each number that attention.jsonl has of every layer.

    A line holds the numbers of a layer in an object of its own, or under names with
    slashes; the last part of a name says what is measured.
    """
    rows = [flat(line) for line in lines]
    names = [name for name in _names(rows) if name not in _NOT_SCORES]
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(_kind_of(name), []).append(name)
    return [
        _chart(f"Attention: {kind.replace('_', ' ')}", "", rows, members)
        for kind, members in list(kinds.items())[:MOST_SCORES]
    ]


def _kind_of(name: str) -> str:
    """Returns what a number measures: the part of its name that names no layer."""
    parts = [
        part
        for part in name.split("/")
        if not part.startswith("attention")
        and part not in ("generator", "discriminator", "layers")
    ]
    return "/".join(parts) or name


def flat(line: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns what nested objects of a line hold, under names with slashes."""
    found: dict[str, Any] = {}
    for name, value in line.items():
        if isinstance(value, Mapping) and prefix.count("/") < 3:
            found |= flat(value, f"{prefix}{name}/")
        else:
            found[prefix + name] = value
    return found


def _names(lines: Lines) -> list[str]:
    """Returns the names of numbers, in the order in which they appear."""
    found: dict[str, None] = {}
    for line in lines:
        for name, value in line.items():
            if isinstance(value, float) or (type(value) is int and name != "step"):
                found[name] = None
    return list(found)


def _chart(title: str, note: str, lines: Lines, names: Iterable[str]) -> Html:
    members = list(names)
    short = _without_shared(members)
    return curves.chart(
        title,
        [
            curves.series(brief, lines, name)
            for brief, name in zip(short, members, strict=True)
        ],
        note=note,
    )


def _without_shared(names: list[str]) -> list[str]:
    """Returns names without the parts that all of them have in common."""
    parts = [name.split("/") for name in names]
    shared = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    kept = [" ".join(p for p in own if p not in shared) for own in parts]
    return [brief or name for brief, name in zip(kept, names, strict=True)]


def title_of(score: str) -> str:
    """Returns what a score is called on the page."""
    return _TITLES.get(score, score.replace("_", " "))


def note_of(name: str) -> str:
    """Returns how to read a score, in a short sentence; '' without one."""
    if name.startswith(("FID", "FD-", "KID", "KD-", "MIND")):
        return _LOWER
    # 'precision-DINOv2-L' reads as 'precision' does.
    return _NOTES.get(name) or _NOTES.get(name.partition("-")[0], "")
