"""What every test of data runs under: a memory of its own, and a folder of classes."""

import image_files
import pytest


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture
def folder(tmp_path):
    """Three classes whose images, 8 x 8, have one level each: 10 * class + number."""
    return image_files.three_classes(tmp_path / "images")


@pytest.fixture
def damaged(folder):
    """The same, and all damage in the middle class."""
    for name, (content, _) in image_files.DAMAGE.items():
        image_files.put(folder / "dog" / name, content)
    return folder
