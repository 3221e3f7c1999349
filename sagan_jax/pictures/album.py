"""Pictures of a run in a page: spread over time, and compressed to fit."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sagan_jax.pictures import grid
from sagan_jax.pictures.page import Html, data_uri, tag

MOST_SHEETS = 40
"""Sheets that are compressed and shown at most."""
LARGEST_SIDE = 1400
"""Pixels of the longer side of a picture in a page."""
LOSSLESS_BYTES = 120_000
"""A picture that is larger without loss is compressed with loss."""
SHEET = re.compile(r"step_(\d+)\.png")


def sheets(folder: Path) -> list[tuple[int, Path]]:
    """Returns the steps and files of a run's sample sheets, in order."""
    if not folder.is_dir():
        return []
    found = [(SHEET.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)


def compressed(
    path: Path, *, side: int = LARGEST_SIDE, lossless: int = LOSSLESS_BYTES
) -> bytes | None:
    """Returns a picture as WebP for a page; None if the file is no picture.

    Large ones are made smaller and compressed with loss; the file stays as it is.

    Args:
      path: the file.
      side: pixels of the longer side at most.
      lossless: bytes up to which a picture is compressed without loss.
    """
    try:
        opened = grid.opened_png(path)
    except ValueError:
        return None
    picture = opened.convert("RGBA" if "A" in opened.getbands() else "RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    # Without loss a large picture takes seconds, and would not be small enough.
    if lossless and picture.width * picture.height < 1_000_000:
        content = _webp(picture, lossless=True, method=3)
        if len(content) <= lossless:
            return content
    return _webp(picture, quality=82, method=3)


def _webp(picture: Image.Image, **settings: bool | int) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="WEBP", **settings)
    return content.getvalue()


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` places of `count`, spread evenly, with the ends."""
    if most < 2:
        return [count - 1] if count and most else []
    return sorted(
        {int(place) for place in np.linspace(0, count - 1, min(count, most)).round()}
    )


def fitting(sizes: Sequence[int], budget: int) -> list[int]:
    """Returns places of pictures that fit in a budget, spread evenly, with the last.

    Args:
      sizes: their sizes, in bytes.
      budget: the most bytes of all together.
    """
    for most in range(len(sizes), 0, -1):
        places = spread(len(sizes), most)
        if sum(sizes[place] for place in places) <= budget:
            return places
    return []


def uri_bytes(content: bytes) -> int:
    """Returns the characters that a picture takes in a page, with its element."""
    return 4 * -(-len(content) // 3) + 400


def markup(folder: Path, budget: int) -> Html:
    """Returns the sample sheets of a run over time, with a slider.

    Args:
      folder: the directory of the sheets.
      budget: the most characters that they may take.
    """
    known = sheets(folder)
    if not known:
        return tag("p", "No sample sheet has been drawn yet.", class_="empty")
    chosen = [known[place] for place in spread(len(known), MOST_SHEETS)]
    read = [(step, compressed(path)) for step, path in chosen]
    whole = [(step, content) for step, content in read if content is not None]
    places = fitting([uri_bytes(content) for _, content in whole], budget)
    figures = [
        picture(whole[place][1], f"step {whole[place][0]:,}") for place in places
    ]
    count = len(figures)
    figures.reverse()  # without the script, the newest one is seen first
    if count == len(known):
        words = f"All {count} sheets, at the same latents."
    else:
        words = f"{count} of {len(known)} sheets, at the same latents."
    if len(whole) < len(read):
        words += f" {len(read) - len(whole)} could not be read."
    slider = tag(
        "input",
        type="range",
        min=0,
        max=max(0, count - 1),
        value=max(0, count - 1),
        aria_label="Step of the sample sheet",
    )
    button = tag("button", "Play", type="button")
    controls = tag("div", slider, button, class_="controls", hidden=True)
    strip = tag("div", *figures, class_="strip", tabindex="0")
    return tag("div", controls, strip, tag("p", words, class_="note"), class_="album")


def picture(content: bytes, caption: str) -> Html:
    """Returns a figure of a compressed picture."""
    image = tag("img", src=data_uri(content, "image/webp"), alt=caption)
    return tag("figure", image, tag("figcaption", caption))
