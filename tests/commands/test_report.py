"""--mode report: the maps of a checkpoint in a page, or why there are none."""

import base64
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
import tiny_runs

from sagan_jax.commands import report
from sagan_jax.commands.options import Options
from sagan_jax.errors import UserError
from sagan_jax.evaluation import sampling
from sagan_jax.training import state as state_lib
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.run import Run
from sagan_jax.workdir.sweep_dir import SweepDir


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Returns a run with one checkpoint, at step 0."""
    tiny = tiny_gan.build(evaluation__rows=3, evaluation__columns=2)
    state = jax.tree.map(jnp.asarray, tiny_gan.random_state(tiny))
    path = tmp_path_factory.mktemp("report") / "run"
    return tiny_runs.save(path, tiny.config, state)


def test_the_page_holds_the_maps_of_the_checkpoint(run: Run) -> None:
    text = report.save(run).read_text("utf-8")
    found = re.search(r'id="explorer-data">(.*?)</script>', text)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    # Three rows of two images: one of each row first, then the next of each row.
    order, classes = [0, 2, 4, 1, 3, 5], [0, 2, 3, 0, 2, 3]
    assert data["labels"] == [f"class {label}" for label in classes]
    tiny = tiny_gan.build()
    state = tiny_gan.random_state(tiny)
    generator = tiny.generator
    variables = state_lib.generator_variables(
        generator, state.generator.variables, state.ema
    )
    z = sampling.latents(run.config.evaluation.seed, order, generator)
    _, stored = generator.apply(
        variables, z, jnp.array(classes), train=False, mutable=["attention"]
    )
    (layer,), (name,) = data["layers"], stored["attention"]
    assert layer["name"] == name
    weights = np.asarray(stored["attention"][name]["weights"])
    for image, expected in enumerate(weights):
        peaks = np.frombuffer(base64.b64decode(layer["peaks"][image]), "<f4")
        levels = np.frombuffer(base64.b64decode(layer["levels"][image]), np.uint8)
        decoded = levels.reshape(expected.shape) / 255 * peaks[:, None]
        np.testing.assert_allclose(decoded, expected, atol=0.6 / 255 * expected.max())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "the run has saved no checkpoint yet"),
        ({"model__attention_block": "residual"}, "residual blocks in the place"),
        (
            {"model__generator_attention_resolutions": ()},
            "the generator of this run has no attention",
        ),
    ],
)
def test_a_run_without_maps_has_a_page_that_says_why(
    changes: dict[str, Any], sentence: str, tmp_path: pathlib.Path
) -> None:
    run = run_lib.begin(tmp_path / "run", tiny_runs.config(**changes))
    assert sentence in report.save(run).read_text("utf-8")


@pytest.mark.parametrize(
    ("out", "message"),
    [("page.txt", "is not a page; pass the name of an .html"), ("file/x.html", "file")],
)
def test_a_place_that_cannot_hold_a_page_is_refused_first(
    out: str, message: str, run: Run, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=f"^out=.*{message}"):
        report.save(run, out=tmp_path / out)
    assert tiny_runs.tree_of(tmp_path) == {"file": b"mine"}


def _sweep(path: pathlib.Path) -> SweepDir:
    """Returns the directory of a sweep that has just begun."""
    plan = {"name": "mine", "variants": {"a": {}}, "seeds": [0], "measures": ["score"]}
    directory = SweepDir(path)
    path.mkdir()
    directory.write_plan(plan | {"contrasts": [], "holm": False, "verdict": None})
    return directory


def test_a_sweep_has_a_page_of_its_own(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = _sweep(tmp_path / "sweep")
    report.main(Options(config=None, workdir=str(directory.path)))
    text = directory.report.read_text("utf-8")
    assert "Sweep: 1 variant \u00d7 1 seed<" in text
    assert capsys.readouterr().out.startswith(f"wrote {directory.report} (0.0 MB)")
    other = tmp_path / "page.html"
    report.main(Options(config=None, workdir=str(directory.path), out=str(other)))
    assert other.read_text("utf-8") == text


@pytest.mark.parametrize("asked", [{"step": "5"}, {"evaluation": {"seed": 1}}])
def test_options_of_a_run_are_refused_for_a_sweep(
    asked: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    directory = _sweep(tmp_path / "sweep")
    with pytest.raises(UserError, match="neither --step nor --evaluation; pass them"):
        report.main(Options(config=None, workdir=str(directory.path), **asked))
    assert not directory.report.exists()


def test_a_step_without_a_checkpoint_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match="step=7 has no checkpoint"):
        report.save(run, step=7)
