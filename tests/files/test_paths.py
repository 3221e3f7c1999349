"""Paths as given on a command line."""

import os
import pathlib

import pytest

from sagan_jax.errors import UserError
from sagan_jax.files import paths


@pytest.mark.parametrize("path", ["runs/a", "/runs/a", ".", "a:b", "lr=1e-4:x/y"])
def test_a_local_path_is_unchanged(path: str) -> None:
    assert paths.local(path) == pathlib.Path(path)


def test_a_path_object_is_accepted() -> None:
    assert paths.local(pathlib.Path("a")) == pathlib.Path("a")


def test_a_tilde_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.local("~/a") == pathlib.Path("/home/me/a")


@pytest.mark.parametrize(
    "url", ["gs://bucket/run", "GS://b", "hdfs://a/b", "file:///a", "s3:/bucket"]
)
def test_a_url_is_refused(url: str) -> None:
    with pytest.raises(UserError, match=f"^'{url}' .*local"):
        paths.local(url)


def test_a_url_is_refused_as_a_path_object() -> None:
    with pytest.raises(UserError, match=r"gs: .*local"):
        paths.local(pathlib.Path("gs://bucket/run"))


def test_a_tilde_without_a_home_directory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # its result then
    with pytest.raises(UserError, match=r"^'~/a' .*home directory"):
        paths.local("~/a")
