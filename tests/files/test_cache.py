"""Where the cache directory is, whatever the environment says."""

import os
import pathlib

import pytest

from sagan_jax.files import cache


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)


def test_it_is_below_the_home_directory() -> None:
    assert cache.directory() == pathlib.Path("/home/me/.cache/sagan_jax")


def test_parts_lie_below_it() -> None:
    expected = pathlib.Path("/home/me/.cache/sagan_jax/weights")
    assert cache.directory("weights") == expected


def test_an_absolute_setting_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert cache.directory("folders") == pathlib.Path("/scratch/sagan_jax/folders")


@pytest.mark.parametrize("setting", ["", "relative", "~/cache"])
def test_a_setting_that_is_not_absolute_is_ignored(
    monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", setting)
    assert cache.directory() == pathlib.Path("/home/me/.cache/sagan_jax")


@pytest.mark.parametrize("home", ["", "relative"])
def test_without_a_home_there_is_none(
    monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)
    assert cache.directory() is None


def test_a_user_in_no_password_file_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it then does
    assert cache.directory() is None


def test_an_absolute_setting_needs_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch")
    assert cache.directory() == pathlib.Path("/scratch/sagan_jax")
