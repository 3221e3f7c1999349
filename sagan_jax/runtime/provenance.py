"""Versions, devices, and the revision of this code, to repeat a number later."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

import sagan_jax

_PACKAGES = ["jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain"]
_PACKAGES += ["numpy", "pillow"]


def facts() -> dict[str, Any]:
    """Returns what identifies this installation and this machine.

    'revision' is the git commit of the code, followed by '+changes' if files differ
    from it. It is '' if the code is not in a repository of its own, or without git.
    """
    device = jax.devices()[0]
    return {
        "sagan_jax": sagan_jax.__version__,
        "revision": revision(Path(sagan_jax.__file__).resolve().parents[1]),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
    }


def revision(root: Path) -> str:
    """Returns the commit of the repository with the root `root`; see `facts`."""
    # An installed copy may lie inside somebody else's repository.
    if not (root / ".git").exists():
        return ""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit + ("+changes" if commit and changes else "")


def _git(root: Path, *command: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *command],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
