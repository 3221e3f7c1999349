"""Plots of a sweep, read back from the figure."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.metrics import sweep_cells
from sagan_jax.pictures import plots


def _cells(curves: list[Any]) -> sweep_cells.Cells:
    plan = {
        "name": "mine",
        "variants": {"a": {}, "b": {}},
        "seeds": [0, 1],
        "measures": ["score", "gamma/x"],
        "contrasts": [],
        "holm": False,
        "verdict": None,
    }
    lines = [
        {
            "variant": variant,
            "seed": seed,
            "plan_hash": "abc",
            "plan": plan,
            "status": "done",
            "numbers": {"score": 0.1 * seed + 0.2},
            "curves": curves,
        }
        for variant in "ab"
        for seed in (0, 1)
    ]
    return sweep_cells.of_lines(lines)


def _figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collects the figures that are saved."""
    found: list[Any] = []
    save = plots._save
    monkeypatch.setattr(
        plots, "_save", lambda figure, path: (found.append(figure), save(figure, path))
    )
    return found


def test_every_seed_is_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = _figures(monkeypatch)
    plots.draw_seeds(_cells([]), tmp_path / "seeds.png")
    score, gamma = figures[0].axes[:2]
    dots = [line for line in score.lines if line.get_linestyle() == "None"]
    drawn = [(x, y) for line in dots for x, y in zip(*line.get_data(), strict=True)]
    np.testing.assert_allclose(drawn, [(0, 0.2), (0, 0.3), (1, 0.2), (1, 0.3)])
    assert [text.get_text() for text in gamma.texts] == ["no values"] * 2
    with Image.open(tmp_path / "seeds.png") as image:
        assert image.format == "PNG"


def test_a_curve_has_the_scores_at_their_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = _figures(monkeypatch)
    curves = [{"step": 2, "score": 0.9}, {"step": 4, "score": 0.5}]
    assert plots.draw_curves(_cells(curves), tmp_path / "curves.png")
    (panel,) = [axes for axes in figures[0].axes if axes.lines]
    assert len(panel.lines) == 4
    np.testing.assert_array_equal(panel.lines[0].get_data(), [[2, 4], [0.9, 0.5]])


def test_without_scores_under_way_there_is_no_plot_of_curves(tmp_path: Path) -> None:
    assert not plots.draw_curves(_cells([]), tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_one_sentence_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'sagan_jax\[plots\]'\.$"):
        plots.draw_seeds(_cells([]), tmp_path / "seeds.png")
