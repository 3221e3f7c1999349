"""Words on pictures: strips of text, and grids of images under a line of words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sagan_jax.pictures import grid

SIZE = 16
"""Height of the letters in pixels; a row of images is 128 or higher."""

_LINE, _MARGIN = SIZE + 6, 4


def captioned(
    sections: Sequence[tuple[str, NDArray[np.uint8]]], columns: int
) -> NDArray[np.uint8]:
    """Returns one uint8 picture [H', W', C] of grids, each below its caption.

    Args:
      sections: captions, '' for none, and uint8 images [N, H, W, C] of one size; see
        grid.sheet.
      columns: number of images in a row.
    """
    parts = []
    for caption, images in sections:
        picture = grid.sheet(images, columns)
        if caption:
            parts.append(strip(caption, picture.shape[1], picture.shape[2]))
        parts.append(picture)
    return np.concatenate(parts)


def strip(text: str, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Returns black words on white, uint8 [H', width, channels].

    Words that do not fit into a line begin the next one.

    Args:
      text: the words.
      width: width of the strip in pixels.
      channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA); alpha is opaque.
    """
    font = ImageFont.load_default(SIZE)
    lines = _lines(text, width - 2 * _MARGIN, font)
    height = len(lines) * _LINE + _MARGIN
    image = Image.new("L", (width, height), grid.MARGIN)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + number * _LINE), line, fill=0, font=font)
    grey = np.asarray(image)[..., None]
    opaque = np.full_like(grey, 255)
    colours = [grey] * (1 if channels < 3 else 3)
    return np.concatenate(colours + [opaque] * (channels % 2 == 0), axis=-1)


def _lines(
    text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
