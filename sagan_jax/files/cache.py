"""The one cache directory: `$XDG_CACHE_HOME/sagan_jax`, or `~/.cache/sagan_jax`."""

import os
from pathlib import Path


def directory(*parts: str) -> Path | None:
    """Returns the cache directory, or one below it; None without a home directory.

    Nothing is created. An `XDG_CACHE_HOME` that is empty or relative is ignored, as the
    XDG Base Directory Specification asks. There is no home directory where `HOME` is
    unset or empty and the user is in no password file, as in some containers.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        if os.environ.get("HOME") == "":
            return None
        base = os.path.expanduser("~/.cache")
    return Path(base, "sagan_jax", *parts) if os.path.isabs(base) else None
