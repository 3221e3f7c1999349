"""--mode attention: what the attention layers of a checkpoint look at.

Pictures of the maps, their arrays, numbers, and what the images owe to them.
"""

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan_jax import networks, pixels
from sagan_jax.commands import sample_places
from sagan_jax.commands.opening import open_run
from sagan_jax.commands.options import Options
from sagan_jax.config import Config, values
from sagan_jax.data import sources
from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import attention, attention_summary, interventions, sampling
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.evaluation.attention_files import Maps, NetworkMaps, save_maps
from sagan_jax.files import names, paths, whole
from sagan_jax.networks import Generator
from sagan_jax.pictures import attention_maps, grid, query_points, sheets
from sagan_jax.runtime import processes
from sagan_jax.workdir.run import Run

COUNT = 4
"""Images by default."""

IMAGES_PER_PAGE = 8

MOST_BYTES = 2**32
"""Most bytes of weights of both networks, which are all in memory at once."""


def main(options: Options) -> None:
    """Writes attention maps, and prints their numbers and where they are."""
    step, labels, out = options.step_number(), options.classes(), options.out_path()
    points = query_points.parsed(options.queries)
    path, summary = save(
        open_run(options),
        step=step,
        labels=labels,
        count=options.count,
        out=out,
        points=points,
        changes=options.evaluation,
    )
    if processes.is_first():
        print(summary)
        print(f"wrote {names.shown(path)}")


def save(
    run: Run,
    *,
    step: int | str | None = None,
    labels: Sequence[int] = (),
    count: int | None = None,
    out: str | Path | None = None,
    points: Sequence[tuple[int, int]] = (),
    changes: Mapping[str, Any] | None = None,
) -> tuple[Path, str]:
    """Writes attention maps of a checkpoint; returns their directory and a summary.

    The directory holds a PNG picture for each layer and page of images, maps.npz (see
    `evaluation.attention_files`), and summary.json. The discriminator is shown real
    images, and is left out, with a sentence, if the run's images cannot be opened.

    Args:
      run: the run.
      step: the step of a checkpoint; None: the newest that is not damaged.
      labels: classes to draw; (): all classes, or `count` of them, evenly spread.
        Image i has the class labels[i % len(labels)].
      count: number of images; None: COUNT.
      out: a directory to make; None: attention/step_XXXXXXXX in the workdir, where
        earlier maps are replaced.
      points: queries (row, column) in pixels, for all images; (): chosen for each.
      changes: fields of config.evaluation that override the run's own.

    Raises:
      UserError: a network without attention; no such checkpoint or class; `out` exists
        or cannot be written.
    """
    count = values.whole("count", COUNT if count is None else count, 1)
    out = paths.local(out) if out else None
    if out and os.path.lexists(out):
        raise UserError(
            f"out={str(out)!r} exists already; remove it, or pass another --out."
        )
    config = run.config
    sample_places.check_apart(run, out)
    _check(config, labels, list(points))
    _check_count(config, count)
    if processes.is_first():
        with naming("out", str(out)) if out else naming("workdir"):
            whole.check_writable((out or run.attention / "new") / "maps.npz")
    generator, variables, config, at = generator_lib.load(run, step, changes)
    wanted = _labels(labels, count, generator)
    discriminated = _discriminated(run, at, wanted, points)
    path = out or run.attention / f"step_{at:08d}"
    if not processes.is_first():
        return path, ""
    maps = Maps(
        step=at,
        seed=config.evaluation.seed,
        generator=_generated(config, generator, variables, wanted, points),
        discriminator=discriminated if isinstance(discriminated, NetworkMaps) else None,
    )
    facts: dict[str, Any] = {"run": config.name, "step": at, "seed": maps.seed}
    layers = attention_summary.rows(config, maps)
    facts |= {"labels": wanted.tolist(), "layers": layers}
    sentences = [attention_summary.table(layers)]
    if isinstance(discriminated, str):
        facts["discriminator"] = discriminated
        sentences.append(discriminated)
    if maps.generator.layers:
        checked = _checked(config, generator, variables, wanted)
        facts["causal_check"] = attention_summary.of_check(checked)
        sentences.append(attention_summary.check_table(checked))
    else:
        facts["generator"] = "the generator of this run has no attention."
        sentences.append(facts["generator"])
    with whole.replacing(out) if out else contextlib.nullcontext(path) as folder:
        _write(folder, config, maps, facts)
    return path, "\n\n".join(sentences)


def _check(
    config: Config, labels: Sequence[int], points: list[tuple[int, int]]
) -> None:
    """Raises UserError for what cannot work, before a checkpoint is read."""
    generator, discriminator = networks.build(config.model)
    if not attention.layer_grids(generator) and not attention.layer_grids(
        discriminator
    ):
        block = config.model.attention_block
        reason = (
            f"model.attention_block={block!r} takes its place"
            if block != "attention"
            else "its model.attention_resolutions are empty"
        )
        raise UserError(
            f"the networks of this run have no attention: {reason}; pass a --workdir "
            "whose run was trained with attention."
        )
    if labels and not config.model.num_classes:
        raise UserError(
            f"labels={labels[0]} names a class, but the generator of this run has "
            "none; remove --labels."
        )
    sampling.checked_labels(labels, config.model.num_classes)
    query_points.check(points, config.model.resolution)


