"""Paths as a person writes them."""

import os
import re
from pathlib import Path

from sagan_jax.errors import UserError


def local(path: str | os.PathLike[str]) -> Path:
    """Returns `path` with a leading `~` expanded.

    Raises:
      UserError: a URL such as gs://bucket/run, which would become a local folder named
        `gs:`; or `~` without a home directory.
    """
    text = os.fspath(path)
    if match := re.match(r"[A-Za-z][A-Za-z0-9+.-]*(?=:/)", text):
        raise UserError(
            f"{text!r} is a URL, and {match[0]}: is not supported; give the path of a "
            "local directory or file."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UserError(
            f"{text!r} needs a home directory, and there is none; write the path out."
        ) from None
