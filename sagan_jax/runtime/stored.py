"""Compiled programs in files: a warm start neither traces nor lowers its step.

Jax's own cache of compiled programs is keyed by the lowered program, so each start has
to trace and lower first. An entry here is keyed by what the program is made from.

An entry is code. Only files of this user that nobody else can write are read, in a
directory that nobody else can write, and the digest of an entry is checked before
anything in it is used.
"""

import contextlib
import gc
import hashlib
import json
import os
import pickle
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import serialize_executable

from sagan_jax.files import whole

MOST_BYTES = 2**30
"""Size of the directory; the entries that were used longest ago are removed."""

SUFFIX = ".program"

_HIT = "/jax/compilation_cache/cache_hits"
Facts = Mapping[str, str]


class Loaded(NamedTuple):
    """What was found of an entry.

    Attributes:
      program: the program, which takes arguments placed as those it was lowered for;
        None if it must be compiled.
      remark: a line about an entry that could not be used; '' otherwise.
    """

    program: jax.stages.Compiled | None
    remark: str


class _UnusableError(Exception):
    """An entry cannot be used, and the reason."""


def path_of(directory: Path, name: str) -> Path:
    """Returns the file of an entry; programs of one name replace each other."""
    return directory / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}{SUFFIX}"


def load(path: Path, facts: Facts, devices: Sequence[jax.Device]) -> Loaded:
    """Returns the program of an entry, if it can be used here.

    Args:
      path: the file of the entry.
      facts: all that the program depends on, in words; see `dependencies.facts`.
      devices: the devices of its mesh, in order.
    """
    try:
        return Loaded(_load(path, facts, devices), "")
    except _UnusableError as error:
        return Loaded(None, f"note: the stored step is not used, since {error}.")


def compile_and_save(
    path: Path, facts: Facts, lower: Callable[[], jax.stages.Lowered]
) -> jax.stages.Compiled:
    """Compiles a program, and writes its entry where that is possible.

    Args:
      path: the file of the entry.
      facts: all that the program depends on, in words.
      lower: returns the lowered program.
    """
    fresh = [True]

    def listen(event: str, **_: Any) -> None:
        if event == _HIT:
            fresh[0] = False

    jax.monitoring.register_event_listener(listen)
    try:
        compiled = lowered(lower).compile()
    finally:
        jax.monitoring.unregister_event_listener(listen)
    # A program that came out of jax's own cache loses parts when it is serialised on a
    # CPU, and fails when it runs.
    if fresh[0]:
        # Without an entry the next start is slower, and nothing else.
        with contextlib.suppress(OSError, _UnusableError):
            _save(path, facts, compiled)
    return compiled


def lowered(lower: Callable[[], jax.stages.Lowered]) -> jax.stages.Lowered:
    """Returns `lower()`, during which Python collects no garbage.

    Tracing keeps nearly all of the objects that it makes, and the collector would look
    at them again and again: a fifth of the time.
    """
    collected = gc.isenabled()
    gc.disable()
    try:
        return lower()
    finally:
        if collected:
            gc.enable()


def _save(path: Path, facts: Facts, compiled: jax.stages.Compiled) -> None:
    _make_private(path.parent)
    content = pickle.dumps(serialize_executable.serialize(compiled))
    body = json.dumps(dict(facts), sort_keys=True).encode() + b"\n" + content
    whole.write_private(path, _digest(body) + body)
    _bound(path)


def _load(
    path: Path, facts: Facts, devices: Sequence[jax.Device]
) -> jax.stages.Compiled | None:
    """Returns the program of an entry; None if there is no entry."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _UnusableError(f"it cannot be read ({error.strerror})") from None
    with os.fdopen(handle, "rb") as file:
        _check_private(path.parent, os.stat(path.parent))
        _check_private(path, os.fstat(handle))
        text = file.read()
    body = text[len(_digest(b"")) :]
    if text != _digest(body) + body:
        raise _UnusableError("its file is damaged")
    line, _, content = body.partition(b"\n")
    stored = json.loads(line)
    changed = [key for key in {**stored, **facts} if stored.get(key) != facts.get(key)]
    if changed:
        raise _UnusableError(f"it was made with other values of {', '.join(changed)}")
    try:
        serialised, in_tree, out_tree = pickle.loads(content)
        found = serialize_executable.deserialize_and_load(
            serialised, in_tree, out_tree, execution_devices=list(devices)
        )
    # Whatever the compiler's library raises about a program it cannot load.
    except Exception as error:
        raise _UnusableError(f"it cannot be loaded ({type(error).__name__})") from None
    os.utime(path)  # used last
    return found


def _digest(body: bytes) -> bytes:
    """Returns the first line of an entry with this body."""
    return hashlib.sha256(body).hexdigest().encode() + b"\n"


def _make_private(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(directory, os.stat(directory))


def _check_private(path: Path, found: os.stat_result) -> None:
    """Raises _UnusableError unless only this user can write `path`."""
    if found.st_uid != os.geteuid():
        raise _UnusableError(f"{str(path)!r} belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise _UnusableError(f"{str(path)!r} is open to other users; delete it")


def _bound(newest: Path) -> None:
    """Removes the entries used longest ago until all fit into MOST_BYTES."""
    entries = []
    for path in newest.parent.glob(f"*{SUFFIX}"):
        try:
            entries.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        except OSError:
            continue  # another process removed it
    total = 0
    for _, size, path in sorted(entries, reverse=True):
        total += size
        if total > MOST_BYTES and path != newest:
            path.unlink(missing_ok=True)
