"""The page of a sweep, read back: numbers, links, names, and what is left out."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sagan_jax.config.sweep import plan_hash
from sagan_jax.errors import UserError
from sagan_jax.metrics import sweep_cells, sweep_table
from sagan_jax.pictures import page, sweep_page, sweep_runs
from sagan_jax.workdir.sweep_dir import SweepDir

GAMMA = "gamma/generator/attention16"
EVIL = "</script><b onload=x>"


def _plan(**changes: Any) -> dict[str, Any]:
    config = {"train.steps": 300, "optim.beta2": 0.9}
    plan = {
        "name": "mine",
        "seeds": [0, 1, 2],
        "measures": ["score", GAMMA],
        "contrasts": [["a", "b"]],
        "holm": False,
        "verdict": None,
        "variants": {"a": {}, "b": {"optim.beta2": 0.5}},
        "configs": {"a": config, "b": config | {"optim.beta2": 0.5}},
    }
    return plan | changes


def _line(plan: dict[str, Any], variant: str, seed: int, **changes: Any) -> Any:
    line = {
        "variant": variant,
        "seed": seed,
        "plan_hash": plan_hash(plan),
        "time": 1.75e9,
        "status": "done",
        "step": 300,
        "seconds": 3725.0,
        "numbers": {"score": 0.25 * (seed + 1) if variant == "a" else 0.5, GAMMA: 0.1},
        "curves": [{"step": 100, "score": 0.75}, {"step": 300, "score": 0.5}],
        "provenance": {"revision": "abc", "python": "3.11"},
        "plan": {name: plan[name] for name in plan if name != "configs"},
    }
    return line | changes


def _write(path: Path, plan: dict[str, Any], lines: list[Any]) -> SweepDir:
    directory = SweepDir(path)
    path.mkdir(exist_ok=True)
    directory.plan.write_text(json.dumps(plan))
    if lines:
        directory.lines.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def _ended(plan: dict[str, Any]) -> list[Any]:
    """Returns the lines of all cells but b with seed 2; b with seed 1 diverged."""
    lines = [_line(plan, variant, seed) for seed in (0, 1) for variant in "ab"]
    reason = f"not finite: {EVIL}"
    lines[-1] |= {"status": "diverged", "step": 40, "numbers": {}, "reason": reason}
    return [*lines, _line(plan, "a", 2)]


def _sheet(directory: SweepDir, variant: str, seed: int, side: int = 8) -> None:
    folder = directory.cell(variant, seed) / "samples"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    for step in (100, 200):
        Image.fromarray(noise).save(folder / f"step_{step:08}.png")


class _Tables(HTMLParser):
    """Collects the rows of each labelled table as text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if label := dict(attrs).get("aria-label") if tag == "div" else None:
            self._rows = self.found[label] = []
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows is not None:
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        if self._rows is not None and self._rows and self._rows[-1]:
            self._rows[-1][-1] += data


def test_the_page_has_the_rows_of_the_table(tmp_path: Path) -> None:
    plan = _plan()
    directory = _write(tmp_path, plan, _ended(plan))
    text = sweep_page.of_sweep(directory)
    markdown = sweep_table.markdown(sweep_cells.of_lines(directory.read_lines()))
    found = _Tables(text).found
    for label in ("score of the variants", "score: paired differences"):
        assert len(found[label]) > 1
        for row in found[label]:
            assert f"| {' | '.join(row)} |" in markdown
    # a has 0.25, 0.5 and 0.75; its only pair with b is 0.25 - 0.5.
    assert found["score of the variants"][1][:3] == ["a", "3", "0.5"]
    assert found["score: paired differences"][1][:3] == ["a - b", "1", "-0.25"]
    assert ">5 of 6<" in text
    assert plan_hash(plan) in text
    assert "exploratory" in text


def test_every_seed_is_a_dot_at_its_value(tmp_path: Path) -> None:
    plan = _plan(measures=["score"])
    text = sweep_page.of_sweep(_write(tmp_path, plan, _ended(plan)))
    dots = re.findall(
        r'<circle class="seed (c\d)" cx="([\d.]+)" [^>]*><title>([^<]*)</title>', text
    )
    assert [(color, title) for color, _, title in dots] == [
        ("c0", "a, seed 0: 0.25"),
        ("c0", "a, seed 1: 0.5"),
        ("c0", "a, seed 2: 0.75"),
        ("c1", "b, seed 0: 0.5"),
    ]
    low, middle, high, other = (float(x) for _, x, _ in dots)
    np.testing.assert_allclose([middle, other], (low + high) / 2, atol=0.1)
    assert "a: mean 0.5 of 3 seeds: 0.25, 0.5, 0.75." in text


def test_cells_have_status_steps_time_and_scores(tmp_path: Path) -> None:
    plan = _plan()
    directory = _write(tmp_path, plan, _ended(plan))
    log = directory.cell("b", 2)
    log.mkdir(parents=True)
    (log / "metrics.jsonl").write_text(f'{{"step": 120, "{GAMMA}": 0.5}}\n{{"step": 1')
    found = _Tables(sweep_page.of_sweep(directory)).found["Cells of the sweep"]
    assert found[0] == ["variant", "seed", "status", "step", "time", "score", GAMMA]
    assert found[1:] == [
        ["a", "0", "done", "300 of 300", "1 h 02 min", "0.25", "0.1"],
        ["a", "1", "done", "300 of 300", "1 h 02 min", "0.5", "0.1"],
        ["a", "2", "done", "300 of 300", "1 h 02 min", "0.75", "0.1"],
        ["b", "0", "done", "300 of 300", "1 h 02 min", "0.5", "0.1"],
        ["b", "1", "diverged", "40 of 300", "1 h 02 min", "\u2013", "\u2013"],
        ["b", "2", "begun", "120 of 300", "", "\u2013", "\u2013"],
    ]


