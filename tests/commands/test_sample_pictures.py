"""The pictures of --mode sample: their files, and the options that they refuse."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
import tiny_runs
from PIL import Image

from sagan_jax.commands import sample, sample_pictures
from sagan_jax.commands.options import KINDS
from sagan_jax.errors import UserError
from sagan_jax.pictures import grid
from sagan_jax.workdir.run import Run


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Returns a run with one checkpoint, at step 0, and two sheets."""
    few = {"evaluation__rows": 2, "evaluation__columns": 4, "data__num_images": 40}
    gan = tiny_gan.build(**few)
    state = jax.tree.map(jnp.asarray, tiny_gan.random_state(gan))
    run = tiny_runs.save(tmp_path_factory.mktemp("pictures") / "run", gan.config, state)
    for step in (0, 9):
        sheet = np.full((60, 90, 3), 20 * step, np.uint8)
        grid.save_png(sheet, run.samples / f"step_{step:08d}.png")
    return run


def test_the_flag_names_every_kind() -> None:
    assert sorted(KINDS) == sorted([*sample_pictures.KINDS, "images", "npz"])


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        ("interpolation", {}, "interpolation_00000000_seed1234.png"),
        (
            "interpolation",
            {"labels": (1,), "changes": {"truncation": 0.5}},
            "interpolation_00000000_seed1234_truncation0.5.png",
        ),
        ("truncations", {}, "truncations_00000000_seed1234.png"),
        ("film", {}, "film_00000009.webp"),
    ],
)
def test_each_picture_has_its_name_in_the_workdir(
    kind: str, options: dict[str, Any], name: str, run: Run
) -> None:
    path = sample.save(run, kind=kind, **options)
    assert path == run.samples / name
    with Image.open(path) as image:
        assert image.size[0] == (90 if kind == "film" else 2 + 4 * 130)


def test_a_truncation_sheet_has_the_bounds_that_are_asked_for(
    run: Run, tmp_path: pathlib.Path
) -> None:
    one, two = tmp_path / "1.png", tmp_path / "2.png"
    sample.save(run, kind="truncations", truncations=(0.5,), out=one)
    sample.save(run, kind="truncations", truncations=(0.5, 2.0), out=two)
    with Image.open(one) as first, Image.open(two) as both:
        assert both.height == 2 * first.height
        top = both.crop((0, 0, *first.size))
        np.testing.assert_array_equal(np.asarray(top), np.asarray(first))


def test_neighbours_are_a_picture_and_numbers(
    run: Run, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "near.png"
    assert sample.save(run, kind="neighbours", count=6, labels=(2,), out=out) == out
    numbers = json.loads((tmp_path / "near.json").read_text())
    assert (numbers["step"], numbers["seed"], numbers["samples"]) == (0, 1234, 6)
    assert numbers["held_out"] == "far pairs 40 to 45"
    assert {pair["label"] for pair in numbers["spaces"]["pixels"]["closest"]} == {2}
    assert "of 6 samples are closer" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.size[0] == 2 + 6 * 130


def test_a_film_has_the_format_of_its_name(run: Run, tmp_path: pathlib.Path) -> None:
    path = sample.save(run, kind="film", out=tmp_path / "film.gif", count=2)
    with Image.open(path) as image:
        assert (image.format, image.n_frames) == ("GIF", 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "interpolation", "count": 3}, r"count=3 .*--evaluation\.columns"),
        ({"kind": "truncations", "count": 3}, r"count=3 .*--evaluation\.columns"),
        ({"kind": "film", "count": 1}, "count=1 .*2 frames"),
        ({"kind": "film", "labels": (1,)}, r"labels=\[1\] .*remove --labels"),
        ({"kind": "film", "step": 0}, "step=0 .*remove --step"),
        (
            {"kind": "film", "changes": {"seed": 3}},
            r"evaluation\.seed=3 .*remove --evaluation\.seed",
        ),
        ({"truncations": (0.5, 1.0)}, "truncations=0.5,1 is for --to truncations"),
        (
            {"kind": "truncations", "changes": {"truncation": 0.5}},
            r"evaluation\.truncation=0\.5 .*--truncations",
        ),
        ({"kind": "truncations", "truncations": (-1.0,)}, r"truncation=-1\.0 "),
        ({"kind": "film", "out": "film.mp4"}, r"'.*mp4' .*\.webp or \.gif"),
        ({"kind": "sheet", "out": "sheet.jpg"}, r"'.*jpg' .*end in \.png"),
        ({"kind": "neighbours", "out": "near.json"}, r"'.*json' .*end in \.png"),
        ({"kind": "neighbours", "out": "mine.png"}, r"mine\.json' exists already"),
        ({"kind": "interpolation", "changes": {"columns": 1}}, "columns=1 "),
    ],
)
def test_options_that_do_not_fit_are_refused_and_change_nothing(
    options: dict[str, Any], message: str, run: Run, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "mine.json").write_text("mine")
    out = tmp_path / options["out"] if "out" in options else None
    before = tiny_runs.tree_of(tmp_path), tiny_runs.tree_of(run.workdir)
    with pytest.raises(UserError, match=message):
        sample.save(run, **{**options, "out": out})
    assert (tiny_runs.tree_of(tmp_path), tiny_runs.tree_of(run.workdir)) == before
