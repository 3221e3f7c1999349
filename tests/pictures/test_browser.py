"""The page in a real browser: the drawn map is the array, by pointer and by keys.

    pip install -e '.[browser]' && python -m pytest -m browser tests/pictures

It needs Chromium: Debian's, or the one that CHROMIUM names.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tiny_runs

from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.files import json_lines
from sagan_jax.pictures import curves, report, sweep_page, viridis
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.sweep_dir import SweepDir

pytestmark = pytest.mark.browser

QUERIES, KEYS = (8, 8), (4, 4)
PIXELS = """canvas => [...canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data]"""


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    """Returns the maps of two images; query q of image 0 looks at key 5 q mod 16."""
    random = np.random.default_rng(0)
    maps = random.uniform(0, 1, (2, 64, 16))
    maps[0, np.arange(64), 5 * np.arange(64) % 16] = 4.0
    return (maps / maps.sum(-1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def path(weights: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    workdir = tmp_path_factory.mktemp("browser") / "run"
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    layer = LayerMaps("attention8", QUERIES, KEYS, 0.5, weights)
    maps = report.Maps(1, images, [layer], [0, 1])
    run = run_lib.begin(workdir, tiny_runs.config())
    run.record_start(step=0, command="C", images="", classes=["</script><b>", "x"])
    lines = [{"step": 10 * i, "loss/generator": i / 8} for i in range(1, 9)]
    run.metrics.write_text("\n".join(map(json.dumps, lines)))
    (workdir / "page.html").write_text(report.of_run(run, maps), "utf-8")
    return workdir / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_of_a_sweep_fits_and_loads_nothing(
    width: int, browser: Any, tmp_path: pathlib.Path
) -> None:
    plan: dict[str, Any] = {"name": "mine", "variants": {"a": {}, "b": {}}}
    plan |= {"seeds": [0, 1], "measures": ["score"], "contrasts": [["a", "b"]]}
    directory = SweepDir(tmp_path)
    for place, (variant, seed) in enumerate(itertools.product("ab", (0, 1))):
        line = {
            "variant": variant,
            "seed": seed,
            "plan": plan | {"holm": False, "verdict": None},
        }
        line |= {"plan_hash": "abc", "status": "done", "numbers": {"score": place}}
        json_lines.append(directory.lines, line)
    directory.report.write_text(sweep_page.of_sweep(directory), "utf-8")
    tab = browser.new_page(viewport={"width": width, "height": 800})
    asked: list[str] = []
    tab.on("console", lambda message: asked.append(message.text))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(directory.report.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    places = tab.locator(".seed").evaluate_all(
        "dots => dots.map(dot => dot.getBoundingClientRect().x)"
    )
    tab.close()
    np.testing.assert_allclose(np.diff(places), places[1] - places[0], atol=0.5)
    assert asked == [directory.report.as_uri()]


@pytest.fixture(params=[360, 1280], ids=["phone", "desktop"])
def tab(request: Any, browser: Any, path: pathlib.Path) -> Iterator[Any]:
    """Returns the page in a window of one width; it must not complain or load."""
    phone = request.param < 500
    tab = browser.new_page(
        viewport={"width": request.param, "height": 800}, has_touch=phone
    )
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(message.text))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda asked: trouble.append(asked.url[:99]))
    tab.goto(path.as_uri())
    yield tab
    tab.close()
    # That a canvas is read back often is what these tests do.
    expected = ("data:", path.as_uri(), "Canvas2D: Multiple readback")
    assert [words for words in trouble if not words.startswith(expected)] == []


def _drawn(tab: Any) -> np.ndarray:
    pixels = tab.locator("#explorer-map-0").evaluate(PIXELS)
    return np.array(pixels, np.uint8).reshape(*KEYS, 4)


def _assert_drawn(tab: Any, row: np.ndarray) -> None:
    """Asserts that the canvas shows a row of weights, in colours up to its maximum."""
    levels = (row / row.max() * 255).round().astype(int)
    drawn = _drawn(tab)
    np.testing.assert_array_equal(
        drawn[..., :3], viridis.table()[levels].reshape(4, 4, 3)
    )
    assert (drawn[..., 3] == 255).all()


def _place(tab: Any, row: int, column: int) -> tuple[float, float]:
    tab.locator("#explorer-stage").scroll_into_view_if_needed()
    box = tab.locator("#explorer-stage").bounding_box()
    x = box["x"] + (column + 0.5) / QUERIES[1] * box["width"]
    return x, box["y"] + (row + 0.5) / QUERIES[0] * box["height"]


def test_the_map_under_the_pointer_is_drawn(tab: Any, weights: np.ndarray) -> None:
    for row, column in ((1, 6), (7, 0)):
        tab.mouse.move(*_place(tab, row, column))
        _assert_drawn(tab, weights[0, row * 8 + column])
    readout = tab.locator(".panel .readout").nth(1).text_content()
    # Query 56 looks at key 5 * 56 mod 16 = 8: the first of the third row.
    assert "in row 3, column 1 of the keys" in readout


def test_the_arrow_keys_move_the_point(tab: Any, weights: np.ndarray) -> None:
    tab.mouse.move(*_place(tab, 3, 3))
    tab.locator("#explorer-stage").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        tab.keyboard.press(key)
    _assert_drawn(tab, weights[0, 4 * 8 + 4])
    spoken = tab.locator("#explorer-live").text_content()
    assert spoken.startswith("Point in row 5, column 5 of 8")
    tab.keyboard.press("Shift+ArrowUp")
    tab.keyboard.press("End")
    _assert_drawn(tab, weights[0, 7])


def test_a_finger_moves_the_point(tab: Any, weights: np.ndarray) -> None:
    if tab.viewport_size["width"] > 500:
        pytest.skip("the desktop has no touch screen")
    tab.touchscreen.tap(*_place(tab, 2, 5))
    _assert_drawn(tab, weights[0, 2 * 8 + 5])


def test_another_image_shows_its_own_maps(tab: Any, weights: np.ndarray) -> None:
    tab.mouse.move(*_place(tab, 0, 0))
    tab.locator('input[name="explorer-image"]').nth(1).check()
    _assert_drawn(tab, weights[1, 0])
    # One scale: up to the highest weight of any point of the image.
    tab.check("#explorer-same")
    level = np.round(weights[1, 0] / weights[1, 0].max() * 255)
    levels = np.round(level * weights[1, 0].max() / weights[1].max()).astype(int)
    expected = viridis.table()[levels].reshape(4, 4, 3)
    np.testing.assert_array_equal(_drawn(tab)[..., :3], expected)


def test_the_key_of_a_chart_shows_the_numbers_under_the_pointer(tab: Any) -> None:
    chart = tab.locator(".chart").first
    drawing, key = chart.locator("svg"), chart.locator(".key b")
    assert key.text_content() == "1"
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    left, right = curves.LEFT, curves.WIDTH - curves.RIGHT
    # Step 30 of 10 to 80, and a little beyond.
    x = (left + (right - left) * 2.2 / 7) / curves.WIDTH * box["width"]
    tab.mouse.move(box["x"] + x, box["y"] + box["height"] / 2)
    assert key.text_content() == "0.375"
    assert chart.locator(".at").text_content() == " at step 30"
    tab.mouse.move(1, 1)
    assert key.text_content() == "1"


def test_the_page_is_no_wider_than_the_window(tab: Any) -> None:
    width = tab.evaluate("document.documentElement.scrollWidth")
    assert width <= tab.viewport_size["width"]


def test_without_a_script_there_are_static_maps(
    browser: Any, path: pathlib.Path
) -> None:
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(path.as_uri())
    assert tab.locator("#explorer-static").is_visible()
    assert not tab.locator("#explorer").is_visible()
    tab.close()