def _check_count(config: Config, count: int) -> None:
    each = sum(
        4 * side**2 * key_side**2
        for network in networks.build(config.model)
        for side, key_side in attention.layer_grids(network).values()
    )
    if count * each > MOST_BYTES:
        raise UserError(
            f"count={count} needs {count * each / 1e9:,.0f} GB for the maps; pass at "
            f"most {max(1, MOST_BYTES // each)}, and another --evaluation.seed for "
            "more images."
        )


def _labels(labels: Sequence[int], count: int, generator: Generator) -> np.ndarray:
    classes = max(1, generator.num_classes)
    spread = np.linspace(0, classes - 1, min(count, classes)).round()
    return np.resize(np.asarray(labels if labels else spread, np.int32), count)


def _generated(
    config: Config,
    generator: Generator,
    variables: dict[str, Any],
    labels: np.ndarray,
    points: Sequence[tuple[int, int]],
) -> NetworkMaps:
    settings = config.evaluation
    indices = np.arange(len(labels))
    z = sampling.latents(settings.seed, indices, generator, settings.truncation)
    images, layers = attention.of_generator(generator, variables, z, labels)
    return NetworkMaps(images, labels, _points(config, images, points), layers)


def _discriminated(
    run: Run, step: int, labels: np.ndarray, points: Sequence[tuple[int, int]]
) -> NetworkMaps | str:
    """Returns the discriminator's attention over real images, or why there is none."""
    discriminator, variables, _ = run.load_discriminator(step)
    if not attention.layer_grids(discriminator):
        return "the discriminator of this run has no attention."
    if not processes.is_first():
        return ""
    try:
        found = sheets.real_images(run.config, sources.make_source(run.config), labels)
    except UserError as error:
        return f"the discriminator's maps are left out: {error}"
    if not found:
        return (
            "the discriminator's maps are left out: the run's images have none of "
            "these classes."
        )
    places = sorted(found)
    images, labels = np.stack([found[place] for place in places]), labels[places]
    layers = attention.of_discriminator(
        discriminator, variables, pixels.decode(images), labels
    )
    return NetworkMaps(images, labels, _points(run.config, images, points), layers)


def _points(
    config: Config, images: np.ndarray, points: Sequence[tuple[int, int]]
) -> np.ndarray:
    if points:
        return np.tile(np.asarray(points, np.int64), (len(images), 1, 1))
    if config.data.source == "synthetic":
        return query_points.of_far_pairs(images)
    return query_points.spread(images)


def _checked(
    config: Config, generator: Generator, variables: dict[str, Any], labels: np.ndarray
) -> interventions.Check:
    # The scores of far pairs need many images of all classes.
    if config.data.source == "synthetic" and config.evaluation.num_samples:
        count = config.evaluation.num_samples
        labels = sampling.balanced_labels(count, generator.num_classes)
    return interventions.check(config, generator, variables, labels)


def _write(folder: Path, config: Config, maps: Maps, facts: dict[str, Any]) -> None:
    """Writes the pictures, the arrays, and last the summary; removes older pages."""
    written = set()
    for network in ("generator", "discriminator"):
        found = getattr(maps, network)
        for layer in found.layers if found else ():
            pages = range(0, len(found.images), IMAGES_PER_PAGE)
            for number, begin in enumerate(pages, start=1):
                part = slice(begin, begin + IMAGES_PER_PAGE)
                picture = attention_maps.page(
                    layer._replace(weights=layer.weights[part]),
                    found.images[part],
                    found.points[part],
                    _captions(config, found.labels[part]),
                    f"{network} {layer.name}, gamma {layer.gamma:.3g}, step "
                    f"{maps.step}; {_grids(layer)}",
                )
                suffix = f"_{number:02d}" if len(pages) > 1 else ""
                path = folder / f"{network}_{layer.name}{suffix}.png"
                grid.save_png(picture, path)
                written.add(path.name)
    for path in folder.glob("*.png"):
        if _PAGE.fullmatch(path.name) and path.name not in written:
            path.unlink()
    save_maps(folder / "maps.npz", maps)
    whole.write_text(
        folder / "summary.json", json.dumps(facts, indent=1, allow_nan=False) + "\n"
    )


_PAGE = re.compile(r"(generator|discriminator)_attention\d+(_\d+)?\.png")


def _captions(config: Config, labels: np.ndarray) -> list[str]:
    return [f"class {label}" if config.model.num_classes else "" for label in labels]


def _grids(layer: attention.LayerMaps) -> str:
    (height, width), (rows, columns) = layer.queries, layer.keys
    return f"{height}x{width} queries, {rows}x{columns} keys"
