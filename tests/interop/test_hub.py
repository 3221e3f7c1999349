"""Model folders on the hub: download and upload, and all that can go wrong there."""

import errno
import hashlib
import io
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
import tiny_models

import sagan_jax
from sagan_jax.errors import UserError
from sagan_jax.interop import __main__ as interop
from sagan_jax.workdir import hub as hub_lib
from sagan_jax.workdir import models
from sagan_jax.workdir.model_files import GENERATOR

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
import hub_stand_in
from hub_stand_in import Hub

# The client calls its own HTTP library in a way that this library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TOKEN = "hf_aSecretThatNobodyMaySee"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Returns a stand-in; the client has a token, and its cache is empty."""
    tiny_models.describe_once(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    with hub_stand_in.running(monkeypatch, tmp_path / "cache") as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_models.folder(tmp_path / "model")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _refusal(where: str) -> str:
    with pytest.raises(UserError) as caught:
        sagan_jax.load(where)
    assert "\n" not in str(caught.value)
    assert where in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return str(caught.value)


# Download.


def test_an_address_loads_the_arrays_of_the_folder_bit_for_bit(
    hub: Hub, folder: Path
) -> None:
    hub.put("me/cats", _files(folder))
    _, variables, _ = sagan_jax.load("hf://me/cats")
    tiny_models.assert_same(variables, tiny_models.trees()[GENERATOR])


def test_a_second_load_downloads_nothing_again(hub: Hub, folder: Path) -> None:
    hub.put("me/cats", _files(folder))
    first = hub_lib.download(hub_lib.parsed("hf://me/cats"))
    hub.requests.clear()
    assert hub_lib.download(hub_lib.parsed("hf://me/cats")) == first
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_a_revision_is_a_branch_or_a_commit(hub: Hub, folder: Path) -> None:
    digest = hub.put("me/cats", _files(folder), branch="v1")
    hub.put("me/cats", {"README.md": b"No model yet.\n"})
    for revision in ("v1", digest):
        run = models.open_model(f"hf://me/cats@{revision}")
        assert run.steps() == [tiny_models.STEP]
    with pytest.raises(UserError, match=r"config\.json is missing"):
        sagan_jax.load("hf://me/cats")


def test_files_that_are_no_part_of_a_model_are_not_downloaded(
    hub: Hub, folder: Path
) -> None:
    hub.put("me/cats", _files(folder) | {"run_me.py": b"1", "more/x.bin": b"2"})
    found = hub_lib.download(hub_lib.parsed("hf://me/cats"))
    assert {path.name for path in found.iterdir()} == _files(folder).keys()


def test_outputs_of_a_model_of_the_hub_go_to_runs(hub: Hub, folder: Path) -> None:
    hub.put("me/cats", _files(folder))
    run = models.open_model("hf://me/cats@main")
    assert run.workdir == Path("runs/me--cats-outputs")


def test_a_connection_that_breaks_once_is_resumed(hub: Hub, folder: Path) -> None:
    hub.put("me/cats", _files(folder))
    hub.cuts = 1
    _, variables, _ = sagan_jax.load("hf://me/cats")
    tiny_models.assert_same(variables, tiny_models.trees()[GENERATOR])
    assert hub.cuts == 0


def test_an_interrupted_download_is_one_sentence_and_the_next_one_works(
    hub: Hub, folder: Path
) -> None:
    hub.put("me/cats", _files(folder))
    hub.cuts = 10**6
    with mock.patch.object(hub_stand_in._Handler, "send_response", _closing(hub)):
        assert "the connection failed" in _refusal("hf://me/cats")
    hub.cuts = 0
    _, variables, _ = sagan_jax.load("hf://me/cats")
    tiny_models.assert_same(variables, tiny_models.trees()[GENERATOR])


def _closing(hub: Hub) -> Callable[..., None]:
    """Returns a `send_response` that sends nothing of the rest of a cut file."""
    send = hub_stand_in._Handler.send_response

    def send_or_close(self: Any, status: int, *message: str) -> None:
        if status == 206 and hub.cuts:
            self.connection.shutdown(socket.SHUT_RDWR)
        send(self, status, *message)

    return send_or_close


def test_a_wrong_digest_is_found_after_the_download(hub: Hub, folder: Path) -> None:
    files = _files(folder)
    content = files["model.safetensors"]
    files["model.safetensors"] = content[:-1] + bytes([content[-1] ^ 1])
    hub.put("me/cats", files)
    with pytest.raises(UserError, match="damaged or was changed"):
        sagan_jax.load("hf://me/cats")


def test_an_unknown_repository_is_named(hub: Hub) -> None:
    assert "no such repository" in _refusal("hf://me/dogs")


def test_an_unknown_revision_is_named(hub: Hub, folder: Path) -> None:
    hub.put("me/cats", _files(folder))
    assert "no such revision" in _refusal("hf://me/cats@v9")


def _nobodys_address() -> str:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{nobody.getsockname()[1]}"


def test_without_a_network_the_cache_is_used_and_else_a_sentence(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    hub.put("me/cats", _files(folder))
    hub_lib.download(hub_lib.parsed("hf://me/cats"))
    monkeypatch.setattr(constants, "ENDPOINT", _nobodys_address())
    _, variables, _ = sagan_jax.load("hf://me/cats")
    tiny_models.assert_same(variables, tiny_models.trees()[GENERATOR])
    assert "cannot be reached" in _refusal("hf://me/others")


@pytest.mark.parametrize(
    "address",
    ["hf://cats", "hf://me/cats/x", "hf://../cats", "hf://me/c@", "hf://me/c@a/../b"],
)
def test_what_is_no_address_is_refused_without_a_request(
    hub: Hub, address: str
) -> None:
    assert "hf://owner/name@revision" in _refusal(address)
    assert hub.requests == []


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'sagan_jax\[hub\]'"):
        sagan_jax.load("hf://me/cats")


# Upload.


def _push(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = interop.main(["push", *arguments])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_a_pushed_folder_is_on_the_hub_as_it_is_here(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = _push(capsys, str(folder), "me/cats")
    assert code == 0, printed
    assert hub.files("me/cats") == _files(folder)
    for name, content in _files(folder).items():
        assert re.search(rf"{len(content):,} bytes .*{name}", printed)
    assert f"{hub.address}/me/cats/commit/" in printed
    shutil.rmtree(folder)
    _, variables, _ = sagan_jax.load("hf://me/cats")
    tiny_models.assert_same(variables, tiny_models.trees()[GENERATOR])


def test_a_dry_run_lists_and_uploads_nothing(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = _push(capsys, str(folder), "me/cats", "--dry_run")
    assert code == 0
    assert "nothing was uploaded" in printed
    assert hub.requests == []


@pytest.mark.parametrize("other", ["notes.txt", ".git", "samples/x.png"])
def test_a_folder_with_other_files_is_refused(
    hub: Hub, folder: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("private")
    code, printed = _push(capsys, str(folder), "me/cats")
    assert code == 1
    assert other.split("/")[0] in printed
    assert hub.requests == []


def test_links_missing_and_damaged_files_are_refused(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = folder / "README.md"
    card.unlink()
    assert "README.md is missing" in _push(capsys, str(folder), "me/cats")[1]
    card.symlink_to("/etc/passwd")
    assert "README.md is a link" in _push(capsys, str(folder), "me/cats")[1]
    card.unlink()
    card.write_text("A card.\n")
    (folder / "config.json").write_text("[]")
    assert "config.json" in _push(capsys, str(folder), "me/cats")[1]
    assert hub.requests == []


def test_another_process_with_the_address_of_the_hub_loads_the_same_bits(
    hub: Hub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(capsys, str(folder), "me/cats")[0] == 0
    program = (
        "import jax, hashlib, sagan_jax\n"
        "leaves = jax.tree.leaves(sagan_jax.load('hf://me/cats@main')[1])\n"
        "print(hashlib.sha256(b''.join(x.tobytes() for x in leaves)).hexdigest())"
    )
    environment = {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HOME": str(tmp_path / "home"), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    leaves = jax.tree.leaves(tiny_models.trees()[GENERATOR])
    expected = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in leaves))
    assert done.stdout.split() == [expected.hexdigest()], done.stderr
    assert TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize("status", [401, 403, 409, 500])
def test_a_token_is_in_no_message_and_no_log(
    hub: Hub,
    folder: Path,
    status: int,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.refuses = status
    code, printed = _push(capsys, str(folder), "me/cats")
    assert code == 1
    assert TOKEN in hub.tokens  # it was used, and the answer held it
    assert printed.splitlines()[-1].startswith("error: hf://me/cats cannot be written")
    assert TOKEN not in printed + caplog.text


def test_a_push_without_a_network_is_one_sentence(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", _nobodys_address())
    code, printed = _push(capsys, str(folder), "me/cats")
    assert code == 1
    assert "the connection failed (ConnectError)" in printed
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in _push(capsys, str(folder), "me/cats")[1]


def test_a_failure_of_the_client_is_no_traceback(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    broken = mock.Mock(side_effect=TypeError("no such argument"))
    with mock.patch.object(huggingface_hub.HfApi, "create_repo", broken):
        code, printed = _push(capsys, str(folder), "me/cats")
    assert code == 1
    assert "its client failed (TypeError); update it" in printed


def test_a_full_disk_is_reported_as_one(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import huggingface_hub

    full = mock.Mock(side_effect=OSError(errno.ENOSPC, "", "/cache"))
    with mock.patch.object(huggingface_hub.HfApi, "create_commit", full):
        code, printed = _push(capsys, str(folder), "me/cats")
    assert code == 1
    assert "No space left on device: '/cache'" in printed


def test_a_token_is_in_no_file(
    hub: Hub, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _push(capsys, str(folder), "me/cats")[0] == 0
    sagan_jax.load("hf://me/cats")
    assert TOKEN in hub.tokens
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes()


def test_every_command_is_a_module_with_a_main() -> None:
    for name, module in interop.COMMANDS.items():
        with (
            pytest.raises(SystemExit) as caught,
            mock.patch("sys.stdout", io.StringIO()),
        ):
            interop.main([name, "--help"])
        assert caught.value.code == 0, module
