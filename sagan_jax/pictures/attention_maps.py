"""Attention drawn over images: where queries look, with an arrow and two scales."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.metrics import attention_distance
from sagan_jax.pictures import viridis

Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = (
    (255, 70, 60),
    (255, 160, 0),
    (255, 255, 255),
    (255, 110, 220),
    (80, 225, 255),
)
"""The colour of each query's dot and of its map's frame; viridis has none of them."""

OPACITY = 0.55
"""The share of the map in an overlay; the rest is the image in grey."""

TOP = 0.1
"""The share of a query's attention whose centroid its arrow points at."""

_TILE, _GAP, _FRAME = 160, 8, 3
_LINE, _CAPTION = 13, 30
_PAPER, _INK, _CASING = (250, 250, 250), (20, 20, 20), (0, 0, 0)


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    """Returns [side, side, ...] of [s, s, ...], each pixel repeated side / s times."""
    factor = side // image.shape[0]
    if factor * image.shape[0] != side:
        raise ValueError(f"{side} is no multiple of {image.shape[0]}.")
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def overlay(image: Bytes, attention: NDArray[np.floating], most: float) -> Bytes:
    """Returns a map in viridis over an image in grey, uint8 [S, S, 3].

    Args:
      image: [S, S, C].
      attention: [H', W'], a query's attention; a key covers a square of the picture.
      most: the attention that is drawn in the brightest colour.
    """
    colours = viridis.colours(enlarged(attention, image.shape[0]) / most)
    grey = _rgb(image).astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    mixed = OPACITY * colours + (1 - OPACITY) * grey[..., None]
    return np.round(mixed).astype(np.uint8)


def cell_of(point: Sequence[int], queries: tuple[int, int], side: int) -> int:
    """Returns the index of the query that covers pixel (row, column) of an image."""
    row, column = (
        int(p) * cells // side for p, cells in zip(point, queries, strict=True)
    )
    return row * queries[1] + column


def page(
    layer: LayerMaps,
    images: Bytes,
    points: NDArray[np.integer],
    captions: Sequence[str],
    title: str,
) -> Bytes:
    """Returns a uint8 picture [H, W, 3] of one layer's attention over some images.

    Each image has two rows. In the upper one it stands with its numbered queries, then
    the map of each query, scaled to its own largest weight. The lower one repeats the
    maps on one scale, that of the largest weight of the row, which shows how flat a map
    is. An arrow leads from the query to the centroid of the keys that hold
    the top tenth of its attention. Maps are enlarged without smoothing.

    Args:
      layer: the attention of the images.
      images: uint8 [N, S, S, C].
      points: [N, P, 2], queries (row, column) in pixels of the image; P is at most 5.
      captions: a line below each image.
      title: a line above the picture.
    """
    count, number = points.shape[:2]
    tile = images.shape[1] * max(1, _TILE // images.shape[1])
    step = tile + 2 * _FRAME + _GAP
    height = 2 * step + _CAPTION
    head = _LINE + 2 * _GAP
    canvas = Image.new(
        "RGB", (_GAP + (number + 1) * step, head + count * height), _PAPER
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), title, _INK, _font())
    for index in range(count):
        _draw_image(
            canvas,
            enlarged(images[index], tile),
            layer,
            layer.weights[index],
            points[index] / images.shape[1],
            captions[index],
            (_GAP, head + index * height),
        )
    return np.asarray(canvas)


def _draw_image(
    canvas: Image.Image,
    image: Bytes,
    layer: LayerMaps,
    weights: NDArray[np.floating],
    points: NDArray[np.floating],
    caption: str,
    corner: tuple[int, int],
) -> None:
    """Draws the two rows of one image at `corner` (x, y)."""
    tile = image.shape[0]
    step = tile + 2 * _FRAME + _GAP
    x, y = corner
    draw = ImageDraw.Draw(canvas)
    cells = [
        cell_of(np.floor(point * tile).astype(int), layer.queries, tile)
        for point in points
    ]
    starts = attention_distance.centres(layer.queries, (tile, tile))[cells]
    ends = attention_distance.most_attended(weights[cells], layer.keys, TOP) * tile
    plain = Image.fromarray(_rgb(image))
    for number, start in enumerate(starts):
        _dot(ImageDraw.Draw(plain), start, COLOURS[number])
        # To the left of a dot near the right border.
        left = start[1] + (7 if start[1] < tile - 18 else -13)
        place = (float(left), float(start[0]) - 7)
        ImageDraw.Draw(plain).text(
            place,
            str(number + 1),
            COLOURS[number],
            _font(),
            stroke_width=1,
            stroke_fill=_CASING,
        )
    canvas.paste(plain, (x + _FRAME, y + _FRAME))
    draw.text((x + _FRAME, y + tile + 2 * _FRAME + 2), caption, _INK, _font())
    lower = y + step + _CAPTION
    words = (
        "upper row: each map\non its own scale\n\nlower row: one scale\nfor all maps"
    )
    draw.text((x + _FRAME, lower), words, _INK, _font())
    most = float(weights[cells].max())
    for number, cell in enumerate(cells):
        left = x + (number + 1) * step
        attention = weights[cell].reshape(layer.keys)
        own = float(attention.max())
        for top, scale in ((y, own), (lower, most)):
            panel = Image.fromarray(overlay(image, attention, scale))
            _arrow(ImageDraw.Draw(panel), starts[number], ends[number], COLOURS[number])
            box = (left, top, left + tile + 2 * _FRAME - 1, top + tile + 2 * _FRAME - 1)
            draw.rectangle(box, fill=COLOURS[number], outline=_INK)
            canvas.paste(panel, (left + _FRAME, top + _FRAME))
        caption = f"{number + 1}: max {own:.3g}\n{own * attention.size:.3g} x uniform"
        draw.text((left, y + tile + 2 * _FRAME + 2), caption, _INK, _font())


def _dot(draw: ImageDraw.ImageDraw, at: NDArray[np.floating], colour: Colour) -> None:
    y, x = (float(v) for v in at)
    draw.ellipse((x - 5, y - 5, x + 5, y + 5), colour, _CASING)


def _arrow(
    draw: ImageDraw.ImageDraw,
    start: NDArray[np.floating],
    end: NDArray[np.floating],
    colour: Colour,
) -> None:
    """Draws an arrow between two places (y, x), with the query's dot at its start."""
    length = float(np.linalg.norm(end - start))
    if length > 1:
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        head = min(9.0, length)
        corners = [end, end - head * along + 0.5 * head * across]
        corners.append(end - head * along - 0.5 * head * across)
        tip = [(float(x), float(y)) for y, x in corners]
        line = [(float(x), float(y)) for y, x in (start, end - 0.5 * head * along)]
        draw.line(line, _CASING, 4)
        draw.line(line, colour, 2)
        draw.polygon(tip, colour, _CASING)
    _dot(draw, start, colour)


def _rgb(image: Bytes) -> Bytes:
    """Returns [S, S, 3] of [S, S, C]; transparency is left out."""
    if image.shape[-1] in (1, 2):
        return image[..., :1].repeat(3, axis=-1)
    return image[..., :3]


def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(11)
