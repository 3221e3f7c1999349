"""Paths as given on a command line."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from sagan_jax import autoconfig
from sagan_jax.commands import experiment_files
from sagan_jax.config import Config
from sagan_jax.data import prepare_inputs, sources
from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_weights
from sagan_jax.files import paths
from sagan_jax.metrics import plan
from sagan_jax.metrics.plan import Request
from sagan_jax.workdir import run


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


def _prepare(url: str) -> None:
    prepare_inputs.open_input(url)


def _folder(url: str) -> None:
    config = Config()
    config.data.source, config.data.path = "folder", url
    sources.make_source(config)


def _shards(url: str) -> None:
    config = Config()
    config.data.source, config.data.path = "array_record", url
    sources.make_source(config)


def _option(name: str) -> Callable[[str], Any]:
    return lambda url: plan.plan(Request(**{"real": "a", "fake": "b", name: url}))


@pytest.mark.parametrize(
    ("reader", "field"),
    [
        (experiment_files.load, "config="),
        (run.open_run, ""),
        (_prepare, "IN="),
        (_folder, "data.path="),
        (_shards, "data.path="),
        (inception_weights.load, "weights="),
        (_option("real"), "REAL="),
        (_option("json"), "json="),
        (autoconfig.config_here, ""),
    ],
)
@pytest.mark.parametrize("url", ["gs://bucket/x.zip", "file:///tmp/x.npz"])
def test_no_place_takes_a_url_for_a_path(
    reader: Callable[[str], Any],
    field: str,
    url: str,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        reader(url)
    assert f"{field}{url!r}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
