"""The curves of a run: what each panel shows, and the picture."""

import json
import sys

import pytest
from scripts import load

from sagan_jax.errors import UserError

curves = load("tools/curves.py")
NAMES = [prefix for prefixes in curves.PANELS.values() for prefix in prefixes]


@pytest.fixture
def workdir(tmp_path):
    lines = [
        {"step": step, "time": 0.0} | dict.fromkeys(NAMES, float(step))
        for step in (50, 100, 150)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    return tmp_path


def test_each_panel_shows_both_networks(workdir):
    panels = curves.panels(curves.read(workdir))
    assert list(panels) == list(curves.PANELS)
    for title, prefixes in curves.PANELS.items():
        assert panels[title] == {name: [50.0, 100.0, 150.0] for name in prefixes}


def test_smoothing_averages_ten_values():
    assert curves.smoothed([2.0, 4.0]) == [2.0, 3.0]
    assert curves.smoothed(range(12))[-1] == sum(range(2, 12)) / 10


def test_a_run_without_logged_steps_is_refused(tmp_path, capsys):
    assert curves.main([str(tmp_path), "picture.png"]) == 1
    assert f"workdir='{tmp_path}'" in capsys.readouterr().err


def test_without_matplotlib_the_message_says_how_to_install_it(workdir, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match="pip install matplotlib"):
        curves.draw(workdir, workdir / "a.png")


def test_the_picture_is_drawn(workdir):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    picture = workdir / "new" / "picture.png"
    assert curves.main([str(workdir), str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
