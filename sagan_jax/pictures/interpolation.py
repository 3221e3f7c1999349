"""What lies between two latents of a class, and between two classes at one latent."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import chex
import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.evaluation import sampling
from sagan_jax.evaluation.sampling import Variables
from sagan_jax.networks import Generator, ops
from sagan_jax.networks.layers import CLASS_TABLES
from sagan_jax.pictures import captions, sheets

Blend = tuple[int, int, float]
"""Two classes, and the share of the second one, in [0, 1]."""

_PARALLEL = 1e-6  # below this sine of the angle, the arc is a line


def picture(
    config: Config,
    generator: Generator,
    variables: Variables,
    classes: Sequence[int] = (),
) -> NDArray[np.uint8]:
    """Returns a uint8 picture of interpolations, `evaluation.columns` images to a row.

    The first rows go from latent 2i to latent 2i + 1 of the run's seed, one row for
    each class. The others keep latent i and go from each class to the next one; there
    are none without a second class. The outermost images of a row are plain samples.

    Args:
      config: the config of the run.
      generator: the module.
      variables: the generator's variables, as evaluated.
      classes: the classes; (): those of a sheet.

    Raises:
      UserError: a class that the generator does not have, or fewer than two columns.
    """
    settings = config.evaluation
    columns = settings.columns
    if columns < 2:
        raise UserError(
            f"evaluation.columns={columns} leaves no room between two images; choose 2 "
            "or more."
        )
    labels = sheets.sheet_labels(config, classes)[::columns]
    rows = len(labels)
    ends = np.asarray(
        sampling.latents(
            settings.seed, np.arange(2 * rows), generator, settings.truncation
        )
    )
    shares = np.linspace(0.0, 1.0, columns)
    z = [spherical(ends[2 * row], ends[2 * row + 1], shares) for row in range(rows)]
    wanted = list(np.repeat(labels, columns))
    pairs = class_pairs(labels) if generator.num_classes else []
    blends = [(a, b, float(share)) for a, b in pairs for share in shares]
    z += [np.tile(ends[row], (columns, 1)) for row in range(len(pairs))]
    wanted += range(generator.num_classes, generator.num_classes + len(blends))
    generator, variables = with_blends(generator, variables, blends)
    images = np.concatenate(
        list(
            sampling.sample_at(
                generator,
                variables,
                np.concatenate(z),
                np.asarray(wanted),
                batch_size=settings.batch_size,
            )
        )
    )
    named = ", of classes " + ", ".join(map(str, labels)) if pairs else ""
    sections = [(f"between two latents{named}", images[: rows * columns])]
    if pairs:
        words = ", ".join(f"{a} to {b}" for a, b in pairs)
        sections += [(f"one latent, class {words}", images[rows * columns :])]
    return captions.captioned(sections, columns)


def spherical(a: ArrayLike, b: ArrayLike, shares: ArrayLike) -> NDArray[np.float64]:
    """Returns latents [T, d] on the arc from `a` to `b`.

    The angle from `a` and the norm both grow linearly with the share: a mean of two
    normal vectors would be shorter than any sample. Shares of 0 and 1 give `a` and `b`
    themselves. Vectors on one line through the origin span no arc, and are mixed
    linearly.

    Args:
      a: the latent at share 0, [d].
      b: the latent at share 1, [d].
      shares: [T] in [0, 1], the position on the arc.

    Reference: Shoemake 1985, section 3.3, for unit vectors ("slerp").
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    t = np.asarray(shares, np.float64)[:, None]
    chex.assert_rank([a, b], 1)
    chex.assert_equal_shape([a, b])
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    mixed = (1 - t) * a + t * b
    if all(lengths):
        one, other = a / lengths[0], b / lengths[1]
        angle = np.arccos(np.clip(one @ other, -1.0, 1.0))
        if np.sin(angle) > _PARALLEL:
            arc = np.sin((1 - t) * angle) * one + np.sin(t * angle) * other
            mixed = ((1 - t) * lengths[0] + t * lengths[1]) * arc / np.sin(angle)
    # Rounded sines would move the ends by a bit.
    return np.where(t == 0, a, np.where(t == 1, b, mixed))


def class_pairs(labels: Iterable[int]) -> list[tuple[int, int]]:
    """Returns each class with the next one, in a circle; [] for a single class."""
    known = [int(label) for label in dict.fromkeys(labels)]
    if len(known) < 3:  # the way back shows the same images
        return list(itertools.pairwise(known))
    return list(zip(known, known[1:] + known[:1], strict=True))


def with_blends(
    generator: Generator, variables: Variables, blends: Sequence[Blend]
) -> tuple[Generator, Variables]:
    """Returns a generator that has blends of classes as further classes.

    A class acts through the scale and bias tables of batch norm alone. Blend k is a new
    row of each table, a mixture of two others, and has the label num_classes + k. A
    share of 0 or 1 copies a row. All other classes keep their rows.

    Args:
      generator: a class-conditional generator; without classes it has no tables.
      variables: its variables, to be used with `train=False`.
      blends: the blends; (): nothing changes.
    """
    if not blends:
        return generator, variables
    tables = generator.class_tables
    params = variables["params"]
    if CLASS_TABLES[tables].spectral_norm:
        # More rows would change sigma: the tables are normalised as they were trained.
        params = _normalized(params, variables["spectral"], generator)
        tables = "one_plus"
    larger = generator.clone(
        num_classes=generator.num_classes + len(blends), class_tables=tables
    )
    return larger, {**variables, "params": _extended(params, blends)}


def _extended(params: Mapping[str, Any], blends: Sequence[Blend]) -> dict[str, Any]:
    """Returns the parameters with the blended rows below each class table."""
    first, second = [blend[0] for blend in blends], [blend[1] for blend in blends]

    def extended(path: Any, leaf: jax.Array) -> jax.Array | NDArray[Any]:
        if not _is_table(path, leaf):
            return leaf
        table = np.asarray(leaf)
        shares = np.asarray([[blend[2]] for blend in blends], table.dtype)
        rows = (1 - shares) * table[first] + shares * table[second]
        return np.concatenate([table, rows])

    found: dict[str, Any] = jax.tree.map_with_path(extended, params)
    return found


def _is_table(path: Any, leaf: jax.Array) -> bool:
    # Every other scale or bias is a vector.
    return leaf.ndim == 2 and path[-1].key in ("scale", "bias", "embedding")


def _normalized(
    params: Mapping[str, Any], spectral: Mapping[str, Any], generator: Generator
) -> dict[str, Any]:
    """Returns the parameters with the embedding tables divided by their sigmas."""
    found: dict[str, Any] = {}
    for name, child in params.items():
        if name == "embedding":
            table, _, _ = ops.spectral_normalize(
                child.T, spectral["u"], eps=generator.spectral_norm_eps
            )
            found[name] = table.T
        elif isinstance(child, Mapping):
            found[name] = _normalized(child, spectral.get(name, {}), generator)
        else:
            found[name] = child
    return found
