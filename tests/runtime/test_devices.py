"""What is said of the devices that jax starts with."""

import importlib.metadata
import logging
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from sagan_jax.errors import UserError
from sagan_jax.runtime import devices, machine

ROOT = Path(__file__).resolve().parents[2]


def test_devices_are_counted_by_kind() -> None:
    assert devices.in_words(0) == f"{jax.device_count()} cpu"
    assert devices.in_words(2) == "2 cpu"


def test_without_a_gpu_there_is_nothing_to_remark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "has_gpu", lambda: False)
    assert devices.start() == []


def test_an_unused_gpu_is_remarked_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    (remark,) = devices.start()
    assert "NVIDIA GPU is present, but jax uses the CPU" in remark
    assert "unset JAX_PLATFORMS" in remark


def test_a_plugin_that_did_not_start_is_quoted(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def backend() -> str:
        logging.getLogger("jax._src.xla_bridge").warning(
            "CUDA backend failed to initialize: INTERNAL: no driver.\nmore"
        )
        return "cpu"

    monkeypatch.setattr(jax, "default_backend", backend)
    monkeypatch.setattr(machine, "has_gpu", lambda: True)
    monkeypatch.setattr(machine, "obstacle", lambda: "")
    (remark,) = devices.start()
    assert "CUDA backend failed to initialize: INTERNAL: no driver." in remark
    assert "\n" not in remark
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("platforms", "words"),
    [
        ("cuda", ["JAX_PLATFORMS='cuda'", "jax[cuda13]", "unset JAX_PLATFORMS"]),
        ("tpu", ["JAX_PLATFORMS='tpu'", "jax[tpu]", "unset JAX_PLATFORMS"]),
        ("gpux", ["JAX_PLATFORMS='gpux'", "cpu, cuda or tpu"]),
    ],
)
@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("Unable.\nmore")])
def test_a_backend_that_does_not_start_is_one_sentence(
    platforms: str,
    words: list[str],
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def backend() -> str:
        raise error

    monkeypatch.setattr(jax, "default_backend", backend)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: [])
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError) as caught:
        devices.start()
    assert [word for word in words if word not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("module", ["launch", "sagan_jax.metrics.evaluate"])
def test_commands_answer_in_one_sentence_and_the_remedy_works(
    module: str, tmp_path: Path
) -> None:
    if any(
        "cuda" in p.name for p in importlib.metadata.entry_points(group="jax_plugins")
    ):
        pytest.skip("jax may start CUDA here")
    argv = ["none", "nothing"]
    if module == "launch":
        argv = ["--config=experiments/quickstart.py:smoke", "--dry_run"]
    outputs = {}
    for platforms in ("cuda", None):  # None: unset, as the sentence says
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        environment.pop("JAX_PLATFORMS")
        if platforms:
            environment["JAX_PLATFORMS"] = platforms
        outputs[platforms] = subprocess.run(
            [sys.executable, "-m", module, *argv],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    refused = outputs["cuda"].stderr
    assert outputs["cuda"].returncode == 1
    assert refused.startswith("error: JAX_PLATFORMS='cuda' asks")
    assert refused.count("\n") == 1
    assert "unset JAX_PLATFORMS" in refused
    assert "JAX_PLATFORMS" not in outputs[None].stderr
    if module == "launch":
        assert outputs[None].returncode == 0, outputs[None].stderr
