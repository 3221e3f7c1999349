"""DiffAugment: differentiable augmentations of what the discriminator sees.

Real and fake images go through the same policy, in the updates of both networks, and
the generator's gradient comes back through it. Images are NHWC in [-1, 1]; they may
leave that range, and nothing is clipped. Each image of each call has its own draws.

Reference: Zhao et al. 2020, https://arxiv.org/abs/2006.10738;
  `mit-han-lab/data-efficient-gans:DiffAugment-stylegan2-pytorch/DiffAugment_pytorch.py`
  for the ranges. There a shift gathers pixels; here it is a product with a 0-1 matrix,
  which stays on its device in a split batch and has no scatter in its gradient.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

SHIFT = 0.125
"""Largest shift of a translation, as a fraction of the side."""

HOLE = 0.5
"""Side of a cutout, as a fraction of the side of the image."""


def augment(images: jax.Array, key: jax.Array, policy: tuple[str, ...]) -> jax.Array:
    """Returns the images [N, H, W, C] after each augmentation of `policy`, in order.

    Args:
      images: [N, H, W, C].
      key: the key of all draws.
      policy: names in AUGMENTATIONS; () returns the images as they are.
    """
    for number, name in enumerate(policy):
        images = AUGMENTATIONS[name](images, jax.random.fold_in(key, number))
    return images


def color(images: jax.Array, key: jax.Array) -> jax.Array:
    """Returns images of other brightness, saturation and contrast.

    The shift of brightness is drawn from U(-0.5, 0.5), the factor of saturation from
    U(0, 2), and that of contrast from U(0.5, 1.5).
    """
    keys = jax.random.split(key, 3)
    images = brightness(images, _uniform(keys[0], images, -0.5, 0.5))
    images = saturation(images, _uniform(keys[1], images, 0.0, 2.0))
    return contrast(images, _uniform(keys[2], images, 0.5, 1.5))


def translation(images: jax.Array, key: jax.Array) -> jax.Array:
    """Returns images that are shifted by up to int(SHIFT * side + 0.5) pixels a way."""
    rows, columns = (int(side * SHIFT + 0.5) for side in images.shape[1:3])
    of_rows, of_columns = jax.random.split(key)
    return translated(
        images,
        _integers(of_rows, images, -rows, rows),
        _integers(of_columns, images, -columns, columns),
    )


def cutout(images: jax.Array, key: jax.Array) -> jax.Array:
    """Returns images with a square hole, whose centre is uniform over the image.

    The hole may hang over the edge; less than all of it is cut out then.
    """
    of_rows, of_columns = jax.random.split(key)
    height, width = images.shape[1:3]
    return cut_out(
        images,
        _integers(of_rows, images, 0, height - _hole(height) % 2),
        _integers(of_columns, images, 0, width - _hole(width) % 2),
    )


AUGMENTATIONS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


def brightness(images: jax.Array, shift: jax.Array) -> jax.Array:
    """Returns [N, H, W, C] with `shift` [N] added to each image."""
    return images + _per_image(images, shift)


def saturation(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Returns [N, H, W, C]; the distance to the grey of each pixel times `factor`."""
    grey = images.mean(3, keepdims=True)
    return (images - grey) * _per_image(images, factor) + grey


def contrast(images: jax.Array, factor: jax.Array) -> jax.Array:
    """Returns [N, H, W, C]; the distance to the mean of each image times `factor`."""
    mean = images.mean((1, 2, 3), keepdims=True)
    return (images - mean) * _per_image(images, factor) + mean


def translated(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Returns images shifted down by `rows` and right by `columns`, filled with 0.

    Args:
      images: [N, H, W, C].
      rows: [N] int32, negative for a shift up.
      columns: [N] int32, negative for a shift to the left.
    """
    height, width = images.shape[1:3]
    # Precise, because TPUs and some GPUs round the factors of a product by default.
    precise = jax.lax.Precision.HIGHEST
    down = _shift_matrix(rows, height, images.dtype)
    right = _shift_matrix(columns, width, images.dtype)
    images = jnp.einsum("nyh,nhwc->nywc", down, images, precision=precise)
    return jnp.einsum("nxw,nhwc->nhxc", right, images, precision=precise)


def cut_out(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Returns images with a hole of 0 around the given centres.

    Args:
      images: [N, H, W, C].
      rows: [N] int32, the row of each centre.
      columns: [N] int32, the column of each centre.
    """
    height, width = images.shape[1:3]
    hole = (
        _covered(rows, height)[:, :, None, None]
        & _covered(columns, width)[:, None, :, None]
    )
    return jnp.where(hole, jnp.zeros((), images.dtype), images)


def _hole(side: int) -> int:
    return int(side * HOLE + 0.5)


def _covered(centres: jax.Array, side: int) -> jax.Array:
    """Returns [N, side], whether each line lies in the hole around a centre [N]."""
    first = centres[:, None] - _hole(side) // 2
    lines = jnp.arange(side)[None, :]
    return (lines >= first) & (lines < first + _hole(side))


def _shift_matrix(shifts: jax.Array, side: int, dtype: jnp.dtype) -> jax.Array:
    """Returns [N, side, side]: 1 where line i of the result is line j of an image."""
    lines = jnp.arange(side)
    sources = lines[None, :] - shifts[:, None]
    return (sources[:, :, None] == lines[None, None, :]).astype(dtype)


def _per_image(images: jax.Array, values: jax.Array) -> jax.Array:
    chex.assert_shape(values, (images.shape[0],))
    return values.reshape(-1, 1, 1, 1)


def _uniform(key: jax.Array, images: jax.Array, low: float, high: float) -> jax.Array:
    return jax.random.uniform(key, (images.shape[0],), images.dtype, low, high)


def _integers(key: jax.Array, images: jax.Array, low: int, high: int) -> jax.Array:
    """Returns [N] int32 from `low` to `high`, both included."""
    return jax.random.randint(key, (images.shape[0],), low, high + 1, jnp.int32)
