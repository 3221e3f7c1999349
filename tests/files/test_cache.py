"""The cache directory, also with unusual environment variables."""

import os
import pathlib

import pytest

from sagan_jax.files import cache


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def test_the_cache_is_in_the_home_directory() -> None:
    assert cache.directory() == pathlib.Path("/home/me/.cache/sagan_jax")


def test_parts_are_appended() -> None:
    expected = pathlib.Path("/home/me/.cache/sagan_jax/weights")
    assert cache.directory("weights") == expected


def test_an_absolute_xdg_cache_home_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert cache.directory("folders") == pathlib.Path("/scratch/sagan_jax/folders")


@pytest.mark.parametrize("setting", ["", "relative", "~/cache"])
def test_an_xdg_cache_home_that_is_not_absolute_is_ignored(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", setting)
    assert cache.directory() == pathlib.Path("/home/me/.cache/sagan_jax")


@pytest.mark.parametrize("home", ["", "relative"])
def test_without_a_home_directory_there_is_no_cache(
    monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)
    assert cache.directory() is None


def test_a_user_without_a_password_entry_has_no_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # its result then
    assert cache.directory() is None


def test_an_absolute_xdg_cache_home_needs_no_home_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert cache.directory() == pathlib.Path("/scratch/sagan_jax")
