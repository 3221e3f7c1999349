"""The devices of this machine, found without starting jax.

All numbers are totals. Free memory changes from hour to hour, and a choice that follows
from it would differ when a run is resumed.
"""

import importlib.metadata
import importlib.util
import os
import pathlib
import shutil
import subprocess
from typing import NamedTuple

GIB = 2**30
ASSUMED = 8 * GIB
"""Memory assumed for a device that does not report it."""

DRIVERS = {12: 525, 13: 580}
"""The oldest NVIDIA driver for each version of CUDA that jax has a plugin for."""

CGROUP_LIMITS = (
    pathlib.Path("/sys/fs/cgroup/memory.max"),
    pathlib.Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux reports a container's memory limit: cgroups v2, then v1."""


class Machine(NamedTuple):
    """The devices that jax will use.

    Attributes:
      kind: 'gpu' or 'cpu'.
      memory: bytes per device; the smallest, if GPUs differ.
      devices: number of devices.
      cores: number of CPU cores.
      remark: a sentence about an assumption or an unused device, or ''.
    """

    kind: str
    memory: int
    devices: int = 1
    cores: int = 1
    remark: str = ""


def this_machine() -> Machine:
    """Returns the NVIDIA GPUs that jax can use, or else the CPU."""
    cores = os.cpu_count() or 1
    memories, remark = _gpu_memories(), ""
    if memories and (reason := obstacle()):
        memories = []
        remark = f"an NVIDIA GPU is present, but jax will not use it: {reason}"
    if memories:
        smallest = min(memories)
        if not smallest:
            remark = f"the GPU does not report its memory; {ASSUMED // GIB} GiB assumed"
        return Machine("gpu", smallest or ASSUMED, len(memories), cores, remark)
    memory = _physical_memory()
    if not memory:
        remark = f"the system does not report its memory; {ASSUMED // GIB} GiB assumed"
    return Machine("cpu", memory or ASSUMED, 1, cores, remark)


def runs_on_cpu() -> bool:
    """Returns whether jax will run on the CPU; False if it may find an accelerator."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked:
        return asked.split(",")[0] == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    if any("cuda" not in plugin.name for plugin in plugins):
        return False
    if importlib.util.find_spec("libtpu") is not None:
        return False
    return not has_gpu() or bool(obstacle())


def has_gpu() -> bool:
    """Returns whether an NVIDIA GPU is present and visible."""
    return bool(_gpu_memories())


def obstacle(platforms: str | None = None) -> str:
    """Returns why jax cannot use an NVIDIA GPU, and the remedy; '' if it may.

    Args:
      platforms: the value of JAX_PLATFORMS; None: that of the environment.
    """
    if platforms is None:
        platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return f"JAX_PLATFORMS={platforms} excludes it; unset JAX_PLATFORMS"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    versions = [v for v in DRIVERS if any(f"cuda{v}" in p.name for p in plugins)]
    driver = _driver()
    fitting = [v for v, least in DRIVERS.items() if not driver or driver >= least]
    if not fitting:
        return (
            f"its driver {driver} is too old for jax; install driver "
            f"{DRIVERS[12]} or newer"
        )
    if not versions:
        return f"jax has no plugin for CUDA; pip install 'jax[cuda{max(fitting)}]'"
    if not set(versions) & set(fitting):
        return (
            f"its driver {driver} is too old for jax's plugin for CUDA {versions[0]}; "
            f"install driver {DRIVERS[versions[0]]} or newer, or "
            f"pip uninstall jax-cuda{versions[0]}-plugin jax-cuda{versions[0]}-pjrt "
            f"and pip install 'jax[cuda{max(fitting)}]'"
        )
    return ""


def _gpu_memories() -> list[int]:
    """Returns the memory of each visible GPU in bytes, 0 if it is not reported."""
    lines = _ask_driver("--query-gpu=memory.total", "--format=csv,noheader,nounits")
    found = [int(line) * 2**20 if line.isdecimal() else 0 for line in lines]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else _visible(found, visible)


def _visible(found: list[int], visible: str) -> list[int]:
    """Returns the GPUs that CUDA_VISIBLE_DEVICES lists, up to the first unknown one."""
    shown = []
    for name in map(str.strip, visible.split(",")):
        if name.isdecimal() and int(name) < len(found):
            shown.append(found[int(name)])
        elif found and name.startswith(("GPU-", "MIG-")):
            shown.append(min(found))  # identifiers are not looked up
        else:
            break
    return shown


def _driver() -> int:
    """Returns the major version of the NVIDIA driver, 0 if it is unknown."""
    lines = _ask_driver("--query-gpu=driver_version", "--format=csv,noheader")
    major = lines[0].partition(".")[0] if lines else ""
    return int(major) if major.isdecimal() else 0


def _ask_driver(*question: str) -> list[str]:
    """Returns the lines that nvidia-smi prints, one per GPU; [] without a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, *question],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # a driver without a GPU
    return [line.strip() for line in answer.splitlines() if line.strip()]


def _physical_memory() -> int:
    """Returns the bytes of memory, within the container's limit; 0: unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0  # such as on Windows
    for path in CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text("ascii")))
        except (OSError, ValueError):
            continue  # no such file, or no limit: 'max'
    return max(0, total)
