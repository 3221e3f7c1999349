"""A film of a run: its sample sheets, which all show the same latents, over time."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from sagan_jax.errors import UserError
from sagan_jax.pictures import captions, grid

FORMATS = {".webp": "WEBP", ".gif": "GIF"}
"""Formats by the ending of a file's name."""

FRAMES = 60
"""Most frames of a film, unless more are asked for."""

MOST_BYTES = 1_500_000
FRAME_MS, LAST_MS = 150, 2500
"""Milliseconds for which each frame, and the last one, is shown."""

_WIDTHS = (960, 720, 540, 400, 300, 220, 160)
_TALLEST = 16_000  # WebP holds 16,383 rows, of which some are words
_BAR = 4  # height of the bar that shows how far the training is
_DONE, _TODO = (35, 105, 185), (220, 220, 220)


class Sheet(NamedTuple):
    """A sample sheet, and the step that it shows."""

    step: int
    path: Path


def sheets_of(samples: Path) -> list[Sheet]:
    """Returns the sheets in a run's samples/ in the order of their steps.

    Raises:
      UserError: fewer than two.
    """
    matches = (re.fullmatch(r"step_(\d+)\.png", p.name) for p in samples.glob("*.png"))
    found = sorted(
        Sheet(int(match[1]), samples / match[0]) for match in matches if match
    )
    if len(found) < 2:
        raise UserError(
            f"{str(samples)!r} holds {len(found)} sample sheets, and a film needs two; "
            "train on, or set a smaller train.sample_every."
        )
    return found


def thinned(sheets: Sequence[Sheet], most: int) -> list[Sheet]:
    """Returns at most `most` sheets, evenly spaced, always with the first and last."""
    places = np.linspace(0, len(sheets) - 1, min(most, len(sheets))).round()
    return [sheets[int(place)] for place in places]


def film(sheets: Sequence[Sheet], suffix: str = ".webp") -> bytes:
    """Returns the content of a film, of at most MOST_BYTES if a small one can be so.

    Each frame is a sheet with its step below. Frames are scaled down until the file is
    small enough. Sheets of another size than the last one, drawn before somebody
    changed the rows or columns, are left out.

    Args:
      sheets: the sheets, one frame each.
      suffix: a key of FORMATS.

    Raises:
      UserError: a sheet cannot be read, or all others have another size than the last.
    """
    read = [(sheet, _opened(sheet)) for sheet in sheets]
    size, last = read[-1][1].size, sheets[-1].step
    pictures = [(sheet, picture) for sheet, picture in read if picture.size == size]
    if len(pictures) < 2:
        raise UserError(
            f"only {str(sheets[-1].path)!r} has {size[0]} by {size[1]} pixels, and a "
            "film needs two sheets of one size; train on."
        )
    content = b""
    for width in _WIDTHS:
        factor = max(1, -(-size[0] // width), -(-size[1] // _TALLEST))
        frames = [
            _frame(picture.reduce(factor), sheet.step, last)
            for sheet, picture in pictures
        ]
        content = _encoded(frames, FORMATS[suffix])
        if len(content) <= MOST_BYTES:
            break
    return content


def _opened(sheet: Sheet) -> Image.Image:
    try:
        image = grid.opened_png(sheet.path)
    except ValueError as error:
        raise UserError(
            f"{str(sheet.path)!r} is not a readable image ({error}); remove it."
        ) from None
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _frame(picture: Image.Image, step: int, last: int) -> Image.Image:
    """Returns a sheet above its step, and above a bar as long as its part of a run."""
    words = Image.fromarray(captions.strip(f"step {step:,}", picture.width))
    height = picture.height + words.height + _BAR
    frame = Image.new("RGB", (picture.width, height), _TODO)
    frame.paste(picture, (0, 0))
    frame.paste(words, (0, picture.height))
    done = round(picture.width * step / max(1, last))
    top = height - _BAR
    if done:
        ImageDraw.Draw(frame).rectangle((0, top, done - 1, height - 1), fill=_DONE)
    return frame


def _encoded(frames: Sequence[Image.Image], file_format: str) -> bytes:
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    options = {"quality": 80, "method": 4} if file_format == "WEBP" else {}
    content = io.BytesIO()
    frames[0].save(
        content,
        format=file_format,
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        **options,
    )
    return content.getvalue()
