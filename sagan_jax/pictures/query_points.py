"""Which points of an image are asked where they attend to."""

import numpy as np
from numpy.typing import NDArray

from sagan_jax.errors import UserError

Points = NDArray[np.int64]

COUNT = 5
"""Queries per image, as in the first figure of the paper."""

SPREAD = "spread"


def parsed(text: str) -> list[tuple[int, int]]:
    """Returns the points of 'ROW,COLUMN;ROW,COLUMN'; [] for 'spread' or ''.

    Raises:
      UserError: text of another form, or more than COUNT points.
    """
    if text.strip() in ("", SPREAD):
        return []
    try:
        points = [
            (int(row), int(column))
            for row, column in (part.split(",") for part in text.split(";"))
        ]
    except ValueError:
        raise UserError(
            f"queries={text!r} is not a list of pixels; write --queries "
            f"'ROW,COLUMN;ROW,COLUMN', such as '8,8;20,12', or {SPREAD}."
        ) from None
    if len(points) > COUNT:
        raise UserError(
            f"queries={text!r} has {len(points)} points; pass at most {COUNT}."
        )
    return points


def check(points: list[tuple[int, int]], resolution: int) -> None:
    """Raises UserError for a point outside of an image."""
    for row, column in points:
        if not (0 <= row < resolution and 0 <= column < resolution):
            raise UserError(
                f"queries={row},{column} lies outside of the images; rows and columns "
                f"are 0 to {resolution - 1}."
            )


def of_far_pairs(images: NDArray[np.uint8]) -> Points:
    """Returns points [N, 5, 2] (row, column) for images of far pairs.

    These are the centre of the left and of the right glyph, found as the centroid of
    colour in each half; a point of the background, above the gap between them; and two
    points of a fixed grid, at the lower left and lower right.

    Args:
      images: uint8 [N, S, S, 3].
    """
    side = images.shape[1]
    chroma = images.max(-1).astype(np.float64) - images.min(-1)
    found = np.empty((len(images), COUNT, 2), np.int64)
    found[:, 2:] = [
        (side // 8, side // 2),
        (side * 7 // 8, side // 4),
        (side * 7 // 8, side * 3 // 4),
    ]
    rows, columns = np.indices((side, side // 2)) + 0.5
    for glyph, begin in enumerate((0, side - side // 2)):
        half = chroma[:, :, begin : begin + side // 2]
        # Squared, so that the faint colour of a background does not count. The
        # constant puts the point of a grey half into its middle.
        weight = np.square(half) + 1e-3
        total = weight.sum((1, 2))
        found[:, glyph, 0] = (weight * rows).sum((1, 2)) / total
        found[:, glyph, 1] = begin + (weight * columns).sum((1, 2)) / total
    return found


def spread(images: NDArray[np.uint8]) -> Points:
    """Returns points [N, 5, 2] (row, column) that suit images of any kind.

    The first is the pixel with the largest contrast around it. The next three have the
    largest contrast times distance to the nearest point so far, and the last one is in
    a flat region: it has the largest distance times what is left of contrast.

    Args:
      images: uint8 [N, S, S, C].
    """
    return np.stack([_spread(image) for image in images])


def _spread(image: NDArray[np.uint8]) -> Points:
    side = image.shape[0]
    contrast = _contrast(image[..., :3].mean(-1))
    # Without contrast, distance alone decides.
    salience = 0.05 + contrast / max(float(contrast.max()), 1e-6)
    margin = side // 16
    inside = np.zeros((side, side), bool)
    inside[margin : side - margin, margin : side - margin] = True
    rows, columns = np.indices((side, side))
    nearest = np.ones((side, side))
    points: list[tuple[int, int]] = []
    for number in range(COUNT):
        wanted = 1.1 - salience if number == COUNT - 1 else salience
        value = np.where(inside, wanted * nearest, -1.0)
        row, column = divmod(int(value.argmax()), side)
        points.append((row, column))
        distance = np.hypot(rows - row, columns - column)
        nearest = np.minimum(nearest if number else np.inf, distance)
    return np.array(points, np.int64)


def _contrast(grey: NDArray[np.floating]) -> NDArray[np.floating]:
    """Returns [S, S], the standard deviation around each pixel of [S, S]."""
    reach = max(1, grey.shape[0] // 16)
    padded = np.pad(grey, reach, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(
        padded, (2 * reach + 1, 2 * reach + 1)
    )
    return windows.std((-2, -1))
