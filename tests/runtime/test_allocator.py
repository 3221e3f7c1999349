"""Keeping freed memory, each time in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sagan_jax.runtime import allocator, machine

ROOT = Path(__file__).resolve().parents[2]
HAS_GLIBC = pytest.mark.skipif(
    not allocator._has_glibc(), reason="mallopt is of glibc alone"
)
GIB = 2**30

# Blocks as XLA allocates them, in the main thread. glibc first tries to keep the few
# bytes between two aligned blocks for small objects; after some blocks it has enough of
# them, and each block finds the place of the last one.
REPEATED = """
import ctypes, json, resource
from sagan_jax.runtime import allocator, machine
machine.this_machine = lambda: machine.Machine("cpu", 64 * 2**30)
library = ctypes.CDLL(None)
def use_block():
    block = ctypes.c_void_p()
    assert library.posix_memalign(ctypes.byref(block), 64, 48 * 2**20) == 0
    library.memset(block, 1, 48 * 2**20)
    library.free(block)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use_block()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
{start}
print(json.dumps([kept, [faults() for _ in range(16)]]))
"""
PAGES = 48 * 2**20 // 4096


def _run(start: str, program: str = REPEATED) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", program.format(start=start)],
        cwd=ROOT,
        env={"JAX_PLATFORMS": "cpu", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@HAS_GLIBC
def test_blocks_come_to_cost_no_page_faults() -> None:
    (on, remark), faults = _run("kept = allocator.keep(2**30)")
    assert on
    assert "--nokeep_memory" in remark
    assert max(faults[-4:]) < PAGES / 100


@HAS_GLIBC
def test_without_the_setting_each_block_costs_a_fault_per_page() -> None:
    _, faults = _run("kept = None")
    assert min(faults) >= PAGES


@HAS_GLIBC
def test_free_memory_is_returned_when_asked() -> None:
    start = "kept = allocator.keep(2**30)\nfor _ in range(24): use_block()"
    released = f"{start}\nallocator.release()"
    assert _run(start)[1][0] < PAGES / 100
    assert _run(released)[1][0] >= PAGES - 1


def test_too_little_memory_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_has_glibc", lambda: True)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    small = machine.Machine("cpu", 6 * GIB)
    monkeypatch.setattr(machine, "this_machine", lambda: small)
    # Twice 3 GiB and 2 GiB.
    kept = allocator.keep(3 * GIB)
    assert not kept.on
    assert "8.0 GiB are needed" in kept.remark
    assert "there are 6.0" in kept.remark


@pytest.mark.parametrize(
    ("platforms", "library"), [("cuda", "glibc 2.36"), ("cpu", "musl"), ("cpu", None)]
)
def test_other_platforms_and_c_libraries_are_left_alone(
    platforms: str, library: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr(allocator.os, "confstr", lambda name: library)
    assert allocator.keep(0) == allocator.Kept(False, "")


def test_a_system_without_confstr_has_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(allocator.os, "confstr")
    assert not allocator._has_glibc()