def test_a_cell_links_to_its_page_only_if_that_exists(tmp_path: Path) -> None:
    plan = _plan()
    directory = _write(tmp_path, plan, _ended(plan))
    for seed in (0, 1):
        directory.cell("a", seed).mkdir(parents=True)
    (directory.cell("a", 1) / "report.html").touch()
    for folder, way in ((None, "cells"), (tmp_path / "x", "../cells")):
        text = sweep_page.of_sweep(directory, folder)
        links = re.findall(r'href="([^"#]*)"', text)
        assert links == [f"{way}/a/seed_1/report.html"]


def test_curves_are_of_the_workdirs_and_of_the_lines_without_them(
    tmp_path: Path,
) -> None:
    plan = _plan(measures=["score", GAMMA, "attention/entropy/x"])
    directory = _write(tmp_path, plan, _ended(plan))
    cell = directory.cell("b", 2)
    cell.mkdir(parents=True)
    (cell / "evaluations.jsonl").write_text('{"step": 200, "score": 0.125}\n')
    (cell / "metrics.jsonl").write_text(f'{{"step": 7, "{GAMMA}": 0.5}}\n')
    (cell / "attention.jsonl").write_text('{"step": 9, "entropy/x": 0.875}\n')
    section = sweep_page.of_sweep(directory).split('id="curves"')[1]
    drawn = re.findall(r'data-values="([^"]*)" data-steps="([^"]*)"', section)
    assert drawn[:6] == [("0.75 0.5", "100 300")] * 5 + [("0.125", "200")]
    assert drawn[6:] == [("0.5", "7"), ("0.875", "9")]
    # The last values of b are 0.5, 0.5 and 0.125.
    assert "b: 3 seeds, last values between 0.125 and 0.5, mean 0.375." in section


def test_the_newest_sheets_are_embedded(tmp_path: Path) -> None:
    plan = _plan()
    directory = _write(tmp_path, plan, _ended(plan))
    _sheet(directory, "a", 0)
    text = sweep_page.of_sweep(directory)
    assert text.count("data:image/webp") == 1
    assert "The newest sheet of 1 of 6 cells." in text
    assert 'alt="seed 0, step 200, done"' in text


@pytest.mark.parametrize(
    ("budget", "count"), [(10**6, 2), (40_000, 2), (12_000, 1), (0, 0)]
)
def test_sheets_become_smaller_and_are_left_out_if_they_do_not_fit(
    budget: int, count: int, tmp_path: Path
) -> None:
    plan = _plan()
    directory = _write(tmp_path, plan, _ended(plan))
    for seed in (0, 1):
        _sheet(directory, "a", seed, side=400)
    cells = sweep_cells.of_lines(directory.read_lines())
    text = sweep_runs.sheets(sweep_runs.read(directory, cells), budget)
    assert text.count("<img") == count
    assert sum(map(len, re.findall(r'src="([^"]*)"', text))) <= budget
    assert (f" {2 - count} did not fit into the page." in text) == (count < 2)


def test_names_and_reasons_are_escaped(tmp_path: Path) -> None:
    plan = _plan(name=EVIL, measures=[EVIL, "score"], contrasts=[[EVIL, "b"]])
    plan["variants"] = {EVIL: {"data.name": EVIL}, "b": {}}
    lines = [_line(plan, EVIL, 0, status="failed", reason=EVIL), _line(plan, "b", 0)]
    text = sweep_page.of_sweep(_write(tmp_path, plan, lines))
    assert EVIL not in text
    assert "<script" not in text
    assert text.count(html.escape(EVIL)) > 10


def test_the_lines_alone_are_enough(tmp_path: Path) -> None:
    plan = _plan()
    directory = _write(tmp_path, plan, _ended(plan))
    directory.plan.unlink()
    text = sweep_page.of_sweep(directory)
    assert "b, seed 1: diverged at step 40: not finite: " in text
    assert "No workdir of a cell with a sample sheet" in text


def test_a_sweep_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    text = sweep_page.of_sweep(_write(tmp_path, _plan(), []))
    assert ">0 of 6<" in text
    assert "1 field that all variants share" in text


@pytest.mark.parametrize("plan", ["[]", "{", "{}"])
def test_a_damaged_plan_is_one_sentence(plan: str, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(plan)
    with pytest.raises(UserError, match=r"plan\.json.*backup"):
        sweep_page.of_sweep(SweepDir(tmp_path))


def test_a_name_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    plan = _plan(variants={"../../out": {}, "b": {}}, contrasts=[])
    directory = _write(tmp_path / "sweep", plan, [_line(plan, "../../out", 0)])
    outside = tmp_path / "out" / "seed_0"
    outside.mkdir(parents=True)
    (outside / "report.html").touch()
    (tmp_path / "sweep" / "cells").mkdir()
    assert directory.cell("../../out", 0).is_dir()
    assert "out/seed_0" not in sweep_page.of_sweep(directory)


def test_many_cells_stay_below_the_most_bytes(tmp_path: Path) -> None:
    plan = _plan(seeds=list(range(40)), measures=[f"m{i}" for i in range(8)])
    curve = [
        {"step": step} | dict.fromkeys(plan["measures"], 1 / (step + 1))
        for step in range(100)
    ]
    lines = [_line(plan, v, s, curves=curve) for s in plan["seeds"] for v in "ab"]
    text = sweep_page.of_sweep(_write(tmp_path, plan, lines))
    assert len(text.encode()) < page.MOST_BYTES / 4
