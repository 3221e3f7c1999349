"""What a stored program depends on: each change must show."""

from pathlib import Path

import jax
import pytest

from sagan_jax.runtime import dependencies

CPU = "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx2\n\nprocessor\t: 1\n"


def test_a_changed_renamed_or_added_file_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    digests = [dependencies.code_digest(tmp_path)]
    (tmp_path / "a.py").write_text("x = 2\n")
    digests.append(dependencies.code_digest(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    digests.append(dependencies.code_digest(tmp_path))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "c.py").write_text("")
    digests.append(dependencies.code_digest(tmp_path))
    assert len(set(digests)) == 4


def test_features_of_the_cpu_count(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(CPU)
    (tmp_path / "other").write_text(CPU.replace("avx2", "avx2 avx512f"))
    one, other = (dependencies.processor(tmp_path / name) for name in ("one", "other"))
    assert one != other
    assert dependencies.processor(tmp_path / "none").endswith("cores")


def _changed(before: dict[str, str]) -> set[str]:
    after = dependencies.facts(jax.devices()[:1])
    return {name for name in before if before[name] != after[name]}


def test_settings_and_variables_count_but_caches_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = dependencies.facts(jax.devices()[:1])
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert _changed(before) == set()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    assert _changed(before) == {"environment variables"}
    precision = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        changed = _changed(before)
    finally:
        jax.config.update("jax_default_matmul_precision", precision)
    assert changed == {"environment variables", "settings of jax"}


def test_another_jaxlib_and_other_devices_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = dependencies.facts(jax.devices()[:1])
    version = dependencies.importlib.metadata.version
    monkeypatch.setattr(
        dependencies.importlib.metadata,
        "version",
        lambda name: "0.99" if name == "jaxlib" else version(name),
    )
    assert _changed(before) == {"jaxlib"}
    assert dependencies.facts(jax.devices()[:2])["devices"] != before["devices"]
