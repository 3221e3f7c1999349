"""Fixtures of the data tests: a separate cache, and a folder of classes."""

import image_files
import pytest


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture
def folder(tmp_path):
    """Three classes of 8 x 8 images of one level each: 10 * class + number."""
    return image_files.three_classes(tmp_path / "images")


@pytest.fixture
def damaged(folder):
    """The same folder, with every kind of damage in the middle class."""
    for name, (content, _) in image_files.DAMAGE.items():
        image_files.put(folder / "dog" / name, content)
    return folder
