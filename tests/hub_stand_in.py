"""A stand-in for the Hugging Face hub on the loopback device, as its client sees it.

It keeps repositories in memory, answers the requests by which a folder is downloaded
and uploaded, and misbehaves as it is told. An answer to an unknown request is 501.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
import time
import types
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

Files = dict[str, bytes]


_CLOCK = {**vars(time), "sleep": lambda _: None}


class Hub:
    """What the stand-in holds and does.

    Attributes:
      address: its URL.
      commits: the files of each commit, by repository and digest.
      branches: the digest of the newest commit, by repository and branch.
      requests: the requests so far, such as 'GET /api/models/me/cats'.
      tokens: the tokens that requests came with.
      cuts: number of answers to cut in the middle of model.safetensors.
      refuses: a status to answer every request with; 0: none.
    """

    def __init__(self) -> None:
        self.commits: dict[tuple[str, str], Files] = {}
        self.branches: dict[tuple[str, str], str] = {}
        self.repositories: set[str] = set()
        self.stored: Files = {}
        self.requests: list[str] = []
        self.tokens: set[str] = set()
        self.cuts = 0
        self.refuses = 0
        self.address = ""

    def put(self, repository: str, files: Files, branch: str = "main") -> str:
        """Makes a commit, and returns its digest."""
        text = repr((repository, branch, sorted(files.items())))
        digest = hashlib.sha1(text.encode()).hexdigest()
        self.repositories.add(repository)
        self.commits[repository, digest] = files
        self.branches[repository, branch] = digest
        return digest

    def files(self, repository: str, branch: str = "main") -> Files:
        """Returns the files of the newest commit of a branch."""
        return self.commits[repository, self.branches[repository, branch]]

    def digest_of(self, repository: str, revision: str) -> str | None:
        if (repository, revision) in self.commits:
            return revision
        return self.branches.get((repository, revision))


@contextlib.contextmanager
def running(monkeypatch: pytest.MonkeyPatch, cache: Any) -> Iterator[Hub]:
    """Runs a stand-in, which the client in this process uses with an empty cache."""
    from huggingface_hub import constants, file_download

    hub = Hub()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub})
    )
    hub.address = f"http://127.0.0.1:{server.server_port}"
    template = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    # The client reads the environment once, when it is imported.
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    # Between its attempts, the client waits for seconds.
    monkeypatch.setattr(file_download, "time", types.SimpleNamespace(**_CLOCK))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        if token := self.headers.get("Authorization"):
            hub.tokens.add(token.removeprefix("Bearer "))
        parts = path.strip("/").split("/")
        if hub.refuses:
            # As a careless server may do: the request comes back in the answer.
            self._send(hub.refuses, {"error": str(self.headers)})
        elif parts[:2] == ["api", "models"] and self.command == "GET":
            self._list("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._send_file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif self.command == "PUT" and parts[0] == "lfs":
            hub.stored[parts[1]] = body
            self._send(200, {})
        elif self.command == "POST":
            self._take(parts, body)
        else:
            self._send(501, {"error": path})

    def _list(self, repository: str, rest: list[str]) -> None:
        hub = self.hub
        revision = rest[1] if len(rest) > 1 else "main"
        digest = hub.digest_of(repository, revision)
        if repository not in hub.repositories:
            self._send(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        elif digest is None:
            self._send(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})
        elif rest[:1] == ["tree"]:
            files = hub.commits[repository, digest]
            self._send(200, [_listed(name, files[name]) for name in sorted(files)])
        else:
            names = [{"rfilename": n} for n in hub.commits[repository, digest]]
            self._send(200, {"id": repository, "sha": digest, "siblings": names})

    def _send_file(self, repository: str, revision: str, name: str) -> None:
        hub = self.hub
        digest = hub.digest_of(repository, revision)
        content = hub.commits.get((repository, digest or ""), {}).get(name)
        if content is None:
            self._send(404, {"error": "none"}, {"X-Error-Code": "EntryNotFound"})
            return
        begin = 0
        if asked := self.headers.get("Range"):
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", digest or "")
        self.send_header("Content-Length", str(len(content) - begin))
        if begin:
            end = f"{begin}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", f"bytes {end}")
        self.end_headers()
        if self.command == "HEAD":
            return
        content = content[begin:]
        if hub.cuts and name == "model.safetensors":
            hub.cuts -= 1
            self.wfile.write(content[: len(content) // 3])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def _take(self, parts: list[str], body: bytes) -> None:
        hub = self.hub
        match parts:
            case ["api", "repos", "create"]:
                asked = json.loads(body)
                repository = f"{asked['organization']}/{asked['name']}"
                hub.repositories.add(repository)
                self._send(200, {"url": f"{hub.address}/{repository}"})
            case ["api", "validate-yaml"]:
                self._send(200, {"errors": [], "warnings": []})
            case ["api", "models", _, _, "preupload", _]:
                paths = [file["path"] for file in json.loads(body)["files"]]
                self._send(200, {"files": [_mode(path) for path in paths]})
            case [_, _, "info", "lfs", "objects", "batch"]:
                objects = json.loads(body)["objects"]
                self._send(200, {"objects": [self._place(**one) for one in objects]})
            case ["api", "models", owner, name, "commit", branch]:
                lines = [json.loads(line) for line in body.splitlines()]
                files = dict(self._committed(lines))
                digest = hub.put(f"{owner}/{name}", files, branch)
                url = f"{hub.address}/{owner}/{name}/commit/{digest}"
                self._send(200, {"commitOid": digest, "commitUrl": url})
            case _:
                self._send(501, {"error": "/".join(parts)})

    def _place(self, oid: str, size: int) -> dict[str, Any]:
        upload = {"href": f"{self.hub.address}/lfs/{oid}", "header": {}}
        return {"oid": oid, "size": size, "actions": {"upload": upload}}

    def _committed(self, lines: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                yield value["path"], base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                yield value["path"], self.hub.stored[value["oid"]]

    def _send(
        self, status: int, answer: Any, headers: dict[str, str] | None = None
    ) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _listed(name: str, content: bytes) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    entry = {"type": "file", "path": name, "size": len(content), "oid": sha256[:40]}
    if name.endswith(".safetensors"):
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
    return entry


def _mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(".safetensors") else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}
