"""The page of a run: going on, dead, or with nothing yet but its config."""

import json
import pathlib
import re

import numpy as np
import pytest
import tiny_runs

from sagan_jax.evaluation.attention import LayerMaps
from sagan_jax.pictures import grid, report
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.run import Run

NASTY = "</script><b>"
LINE = {"step": 10, "time": 1.7e9, "loss/generator": 0.25, "loss/discriminator": 0.5}


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """Returns a run that was started and has made no step."""
    run = run_lib.begin(tmp_path / "run", tiny_runs.config())
    run.record_start(step=0, command="C", images="", classes=["a", NASTY, "c", "d"])
    return run


def _maps(count: int = 4, layers: int = 1) -> report.Maps:
    images = np.zeros((count, 8, 8, 3), np.uint8)
    weights = np.full((count, 16, 4), 0.25, np.float32)
    maps = [LayerMaps(f"attention{i}", (4, 4), (2, 2), 0.5, weights) for i in range(9)]
    return report.Maps(5, images, maps[:layers], [i % 4 for i in range(count)])


def test_a_run_with_only_a_config_has_a_page(run: Run) -> None:
    run.starts.unlink()
    page = report.of_run(run, None, "No attention maps: none yet.")
    for sentence in (
        "No attention maps: none yet.",
        "No step has been logged yet.",
        "No sample sheet has been drawn yet.",
        "No checkpoint has been scored yet.",
        "No start has been recorded.",
    ):
        assert sentence in page
    assert "model.latent_dim" in page


def test_a_half_written_line_is_skipped(run: Run) -> None:
    whole = json.dumps(LINE)
    run.metrics.write_text(f"{whole}\n{whole.replace('10', '20', 1)}\n{whole[:40]}")
    page = report.of_run(run, None)
    assert "20 of 6" in page
    assert "generator: 0.25 at step 20" in page


def test_names_stay_text(run: Run) -> None:
    run.config.name = NASTY
    page = report.of_run(run, _maps())
    assert NASTY not in page
    assert "<b>" not in page
    data = re.search(r'id="explorer-data">(.*?)</script>', page)
    assert data
    assert json.loads(data[1])["labels"] == ["a", NASTY, "c", "d"]
    assert "<h1>&lt;/script&gt;&lt;b&gt;</h1>" in page


def test_nothing_is_loaded_from_elsewhere(run: Run) -> None:
    grid.save_png(np.zeros((8, 8, 3), np.uint8), run.samples / "step_00000000.png")
    page = report.of_run(run, _maps())
    links = re.findall(r'(?:src|href)="?([^"]{0,12})', page)
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("#", "data:image/"))] == []


def test_sheets_take_the_room_that_is_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "PAGE_BYTES", 200_000)
    random = np.random.default_rng(0)
    for step in range(6):
        picture = random.integers(0, 256, (100, 100, 3), np.uint8)
        grid.save_png(picture, run.samples / f"step_{step:08d}.png")
    page = report.of_run(run, _maps())
    shown = page.count("<figcaption>step ")
    assert 1 < shown < 6
    assert f"{shown} of 6 sheets" in page
    assert len(page.encode()) <= 200_000


def test_fewer_images_are_shown_where_maps_are_large() -> None:
    weights = np.zeros((1, 1024, 256), np.float32)
    maps = LayerMaps("attention32", (32, 32), (16, 16), 0.5, weights)
    # 2^18 levels and 4,096 bytes of maxima are 355,000 characters for each image.
    assert report.shown_images([maps], 8) == 8
    assert report.shown_images([maps] * 2, 8) == 5
    assert report.shown_images([maps] * 20, 8) == 1


def test_scores_rollbacks_and_signs_of_collapse_are_listed(run: Run) -> None:
    won = {"loss/discriminator": 0.001, "logits/real": 3.0, "logits/fake": -3.0}
    run.metrics.write_text(json.dumps(LINE | won | {"skipped": 2.0}))
    back = {"time": 1.7e9, "from": 40, "to": 20, "sentence": "step 30: it has won"}
    run.rollbacks.write_text(json.dumps(back))
    score = {"protocol": "P", "step": 6, "FID": 12.5, "FID_over_seeds_std": 0.25}
    run.results.write_text(json.dumps(score | {"seed": 7, "seeds": 3}))
    (run.checkpoints / "40.left").mkdir(parents=True)
    page = report.of_run(run, None)
    assert "step 10: the discriminator has won" in page
    assert "2 steps were not finite" in page
    assert "step 30: it has won" in page
    assert "12.5 \u00b1 0.25" in page
    assert "7 to 9" in page
    assert "checkpoint 40.left was set aside" in page


def test_attention_that_was_logged_is_drawn(run: Run) -> None:
    run.metrics.write_text(json.dumps(LINE))
    lines = [
        {"step": step, "attention16": {"entropy": 0.5}, "attention32/entropy": 0.75}
        for step in (0, 10)
    ]
    run.attention_log.write_text("\n".join(map(json.dumps, lines)))
    page = report.of_run(run, None)
    assert "Attention: entropy. attention16: 0.5 at step 10" in page
    assert "attention32: 0.75 at step 10" in page
