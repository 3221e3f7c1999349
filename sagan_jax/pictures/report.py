"""The page of a run: everything in its workdir, in one HTML file."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import sagan_jax
from sagan_jax.evaluation import progress
from sagan_jax.files import json_lines
from sagan_jax.pictures import (
    album,
    curves,
    explorer,
    packed_maps,
    page,
    run_curves,
    run_tables,
)
from sagan_jax.pictures.page import Html, join, number, section, tag
from sagan_jax.workdir.run import Run

if TYPE_CHECKING:  # it imports jax, which a page does not need
    from sagan_jax.evaluation.attention import LayerMaps

PAGE_BYTES = page.MOST_BYTES
"""Most bytes of a page."""
EXPLORER_BYTES = 4_000_000
"""Most characters of the embedded maps; fewer images are shown where they exceed it."""
MOST_IMAGES = 8
"""Images of the explorer at most."""
_PICTURE_BYTES = 500_000  # of the interpolation, and of the real images
_SPARE_BYTES = 50_000


class Maps(NamedTuple):
    """Images of a checkpoint and the attention of the pass that made them.

    Attributes:
      step: the step of the checkpoint.
      images: uint8 [N, H, W, C].
      layers: the attention of each layer, in order.
      labels: [N] int classes; () without classes.
    """

    step: int
    images: np.ndarray
    layers: "Sequence[LayerMaps]"
    labels: Sequence[int] = ()


class _Logs(NamedTuple):
    """The lines of the files of a workdir."""

    metrics: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    attention: list[dict[str, Any]]
    results: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    rollbacks: list[dict[str, Any]]


def shown_images(layers: "Sequence[LayerMaps]", count: int) -> int:
    """Returns how many of `count` images fit into the explorer with their maps."""
    return min(count, max(1, EXPLORER_BYTES // max(1, packed_maps.text_bytes(layers))))


def of_run(run: Run, maps: Maps | None, without: str = "") -> str:
    """Returns the HTML page of a run, which may still be going on, or have died.

    Lines of its logs that are cut short or damaged are skipped.

    Args:
      run: the run.
      maps: what the attention explorer shows; None for a page without it.
      without: why there is no explorer, in a sentence.
    """
    logs = _Logs(
        *map(
            json_lines.read,
            (
                run.metrics,
                run.evaluations,
                run.attention_log,
                run.results,
                run.starts,
                run.rollbacks,
            ),
        )
    )
    sections = {
        "attention": ("Attention", _attention(maps, without, _class_names(logs))),
        "samples": ("Samples", Html("")),
        "curves": ("Curves", _curves(logs)),
        "scores": ("Scores", run_tables.scores(logs.results)),
        "history": ("History", _history(run, logs)),
        "config": ("Config", run_tables.config(run.config)),
        "environment": ("Environment", _environment(logs)),
    }
    # The sheets take the room that is left.
    rest = len(_written(run, logs, sections).encode())
    budget = PAGE_BYTES - rest - _SPARE_BYTES
    sections["samples"] = ("Samples", _samples(run, budget))
    return _written(run, logs, sections)


def _written(run: Run, logs: _Logs, sections: Mapping[str, tuple[str, Html]]) -> str:
    links = [tag("a", title, href=f"#{name}") for name, (title, _) in sections.items()]
    body = join(
        (
            tag("a", "Skip to the content", href="#main", class_="skip"),
            tag("header", _head(run, logs), tag("nav", *links, aria_label="Sections")),
            tag(
                "main",
                *(section(name, *parts) for name, parts in sections.items()),
                id="main",
            ),
            tag(
                "footer",
                f"Made by sagan_jax {sagan_jax.__version__} from ",
                tag("code", run.workdir),
            ),
        )
    )
    scripts = ("explorer.js", "album.js", "curves.js")
    return page.document(f"{run.config.name}: sagan_jax", body, scripts=scripts)


def _head(run: Run, logs: _Logs) -> Html:
    model, steps = run.config.model, run.config.train.steps
    step = _last_step(logs)
    classes = f"{model.num_classes} classes" if model.num_classes else "no classes"
    what = f"SAGAN, {model.resolution}\u00d7{model.resolution} pixels, {classes}"
    if step >= steps:
        state = "finished"
    elif step:
        state = "not finished"
    else:
        state = "no step logged yet"
    facts = [("Steps", f"{step:,} of {steps:,}", state)]
    if logs.metrics:
        time = run_tables.when(logs.metrics[-1].get("time"))
        date, _, rest = time.partition(" ")
        facts.append(("Last log", date, rest))
    if best := progress.best(run):
        name = next(n for n in best if n not in _ABOUT_BEST)
        facts.append(
            (
                f"{run_curves.title_of(name)}, best so far",
                number(best[name]),
                f"at step {best['step']:,}",
            )
        )
    facts += [
        (f"Gamma, {name}", number(value), "in the live generator")
        for name, value in _gammas(logs)[:2]
    ]
    items = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note)))
        for name, value, note in facts
    ]
    return join(
        (
            tag("p", what, class_="kicker"),
            tag("h1", run.config.name),
            tag("dl", *items, class_="facts"),
        )
    )


_ABOUT_BEST = ("step", "num_samples", "seed", "reference")


def _last_step(logs: _Logs) -> int:
    for line in reversed(logs.metrics):
        if (step := json_lines.step_of(line)) is not None:
            return step
    return 0


def _gammas(logs: _Logs) -> list[tuple[str, float]]:
    last = logs.metrics[-1] if logs.metrics else {}
    prefix = "gamma/generator/"
    return [
        (name.removeprefix(prefix), value)
        for name, value in last.items()
        if name.startswith(prefix) and isinstance(value, float)
    ]


def _class_names(logs: _Logs) -> list[str]:
    for line in reversed(logs.starts):
        if isinstance(names := line.get("classes"), list):
            return [str(name) for name in names]
    return []


def _attention(maps: Maps | None, without: str, names: Sequence[str]) -> Html:
    if maps is None:
        return tag("p", without or "There is no attention to show.", class_="empty")
    count = shown_images(maps.layers, min(len(maps.images), MOST_IMAGES))
    labels = [f"image {index + 1}" for index in range(count)]
    if len(maps.labels):
        labels = [_class_name(int(label), names) for label in maps.labels[:count]]
    layers = [layer._replace(weights=layer.weights[:count]) for layer in maps.layers]
    note = tag(
        "p",
        f"The generator at step {maps.step:,}, and the first {count} images of the "
        "sheet\u2019s seed, not picked.",
        class_="note",
    )
    return join((explorer.markup(maps.images[:count], layers, labels), note))


def _class_name(label: int, names: Sequence[str]) -> str:
    name = names[label] if label < len(names) else ""
    return name[:60] or f"class {label}"


def _samples(run: Run, budget: int) -> Html:
    parts, pictures = [], []
    for path, caption in _other_pictures(run):
        content = album.compressed(path)
        if content and album.uri_bytes(content) <= min(_PICTURE_BYTES, budget):
            budget -= album.uri_bytes(content)
            pictures.append(album.picture(content, caption))
    parts.append(album.markup(run.samples, budget))
    return tag("div", *parts, *pictures, class_="samples")


def _other_pictures(run: Run) -> list[tuple[Any, str]]:
    """Returns the real images and the newest interpolations, with captions."""
    if not run.samples.is_dir():
        return []
    found = [(path, "real images") for path in run.samples.glob("real.png")]
    interpolations = sorted(run.samples.glob("interpolation_*.png"))
    for path in interpolations[-2:]:
        words = path.stem.replace("_", " ")
        found.append((path, words))
    return found


def _curves(logs: _Logs) -> Html:
    if not logs.metrics and not logs.evaluations:
        return tag("p", "No step has been logged yet.", class_="empty")
    scores = run_curves.of_scores(logs.evaluations)
    attention = run_curves.of_attention(logs.attention)
    parts = [curves.charts(run_curves.of_metrics(logs.metrics))]
    for title, figures in (
        ("Scores while training", scores),
        ("Attention while training", attention),
    ):
        if figures:
            parts += [tag("h3", title), curves.charts(figures)]
    return join(parts)


def _history(run: Run, logs: _Logs) -> Html:
    return join(
        (
            tag("h3", "Warnings"),
            run_tables.warnings(logs.metrics, run.set_aside()),
            tag("h3", "Rollbacks"),
            run_tables.rollbacks(logs.rollbacks),
            tag("h3", "Starts"),
            run_tables.starts(logs.starts),
        )
    )


def _environment(logs: _Logs) -> Html:
    newest = logs.starts or logs.results
    return run_tables.environment(newest[-1] if newest else {})
