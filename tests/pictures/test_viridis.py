import numpy as np
import pytest

from sagan_jax.pictures import viridis


def test_viridis_has_its_published_colours_at_both_ends_and_in_the_middle() -> None:
    found = viridis.colours(np.array([0, 128 / 255, 1.0]))
    expected = [(0x44, 0x01, 0x54), (0x21, 0x91, 0x8C), (0xFD, 0xE7, 0x25)]
    np.testing.assert_allclose(found, expected, atol=1)


def test_viridis_equals_matplotlib_s_to_one_level() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    levels = np.linspace(0, 1, 256)
    expected = 255 * np.array(matplotlib.colormaps["viridis"](levels))[:, :3]
    np.testing.assert_allclose(viridis.colours(levels), expected, atol=1.01)


def test_colours_run_from_dark_blue_to_yellow_and_only_get_lighter() -> None:
    table = viridis.table()
    assert table[0].tolist() == [0x44, 0x01, 0x54]
    assert table[255].tolist() == [0xFD, 0xE7, 0x25]
    assert np.all(np.diff(table @ [0.2126, 0.7152, 0.0722]) > -0.5)


def test_the_gradient_runs_from_the_first_colour_to_the_last() -> None:
    stops = viridis.gradient().split(",")[1:]
    assert stops[0] == "#440154"
    assert stops[-1] == "#fde725)"
