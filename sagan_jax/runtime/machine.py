"""The devices of this machine, found without starting jax.

All numbers are totals. Free memory changes from hour to hour, and a choice that follows
from it would differ when a run is resumed.
"""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
from typing import NamedTuple

GIB = 2**30
ASSUMED = 8 * GIB
"""Memory assumed for a device that does not report it."""

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
    if memories and not _jax_takes_gpus():
        memories = []
        remark = (
            "an NVIDIA GPU is present, but this jax will not use it; to train on it, "
            "pip install -e '.[cuda]' and unset JAX_PLATFORMS"
        )
    if memories:
        smallest = min(memories)
        if not smallest:
            remark = f"the GPU does not report its memory; {ASSUMED // GIB} GiB assumed"
        return Machine("gpu", smallest or ASSUMED, len(memories), cores, remark)
    memory = _physical_memory()
    if not memory:
        remark = f"the system does not report its memory; {ASSUMED // GIB} GiB assumed"
    return Machine("cpu", memory or ASSUMED, 1, cores, remark)


def _gpu_memories() -> list[int]:
    """Returns the memory of each visible GPU in bytes, 0 if it is not reported."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # a driver without a GPU
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
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


def _jax_takes_gpus() -> bool:
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        return False
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return any("cuda" in plugin.name for plugin in plugins)


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
