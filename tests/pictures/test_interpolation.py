"""Interpolations: closed forms of arcs, and classes whose rows are known."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny_gan

from sagan_jax.errors import UserError
from sagan_jax.evaluation import sampling
from sagan_jax.pictures import captions, interpolation

SHARES = np.linspace(0, 1, 5)


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _gan(
    variant: str = "d_first", **changes: Any
) -> tuple[tiny_gan.Run, dict[str, Any]]:
    run = tiny_gan.build(variant, **changes)
    return run, tiny_gan.random_state(run).generator.variables


def _images(
    generator: Any, variables: Any, z: np.ndarray, labels: list[int]
) -> np.ndarray:
    batches = sampling.sample_at(generator, variables, z, labels, batch_size=16)
    return np.concatenate(list(batches))


# Arcs.


def test_an_arc_has_equal_angles_and_a_linear_norm() -> None:
    a, b = np.array([3.0, 0.0, 0.0]), np.array([0.0, 5.0, 0.0])
    arc = interpolation.spherical(a, b, SHARES)
    norms = [3.0, 3.5, 4.0, 4.5, 5.0]
    np.testing.assert_allclose(np.linalg.norm(arc, axis=1), norms, rtol=1e-12)
    angles = np.arctan2(arc[:, 1], arc[:, 0])
    np.testing.assert_allclose(angles, math.pi / 8 * np.arange(5), atol=1e-12)


def test_the_ends_of_an_arc_are_the_latents_to_the_last_bit() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 128)).astype(np.float32)
    arc = interpolation.spherical(a, b, SHARES)
    np.testing.assert_array_equal(arc[[0, -1]], [a, b])


@pytest.mark.parametrize("b", [[4.0], [-2.0], [0.0]])
def test_latents_on_one_line_are_mixed_linearly(b: list[float]) -> None:
    arc = interpolation.spherical([2.0], b, SHARES)
    np.testing.assert_allclose(arc[:, 0], 2 + SHARES * (b[0] - 2), atol=1e-12)


# Classes.


@pytest.mark.parametrize("tables", ["published", "one_plus"])
def test_the_ends_of_a_blend_are_the_classes_to_the_last_bit(tables: str) -> None:
    found, expected = _ends_of_blends(tables)
    np.testing.assert_array_equal(found, expected)


def test_the_ends_of_a_blend_are_classes_of_normalised_tables() -> None:
    found, expected = _ends_of_blends("one_plus_spectral")
    # A division outside of the generator's program may round otherwise: by one level.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1)
    assert (found != expected).mean() < 0.01


def _ends_of_blends(tables: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns images at the ends of blends, and those of the classes themselves."""
    run, variables = _gan(model__class_tables=tables)
    z = np.random.default_rng(0).normal(size=(4, 16))
    blends = [(3, 1, 0.0), (3, 1, 1.0), (0, 2, 0.0), (0, 2, 1.0)]
    larger, extended = interpolation.with_blends(run.generator, variables, blends)
    return (
        _images(larger, extended, z, [4, 5, 6, 7]).astype(np.int16),
        _images(run.generator, variables, z, [3, 1, 0, 2]).astype(np.int16),
    )


def test_a_blend_is_a_class_with_mixed_rows() -> None:
    run, variables = _gan()
    z = np.random.default_rng(0).normal(size=(2, 16))
    mixed = _with_rows(
        variables["params"], lambda rows: 0.75 * rows[3] + 0.25 * rows[1]
    )
    larger, extended = interpolation.with_blends(
        run.generator, variables, [(3, 1, 0.25)]
    )
    found = _images(larger, extended, z, [4, 4])
    # Class 0 of these parameters is the mixture.
    expected = _images(run.generator, {**variables, "params": mixed}, z, [0, 0])
    np.testing.assert_array_equal(found, expected)
    assert (found != _images(run.generator, variables, z, [3, 3])).mean() > 0.1


def _with_rows(params: Any, row: Any) -> Any:
    """Returns parameters whose class 0 has `row(table)` in each table."""
    if isinstance(params, dict):
        return {name: _with_rows(child, row) for name, child in params.items()}
    if params.ndim != 2 or len(params) != 4:
        return params
    return np.concatenate([row(params)[None], params[1:]])


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        ([2], []),
        ([2, 0], [(2, 0)]),
        ([0, 1, 3], [(0, 1), (1, 3), (3, 0)]),
        ([1, 1, 0], [(1, 0)]),
    ],
)
def test_classes_are_paired_in_a_circle(
    labels: list[int], pairs: list[tuple[int, int]]
) -> None:
    assert interpolation.class_pairs(labels) == pairs


# Pictures.


def _plain(
    run: tiny_gan.Run, variables: Any, indices: list[int], labels: list[int]
) -> np.ndarray:
    z = sampling.latents(1234, indices, run.generator)
    return _images(run.generator, variables, np.asarray(z), labels)


def _column(picture: np.ndarray, strips: list[str], column: int) -> list[np.ndarray]:
    """Returns the images of one column of a picture with three rows per section."""
    found, top = [], 0
    for words in strips:
        top += len(captions.strip(words, picture.shape[1]))
        for row in range(3):
            y, x = top + 2 + 130 * row, 2 + 130 * column
            found.append(picture[y : y + 128 : 4, x : x + 128 : 4])
        top += 2 + 130 * 3
    return found


def test_the_outer_columns_are_plain_samples() -> None:
    settings = {"evaluation__rows": 3, "evaluation__columns": 3}
    run, variables = _gan(**settings, evaluation__batch_size=16)
    picture = interpolation.picture(
        run.config, run.generator, variables, classes=(2, 0, 3)
    )
    three = [(2, 0), (0, 3), (3, 2)]
    left = _plain(run, variables, [0, 2, 4, 0, 1, 2], [2, 0, 3, 2, 0, 3])
    right = _plain(run, variables, [1, 3, 5, 0, 1, 2], [2, 0, 3, 0, 3, 2])
    words = ["between two latents, of classes 2, 0, 3"]
    words += ["one latent, class " + ", ".join(f"{a} to {b}" for a, b in three)]
    for column, expected in ((0, left), (2, right)):
        np.testing.assert_array_equal(_column(picture, words, column), expected)


def test_an_unconditional_generator_has_latent_rows_alone() -> None:
    settings = {"evaluation__rows": 2, "evaluation__columns": 2}
    run, variables = _gan("unconditional", **settings)
    picture = interpolation.picture(run.config, run.generator, variables)
    strip = captions.strip("between two latents", picture.shape[1])
    assert len(picture) == len(strip) + 2 + 2 * 130


def test_a_row_of_one_image_is_refused() -> None:
    run, variables = _gan(evaluation__columns=1)
    with pytest.raises(UserError, match=r"evaluation\.columns=1 .*2 or more"):
        interpolation.picture(run.config, run.generator, variables)
