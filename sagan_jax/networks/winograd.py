"""3x3 convolutions with fewer products: Winograd's minimal filtering F(m, 3).

Both axes are cut into tiles of m outputs. Each tile needs (m + 2)^2 products per pair
of channels instead of 9 m^2: 0.44 of them for m = 2, 0.25 for m = 4. The transforms are
exact in exact arithmetic. In float32 the points of F(4, 3) decide about the error. The
usual 0, 1, -1, 2, -2 lose a factor of up to 40 against the direct sum of 1,024
channels; those below lose a factor of 8 at most.

References: Lavin and Gray 2016, https://arxiv.org/abs/1509.09308; Barabasz et al. 2020,
  https://arxiv.org/abs/1803.10986, for the choice of points.
"""

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from sagan_jax.networks.outlined import outlined

_POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)),
}
"""Where polynomials are evaluated, besides infinity; halves of small integers are exact
in every float type."""

Matrix = tuple[tuple[float, ...], ...]


class Transforms(NamedTuple):
    """The matrices of F(m, 3): outputs = A^T ((G kernel) * (B^T inputs)).

    Attributes:
      inputs: B^T, [m + 2][m + 2].
      kernel: G, [m + 2][3].
      outputs: A^T, [m][m + 2].
    """

    inputs: Matrix
    kernel: Matrix
    outputs: Matrix


@functools.cache
def transforms(m: int) -> Transforms:
    """Returns the matrices of F(m, 3), by Toom and Cook's construction.

    Args:
      m: outputs per tile and axis, 2 or 4.
    """
    points = _POINTS[m]
    rows = [[*_polynomial([q for q in points if q != p]), Fraction(0)] for p in points]
    scales = [_product([p - q for q in points if q != p]) for p in points]
    kernel = [[p**k / s for k in range(3)] for p, s in zip(points, scales, strict=True)]
    outputs = [[p**k for p in points] + [Fraction(k == m - 1)] for k in range(m)]
    infinity = [Fraction(0), Fraction(0), Fraction(1)]
    return Transforms(
        _floats([*rows, _polynomial(points)]),
        _floats([*kernel, infinity]),
        _floats(outputs),
    )


def output(m: int, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the convolution of [N, H, W, C] with [3, 3, C, K]: [N, H, W, K]."""
    return _convolved(m, x, kernel, contracted=0)


def input_gradient(m: int, dy: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns [N, H, W, C], the gradient of the input for dy [N, H, W, K]."""
    # The kernel's output channels are contracted where they are: a transposed copy of
    # a large kernel would cost as much as the products.
    return _convolved(m, dy, kernel[::-1, ::-1], contracted=1)


def kernel_gradient(m: int, x: jax.Array, dy: jax.Array) -> jax.Array:
    """Returns [3, 3, C, K], the gradient of the kernel for x and dy."""
    matrices = transforms(m)
    tiles_x = _input_tiles(x, m)
    padded = _pad(dy, (0, -dy.shape[1] % m), (0, -dy.shape[2] % m))
    n, h, w, k = padded.shape
    cells = padded.reshape(n, h // m, m, w // m, m, k)
    adjoint = _transposed(matrices.outputs)
    rows = _first(m, adjoint, [cells[:, :, i] for i in range(m)])
    tiles_dy = [combine(adjoint, [row[:, :, :, j] for j in range(m)]) for row in rows]
    products = [
        [_flat(a).T @ _flat(b) for a, b in zip(row_x, row_dy, strict=True)]
        for row_x, row_dy in zip(tiles_x, tiles_dy, strict=True)
    ]
    adjoint = _transposed(matrices.kernel)
    columns = [_first(m, adjoint, column) for column in zip(*products, strict=True)]
    taps = [combine(adjoint, list(row)) for row in zip(*columns, strict=True)]
    return jnp.stack([jnp.stack(row) for row in taps])


def combine(matrix: Matrix, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Returns `matrix` times the vector of arrays, as sums without the zeros."""
    return [_weighted_sum(row, arrays) for row in matrix]


def _convolved(
    m: int, x: jax.Array, kernel: jax.Array, *, contracted: int
) -> jax.Array:
    matrices = transforms(m)
    n, h, w, _ = x.shape
    rows = _first(m, matrices.kernel, list(kernel))
    kernels = [combine(matrices.kernel, list(row)) for row in rows]
    products = [
        [
            _matrix_product(a, b, contracted)
            for a, b in zip(row, row_kernels, strict=True)
        ]
        for row, row_kernels in zip(_input_tiles(x, m), kernels, strict=True)
    ]
    halves = [_first(m, matrices.outputs, row) for row in products]
    columns = [combine(matrices.outputs, list(c)) for c in zip(*halves, strict=True)]
    cells = jnp.stack(
        [jnp.stack([column[i] for column in columns], 3) for i in range(m)], 2
    )
    _, down, _, across, _, k = cells.shape
    return cells.reshape(n, m * down, m * across, k)[:, :h, :w]


def _input_tiles(x: jax.Array, m: int) -> list[list[jax.Array]]:
    """Returns the transformed tiles [m + 2][m + 2], each [N, H / m, W / m, C]."""
    n, h, w, c = x.shape
    down, across = -(-h // m), -(-w // m)
    x = _pad(x, (1, 1 + m * down - h), (1, 1 + m * across - w))
    width, matrix = x.shape[2], transforms(m).inputs
    starts = range(m + 2)
    rows = _first(
        m,
        matrix,
        [
            lax.slice(
                x, (0, i, 0, 0), (n, i + m * (down - 1) + 1, width, c), (1, m, 1, 1)
            )
            for i in starts
        ],
    )
    return [
        combine(
            matrix,
            [
                lax.slice(
                    row,
                    (0, 0, j, 0),
                    (n, down, j + m * (across - 1) + 1, c),
                    (1, 1, m, 1),
                )
                for j in starts
            ],
        )
        for row in rows
    ]


def _first(m: int, matrix: Matrix, arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """Returns `combine(matrix, arrays)`, the first axis of a transform."""
    # XLA would repeat these sums in each of the sums over the second axis, which then
    # read the map m + 2 times as often and are all compiled one by one. For m = 2 maps
    # are small and kernels large, and storing sums of kernels costs more.
    if m == 2:
        return combine(matrix, arrays)
    return outlined(lambda *arrays: combine(matrix, arrays))(*arrays)


def _matrix_product(x: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    return lax.dot_general(x, kernel, (((3,), (contracted,)), ((), ())))


def _pad(x: jax.Array, rows: tuple[int, int], columns: tuple[int, int]) -> jax.Array:
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _weighted_sum(weights: Sequence[float], arrays: Sequence[jax.Array]) -> jax.Array:
    total = None
    for weight, array in zip(weights, arrays, strict=True):
        if not weight:
            continue
        if total is None:
            total = array if weight == 1 else weight * array
        elif abs(weight) == 1:
            total = total + array if weight == 1 else total - array
        else:
            total = total + weight * array
    assert total is not None
    return total


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Returns the coefficients of prod(t - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [root * c for c in coefficients] + [Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


def _product(factors: Sequence[Fraction]) -> Fraction:
    return functools.reduce(lambda a, b: a * b, factors, Fraction(1))


def _floats(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(tuple(map(float, row)) for row in rows)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))
