"""Detection of GPUs and memory, with a fake nvidia-smi and fake system figures."""

import importlib
import importlib.metadata
import os
from pathlib import Path

import pytest

from sagan_jax.runtime import machine
from sagan_jax.runtime.machine import GIB, Machine


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs a fake nvidia-smi, which prints the returned file, and jax's plugin."""
    asked = "--query-gpu=memory.total --format=csv,noheader,nounits"
    program = tmp_path / "nvidia-smi"
    version = "--query-gpu=driver_version --format=csv,noheader"
    program.write_text(
        f'#!/bin/sh\n[ "$*" = "{version}" ] && exec cat "$0.driver"\n'
        f'[ "$*" = "{asked}" ] || exit 9\nexec cat "$0.answer"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    _install_plugin(tmp_path, monkeypatch)
    return tmp_path / "nvidia-smi.answer"


def _install_plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes the package record of `pip install jax[cuda13]`."""
    record = folder / "jax_cuda13_plugin-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Name: jax-cuda13-plugin\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text(
        "[jax_plugins]\nxla_cuda13 = jax_plugins.xla_cuda13\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()


def test_a_gpu_is_found_with_its_memory(smi: Path) -> None:
    smi.write_text("143771\n")
    found = machine.this_machine()
    assert found[:3] == ("gpu", 143771 * 2**20, 1)
    assert found.remark == ""


def test_the_smallest_of_several_gpus_counts(smi: Path) -> None:
    smi.write_text("81559\n24564\n")
    assert machine.this_machine()[:3] == ("gpu", 24564 * 2**20, 2)


@pytest.mark.parametrize(
    ("visible", "wanted"),
    [
        ("1", ("gpu", 24564 * 2**20, 1)),
        ("2,0", ("gpu", 8192 * 2**20, 2)),
        ("0,-1,1", ("gpu", 81559 * 2**20, 1)),
        ("GPU-8f2a,GPU-11c0", ("gpu", 8192 * 2**20, 2)),
    ],
)
def test_hidden_gpus_do_not_count(
    visible: str,
    wanted: tuple[str, int, int],
    smi: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smi.write_text("81559\n24564\n8192\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.this_machine()[:3] == wanted


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_without_a_visible_gpu_the_cpu_is_used(
    visible: str, smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.write_text("81559\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert machine.this_machine().kind == "cpu"


def test_a_gpu_that_does_not_report_its_memory_is_assumed_to_be_small(
    smi: Path,
) -> None:
    smi.write_text("[N/A]\n")
    found = machine.this_machine()
    assert found[:3] == ("gpu", 8 * GIB, 1)
    assert "GPU" in found.remark
    assert "8 GiB" in found.remark


def test_with_a_driver_but_no_gpu_the_cpu_is_used(smi: Path) -> None:
    # The file is missing, so the program fails.
    assert machine.this_machine().kind == "cpu"


def test_a_gpu_that_jax_cannot_use_is_reported(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.write_text("81559\n")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    found = machine.this_machine()
    assert found.kind == "cpu"
    assert found.remark.startswith("an NVIDIA GPU is present")
    assert "unset JAX_PLATFORMS" in found.remark


@pytest.mark.parametrize(
    ("driver", "plugin", "words"),
    [
        ("", "", ["no plugin for CUDA", "pip install 'jax[cuda13]'"]),
        ("580.65.06", "", ["no plugin for CUDA", "pip install 'jax[cuda13]'"]),
        ("550.54.15", "", ["no plugin for CUDA", "pip install 'jax[cuda12]'"]),
        ("470.1", "", ["driver 470 is too old for jax", "driver 525"]),
        (
            "550.54.15",
            "xla_cuda13",
            ["driver 550 is too old", "CUDA 13", "driver 580", "'jax[cuda12]'"],
        ),
        ("550.54.15", "xla_cuda12", []),
        ("580.65.06", "xla_cuda13", []),
        ("580.65.06", "xla_cuda12", []),
        ("", "xla_cuda13", []),
    ],
)
def test_an_unused_gpu_is_explained(
    driver: str,
    plugin: str,
    words: list[str],
    smi: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    smi.write_text("81559\n")
    smi.with_suffix(".driver").write_text(f"{driver}\n")
    entry = importlib.metadata.EntryPoint(plugin, "jax_plugins.x", "jax_plugins")
    found = [entry] if plugin else []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: found)
    said = machine.obstacle()
    assert bool(said) == bool(words)
    assert [word for word in words if word not in said] == [], said
    assert machine.this_machine().kind == ("cpu" if words else "gpu")


def test_without_the_plugin_the_cpu_is_used(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi.write_text("81559\n")
    (smi.parent / "jax_cuda13_plugin-1.0.dist-info" / "entry_points.txt").unlink()
    importlib.invalidate_caches()
    if any(
        "cuda" in plugin.name
        for plugin in importlib.metadata.entry_points(group="jax_plugins")
    ):
        pytest.skip("jax has its own plugin for CUDA here")
    assert machine.this_machine().kind == "cpu"


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fakes 16 GiB and no GPU; returns the file of a container's memory limit."""
    limit = tmp_path / "memory.max"
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(machine, "CGROUP_LIMITS", (tmp_path / "none", limit))
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 4 * 2**20}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return limit


def test_a_cpu_has_the_physical_memory(cpu: Path) -> None:
    assert machine.this_machine() == Machine("cpu", 16 * GIB, 1, 4, "")


def test_the_memory_limit_of_a_container_counts(cpu: Path) -> None:
    cpu.write_text(f"{2 * GIB}\n")
    assert machine.this_machine().memory == 2 * GIB


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n"])
def test_a_container_without_a_limit_has_all_the_memory(limit: str, cpu: Path) -> None:
    cpu.write_text(limit)
    assert machine.this_machine().memory == 16 * GIB


def test_a_system_that_does_not_report_its_memory_is_assumed_to_be_small(
    cpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sysconf")
    found = machine.this_machine()
    assert found.memory == 8 * GIB
    assert "system" in found.remark
    assert "8 GiB" in found.remark


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [("cpu", True), ("cuda", False), ("cuda,cpu", False), ("tpu", False)],
)
def test_jax_platforms_names_the_platform(
    platforms: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    assert machine.runs_on_cpu() is expected


def test_jax_runs_on_a_gpu_that_it_can_use(smi: Path) -> None:
    smi.write_text("81559\n")
    assert not machine.runs_on_cpu()
    smi.write_text("")
    assert machine.runs_on_cpu()


def test_another_plugin_may_find_another_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "")
    entry = importlib.metadata.EntryPoint("rocm", "jax_plugins.x", "jax_plugins")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [entry])
    assert not machine.runs_on_cpu()
