"""Curves: where points are drawn, gaps, and what a long log keeps."""

import math
import re

import numpy as np
import pytest

from sagan_jax.pictures import curves


def _paths(figure: str) -> list[np.ndarray]:
    """Returns the places [points, 2] of each line without gaps."""
    drawn = re.findall(r'<path class="line c\d" d="([^"]*)"', figure)
    pieces = [piece for path in drawn for piece in path.split("M")[1:]]
    return [
        np.array([[float(n) for n in p.split(" ")] for p in piece.split("L")])
        for piece in pieces
    ]


def _chart(values: list[float], steps: list[float] | None = None) -> str:
    places = np.arange(len(values)) if steps is None else np.array(steps)
    return curves.chart("T", [curves.Series("a", places, np.array(values))])


def test_equal_differences_are_drawn_as_equal_distances() -> None:
    (line,) = _paths(_chart([0.0, 0.25, 0.5, 1.0], [0, 10, 20, 40]))
    x, y = line.T
    np.testing.assert_allclose(x[[0, -1]], [curves.LEFT, curves.WIDTH - curves.RIGHT])
    np.testing.assert_allclose(np.diff(x) / [1, 1, 2], np.diff(x)[0], atol=0.11)
    np.testing.assert_allclose(np.diff(y) / [1, 1, 2], np.diff(y)[0], atol=0.11)
    np.testing.assert_allclose(y[[0, -1]], [curves.HEIGHT - curves.BOTTOM, curves.TOP])


def test_axes_have_round_numbers() -> None:
    numbers = re.findall(r"<text[^>]*>([^<]*)</text>", _chart([0.1, 0.9], [0, 2000]))
    assert numbers[:4] == ["0.2", "0.4", "0.6", "0.8"]
    assert numbers[4:] == ["0", "500", "1,000", "1,500", "2,000"]


def test_three_decades_are_drawn_on_a_logarithmic_axis() -> None:
    figure = _chart([1.0, 10.0, 1000.0])
    y = _paths(figure)[0][:, 1]
    assert y[1] - y[2] == pytest.approx(2 * (y[0] - y[1]), abs=0.3)
    assert "Logarithmic scale." in figure


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300, "text", True, None])
def test_what_is_no_number_interrupts_the_line(bad: object) -> None:
    lines = [{"step": i, "x": v} for i, v in enumerate([1.0, 2.0, bad, 1.0, 3.0])]
    figure = curves.chart("T", [curves.series("x", [*lines, {"step": 9}], "x")])
    assert [len(piece) for piece in _paths(figure)] == [2, 2]


def test_a_long_log_keeps_its_extremes() -> None:
    values = np.zeros(100_000)
    values[70_001], values[12_345] = 5.0, -5.0
    (line,) = _paths(_chart(list(values)))
    assert len(line) <= curves.MOST_POINTS
    assert line[:, 1].min() == curves.TOP
    assert line[:, 1].max() == curves.HEIGHT - curves.BOTTOM


@pytest.mark.parametrize("values", [[2.0], [0.0, 0.0], [-3.0, -3.0], [1e-300, 1e99]])
def test_every_curve_stays_inside_of_the_drawing(values: list[float]) -> None:
    (line,) = _paths(_chart(values))
    assert np.all((line >= 0) & (line <= [curves.WIDTH, curves.HEIGHT]))


def test_a_screen_reader_hears_the_last_value_and_the_range() -> None:
    figure = _chart([4.0, 1.0, 2.5], [0, 50, 1100])
    assert 'aria-label="T. a: 2.5 at step 1,100, between 1 and 4."' in figure


def test_no_number_is_said() -> None:
    assert "No numbers yet." in _chart([math.nan])
