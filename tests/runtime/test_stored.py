"""Entries of compiled programs: what is used again, and what is refused."""

import gc
import os
import pickle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sagan_jax.runtime import stored

FACTS = {"jaxlib": "0.10.2", "processor": "zen"}
DEVICES = jax.devices()[:2]
MESH = Mesh(np.asarray(DEVICES), ("data",))
WHOLE = NamedSharding(MESH, PartitionSpec())
ROWS = NamedSharding(MESH, PartitionSpec("data"))
SHAPE = jax.ShapeDtypeStruct((4, 3), jnp.float32)


def _lower() -> jax.stages.Lowered:
    # As a step: the first argument is donated, the second split over the devices.
    def step(state: Any, rows: Any) -> Any:
        return {"sum": state["sum"] + jnp.tanh(rows).sum(0)}, rows.mean()

    jitted = jax.jit(
        step,
        in_shardings=(WHOLE, ROWS),
        out_shardings=(WHOLE, WHOLE),
        donate_argnums=0,
    )
    return jitted.lower({"sum": jax.ShapeDtypeStruct((3,), jnp.float32)}, SHAPE)


def _run(program: jax.stages.Compiled) -> Any:
    state = {"sum": jax.device_put(jnp.arange(3.0), WHOLE)}
    rows = jax.device_put(np.arange(12, dtype=np.float32).reshape(4, 3) / 7, ROWS)
    for _ in range(2):
        state, mean = program(state, rows)
    return np.asarray(state["sum"]).tobytes(), float(mean)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    path = stored.path_of(tmp_path / "programs", "step")
    stored.compile_and_save(path, FACTS, _lower)
    return path


def _refused(path: Path, facts: Any = FACTS) -> str:
    found = stored.load(path, facts, DEVICES)
    assert found.program is None
    return found.remark


def test_a_stored_program_gives_the_same_bits(entry: Path) -> None:
    found = stored.load(entry, FACTS, DEVICES)
    assert found.program is not None
    assert found.remark == ""
    assert _run(found.program) == _run(_lower().compile())


def test_without_an_entry_there_is_nothing_to_report(tmp_path: Path) -> None:
    path = stored.path_of(tmp_path, "step")
    assert stored.load(path, FACTS, DEVICES) == stored.Loaded(None, "")


def test_other_names_have_other_files(tmp_path: Path) -> None:
    assert stored.path_of(tmp_path, "a") != stored.path_of(tmp_path, "b")


def test_an_entry_is_private(entry: Path) -> None:
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", [0, 64, 70, -1, -1000])
def test_a_changed_byte_is_found_before_anything_is_loaded(
    entry: Path, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(entry.read_bytes())
    content[place] ^= 1
    entry.write_bytes(content)
    monkeypatch.setattr(pickle, "loads", lambda _: pytest.fail("loaded"))
    assert "damaged" in _refused(entry)


def test_other_facts_are_named(entry: Path) -> None:
    changed = {**FACTS, "processor": "other", "settings of jax": "x"}
    assert "other values of processor, settings of jax" in _refused(entry, changed)


def test_an_entry_that_does_not_load_is_reported(entry: Path) -> None:
    entry.unlink()
    compiled = _lower().compile()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored.serialize_executable, "serialize", lambda _: (b"", 1, 2))
        stored._save(entry, FACTS, compiled)
    assert "cannot be loaded" in _refused(entry)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o644])
def test_a_file_that_others_may_open_is_not_used(entry: Path, mode: int) -> None:
    entry.chmod(mode)
    assert "open to other users; delete it" in _refused(entry)


def test_a_directory_that_others_may_write_is_not_used(entry: Path) -> None:
    entry.parent.chmod(0o777)
    assert f"{str(entry.parent)!r} is open to other users" in _refused(entry)


def test_no_entry_is_written_into_such_a_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    path = stored.path_of(tmp_path, "step")
    assert _run(stored.compile_and_save(path, FACTS, _lower)) == _run(
        _lower().compile()
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_user_is_not_used(
    entry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert "belongs to another user" in _refused(entry)


def test_a_link_is_not_followed(entry: Path, tmp_path: Path) -> None:
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert "cannot be read" in _refused(entry)


def test_a_program_out_of_jaxs_own_cache_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Serialised again it would load, and fail when it runs.
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    for name, value in zip(names, (str(tmp_path / "jax"), 0.0), strict=True):
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    try:
        first, second = (stored.path_of(tmp_path / "own", name) for name in "ab")
        stored.compile_and_save(first, FACTS, _lower)
        stored.compile_and_save(second, FACTS, _lower)
    finally:
        for name, value in zip(names, before, strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
    assert (first.exists(), second.exists()) == (True, False)


def test_the_entries_used_longest_ago_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [stored.path_of(tmp_path / "own", name) for name in "abcd"]
    compiled = _lower().compile()
    for age, path in zip((30, 20, 10), paths, strict=False):
        stored._save(path, FACTS, compiled)
        os.utime(path, (1e9 - age, 1e9 - age))
    assert stored.load(paths[0], FACTS, DEVICES).program  # now used last
    size = paths[0].stat().st_size
    monkeypatch.setattr(stored, "MOST_BYTES", 3 * size + size // 2)
    stored._save(paths[3], FACTS, compiled)
    assert [path.exists() for path in paths] == [True, False, True, True]


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_collected_while_a_program_is_lowered(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    seen: list[bool] = []

    def lower() -> Any:
        seen.append(gc.isenabled())
        raise ValueError

    try:
        with pytest.raises(ValueError):
            stored.lowered(lower)
        assert (seen, gc.isenabled()) == ([False], enabled)
    finally:
        (gc.enable if before else gc.disable)()
