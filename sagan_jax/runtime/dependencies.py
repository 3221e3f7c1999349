"""All that a compiled program depends on besides its config, in words."""

import hashlib
import importlib.metadata
import os
import platform
from pathlib import Path

import jax

import sagan_jax

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "ml_dtypes")
_PREFIXES = ("JAX_", "XLA_", "FLAX_")
_CPU_LINES = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features")


def facts(devices: list[jax.Device]) -> dict[str, str]:
    """Returns what a program for `devices` depends on, by name.

    These are the code of this library, the versions of the packages that build and
    compile a program, the devices, the CPU, and the settings of jax, XLA and flax. The
    places and sizes of caches are left out.
    """
    settings = {
        name: value for name, value in jax.config.values.items() if "cache" not in name
    }
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_PREFIXES) and "CACHE" not in name
    }
    return {
        "sagan_jax": code_digest(Path(sagan_jax.__file__).parent),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
        "backend": devices[0].client.platform_version,
        "devices": ", ".join(f"{d.id} {d.platform} {d.device_kind}" for d in devices),
        "processor": processor(),
        "settings of jax": _digest(repr(sorted(settings.items()))),
        "environment variables": _digest(repr(sorted(environment.items()))),
    }


def code_digest(package: Path) -> str:
    """Returns a digest of every .py file below `package`, with its relative path."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(package)} {content}\n".encode())
    return digest.hexdigest()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the kind of CPU, its features and the number of cores in use.

    XLA compiles for the features, and divides work among the cores.
    """
    cores = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    try:
        first = cpuinfo.read_text().partition("\n\n")[0]
    except OSError:
        first = ""  # such as on macOS
    lines = [ln for ln in first.splitlines() if ln.partition("\t")[0] in _CPU_LINES]
    machine = f"{platform.machine()} {platform.processor()}"
    return f"{machine} {_digest(repr(lines))} on {cores} cores"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
