"""Files and directories are written whole or not at all."""

import os
import pathlib
import stat
import subprocess
import sys
from unittest import mock

import pytest

from sagan_jax.errors import UserError
from sagan_jax.files import whole


def _names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_replaces_the_earlier_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    whole.write_text(path, "größer")
    assert path.read_bytes() == "größer".encode()
    assert _names(tmp_path) == ["a.json"]


def test_missing_parent_directories_are_made(tmp_path: pathlib.Path) -> None:
    whole.write_bytes(tmp_path / "a" / "b" / "c", b"1")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"1"


def test_an_error_leaves_the_earlier_file_and_nothing_else(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a"
    path.write_text("before")

    def write_half() -> None:
        with whole.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "before"
    assert _names(tmp_path) == ["a"]


def test_a_directory_appears_with_all_its_files(tmp_path: pathlib.Path) -> None:
    with whole.replacing(tmp_path / "d") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "x").write_text("1")
        assert not (tmp_path / "d").exists()
    assert (tmp_path / "d" / "inner" / "x").read_text() == "1"
    assert _names(tmp_path) == ["d"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_follow_the_umask(
    tmp_path: pathlib.Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        whole.write_text(tmp_path / "a", "1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_content_is_synced_before_the_rename_and_the_directory_after(
    tmp_path: pathlib.Path,
) -> None:
    events: list[str] = []
    replace = pathlib.Path.replace

    def synced(handle: int) -> None:
        events.append("directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")

    def renamed(self: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
        events.append("rename")
        return replace(self, target)

    with (
        mock.patch.object(os, "fsync", synced),
        mock.patch.object(pathlib.Path, "replace", renamed),
    ):
        whole.write_text(tmp_path / "a", "1")
    assert events == ["file", "rename", "directory"]


def test_a_file_that_cannot_be_synced_does_not_replace_another(
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "a"
    path.write_text("before")
    with (
        mock.patch.object(os, "fsync", side_effect=OSError(28, "No space left")),
        pytest.raises(OSError, match="No space"),
    ):
        whole.write_text(path, "after")
    assert path.read_text() == "before"
    assert _names(tmp_path) == ["a"]


KILLED = """
import os, pathlib, signal, sys
from sagan_jax.files import whole
with whole.replacing(pathlib.Path(sys.argv[1])) as temporary:
    temporary.mkdir()
    (temporary / "half").write_text("1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_killed_process_are_removed_by_the_next_write(
    tmp_path: pathlib.Path,
) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", KILLED, str(tmp_path / "a")]
    assert subprocess.run(program, env=environment).returncode == -9
    (left,) = _names(tmp_path)
    assert left.startswith("a.")
    whole.write_text(tmp_path / "another", "1")
    assert left in _names(tmp_path)
    whole.write_text(tmp_path / "a", "1")
    assert _names(tmp_path) == ["a", "another"]


def test_temporary_files_of_a_running_process_are_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    with whole.replacing(path) as temporary:
        temporary.write_text("slow")
        whole.write_text(path, "quick")
    assert path.read_text() == "slow"


def test_a_place_that_can_be_written_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("before")
    for append in (False, True):
        for path in (tmp_path / "a", tmp_path / "b", tmp_path / "new" / "deep" / "c"):
            whole.check_writable(path, append=append)
    assert _names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "before"


def test_a_place_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_text("before")
    denied = PermissionError(13, "Permission denied")
    # Root may write anywhere, so that modes would prove nothing.
    with mock.patch.object(os, "open", side_effect=denied):
        for path, append in ((tmp_path / "a", True), (tmp_path / "b" / "c", False)):
            with pytest.raises(UserError, match=r"Permission denied.*another") as said:
                whole.check_writable(path, append=append)
            assert repr(str(path)) in str(said.value)


@pytest.mark.parametrize("name", ["", "a/b", "a/b/c"])
@pytest.mark.parametrize("append", [True, False])
def test_a_directory_or_a_file_in_the_way_is_no_place(
    name: str, append: bool, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be written \((Is|Not) a directory"):
        whole.check_writable(tmp_path / name, append=append)


def test_only_one_module_makes_files_of_its_own() -> None:
    # Others would forget the umask, the rename or the sync.
    root = pathlib.Path(whole.__file__).parents[1]
    words = (
        "mkstemp",
        "NamedTemporaryFile",
        "os.replace",
        "os.rename",
        "chmod",
        "O_CREAT",
    )
    found = {
        (path.relative_to(root).as_posix(), word)
        for path in root.rglob("*.py")
        for word in words
        if word in path.read_text(encoding="utf-8")
    }
    assert {name for name, _ in found} <= {"files/whole.py"}, found
