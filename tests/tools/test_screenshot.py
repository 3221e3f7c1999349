"""The picture of a page: the explorer shows the chosen point."""

import io
import pathlib

import numpy as np
import pytest
import tiny_runs
from PIL import Image
from scripts import load

from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.pictures import report, viridis
from sagan_jax.workdir.run import Run

pytestmark = pytest.mark.browser


def test_a_screenshot_shows_the_chosen_point(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("playwright")
    weights = np.random.default_rng(0).uniform(0, 1, (1, 64, 4)).astype(np.float32)
    maps = LayerMaps("attention8", (8, 8), (2, 2), 0.5, weights)
    images = np.zeros((1, 8, 8, 3), np.uint8)
    run = Run(tmp_path, tiny_runs.config())
    page, out = tmp_path / "page.html", tmp_path / "out" / "page.png"
    page.write_text(report.of_run(run, report.Maps(1, images, [maps])), "utf-8")
    arguments = [str(page), str(out), "--point", "0.19,0.31"]  # row 1, column 2 of 8
    load("tools/screenshot.py").main([*arguments, "--width", "700"])
    with Image.open(io.BytesIO(out.read_bytes())) as opened:
        assert opened.size == (700, 1180)
        pixels = np.asarray(opened.convert("RGB")).reshape(-1, 3)
    levels = (weights[0, 10] / weights[0, 10].max() * 255).round().astype(int)
    shown = set(map(tuple, pixels.tolist()))
    assert set(map(tuple, viridis.table()[levels].tolist())) <= shown
