"""A run saved as a model folder: the same arrays and images, and what a card tells.

Modes of launch.py are tried on it here, where its programs have been compiled.
"""

import base64
import dataclasses
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
import pytest
import tiny_gan
import tiny_models
import tiny_runs
from PIL import Image

import sagan_jax
from sagan_jax import config as config_lib
from sagan_jax.commands import attention, evaluate, report, sample
from sagan_jax.commands.options import Options
from sagan_jax.errors import UserError
from sagan_jax.evaluation import attention as attention_lib
from sagan_jax.files import json_lines
from sagan_jax.interop import __main__ as interop
from sagan_jax.interop import card
from sagan_jax.pictures import sheets
from sagan_jax.workdir import models
from sagan_jax.workdir.model_files import DISCRIMINATOR, GENERATOR
from sagan_jax.workdir.run import Run

STEP = tiny_models.STEP
LINE = {
    "protocol": "torch-fidelity",
    "step": STEP,
    "num_samples": 50,
    "truncation": 0.0,
    "reference": "cats|dogs",
    "FID": 12.5,
    "note": "`" * 3,
}


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(autouse=True)
def described_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.describe_once(monkeypatch)


@pytest.fixture(scope="module")
def run() -> Run:
    """Returns a run whose checkpoint has results, next to those of others."""
    run = tiny_models.run()
    mine = {"checkpoint": run.checkpoint_digest(STEP)}
    json_lines.append(run.results, LINE | mine)
    json_lines.append(run.results, LINE | mine | {"step": 2, "FID": 99.0})
    json_lines.append(run.results, LINE | {"checkpoint": "other", "FID": 98.0})
    return run


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder saved from the run; nobody may change it."""
    path = tmp_path_factory.mktemp("saved") / "deep" / "model"
    assert sagan_jax.save(run.workdir, path, live=True) == path
    return path


def _card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_folder_holds_three_files(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("ema", [True, False])
def test_a_folder_loads_as_its_workdir_does_bit_for_bit(
    run: Run, folder: Path, ema: bool
) -> None:
    here = sagan_jax.load(run.workdir, ema=ema)
    there = sagan_jax.load(folder, ema=ema)
    assert there[0] == here[0]
    tiny_models.assert_same(there[1], here[1])


def test_a_folder_draws_the_images_of_its_workdir_bit_for_bit(
    run: Run, folder: Path
) -> None:
    first, second = (
        sheets.sheet(config, generator, variables)
        for generator, variables, config in map(sagan_jax.load, (run.workdir, folder))
    )
    np.testing.assert_array_equal(first, second)
    assert first.std() > 0


def test_the_discriminator_is_that_of_the_run(run: Run, folder: Path) -> None:
    _, expected, _ = run.load_discriminator()
    _, found, _ = models.open_model(folder).load_discriminator()
    tiny_models.assert_same(found, expected)
    tiny_models.assert_same(found, tiny_models.trees()[DISCRIMINATOR])


def test_a_folder_saved_from_a_folder_has_the_same_arrays(
    folder: Path, tmp_path: Path
) -> None:
    sagan_jax.save(folder, tmp_path / "again", live=True)
    tiny_models.assert_same(
        sagan_jax.load(tmp_path / "again")[1], sagan_jax.load(folder)[1]
    )


def test_the_config_is_read_by_the_same_reader_as_a_run_s(folder: Path) -> None:
    config = config_lib.from_json((folder / "config.json").read_text())
    assert config.model == tiny_runs.config().model
    assert config.mesh.devices == 0


# The card.


def test_the_card_tells_what_the_model_is(run: Run, folder: Path) -> None:
    text = _card(folder)
    assert text.startswith("---\nlibrary_name: sagan_jax\n")
    assert "32 x 32 px, 4 classes" in text
    params = tiny_models.trees()[GENERATOR]["params"]
    count = sum(x.size for x in jax.tree.leaves(params))
    assert f"{count:,} in the generator" in text
    assert f"step {STEP}" in text
    assert run.checkpoint_digest(STEP) in text
    content = (folder / "model.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() in text


def test_the_card_shows_a_sheet(folder: Path) -> None:
    (found,) = re.findall(r"\(data:image/webp;base64,([^)]+)\)", _card(folder))
    with Image.open(io.BytesIO(base64.b64decode(found))) as picture:
        # Four classes by row, two images each, enlarged to 128 pixels.
        assert picture.size == (2 * 130 + 2, 4 * 130 + 2)
        assert np.asarray(picture).std() > 0


def test_the_card_has_the_results_of_this_checkpoint_alone(folder: Path) -> None:
    text = _card(folder)
    row = "| FID | 12.5 | torch-fidelity | 50 | none | cats\\|dogs |"
    assert row in text
    # As a number: a digest may have these digits by chance.
    assert not re.search(r"(?<![.\d])99(\.0)?\b", re.sub(r"base64,\S+", "", text))
    assert '"FID": 98.0' not in text


def test_the_card_has_each_line_of_results_as_it_is(run: Run, folder: Path) -> None:
    (lines,) = re.findall(r"```json\n(.*?)\n```", _card(folder), re.DOTALL)
    assert [json.loads(line) for line in lines.splitlines()] == [
        LINE | {"checkpoint": run.checkpoint_digest(STEP)}
    ]


def test_the_code_of_the_card_runs(folder: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", _card(folder), re.DOTALL)
    names: dict[str, Any] = {}
    # The images are described only: to draw them operation by operation takes long.
    call = "generator.apply(variables, z, labels, train=False)"
    assert call in code
    code = code.replace(call, f"jax.eval_shape(lambda: {call})")
    exec(code.replace('"FOLDER"', repr(str(folder))), names)
    assert names["images"].shape == (8, 32, 32, 3)


FACTS = card.Facts(
    config=tiny_runs.config(),
    step=1,
    averaged=True,
    has_live=False,
    checkpoint="",
    parameters=(1, 2),
    classes=(),
    results=(),
    sheet=b"",
)


def test_the_card_of_a_generator_without_classes_passes_no_labels() -> None:
    config = tiny_runs.config(model__num_classes=0)
    text = card.text(dataclasses.replace(FACTS, config=config), "0")
    assert "labels = None\n" in text
    assert "jax.numpy" not in text
    assert "## Classes" not in text


def test_names_from_elsewhere_are_no_markup() -> None:
    classes = ["<script>", "a|b", "[x](http://y)", "two\nlines", "d"] * 50
    config = tiny_runs.config()
    config.name = "# <b>"
    text = card.text(dataclasses.replace(FACTS, config=config, classes=classes), "0")
    assert "<script>" not in text
    assert "<b>" not in text
    assert "\\[x\\]\\(http://y\\)" in text
    assert "two\\\\nlines" in text
    assert "and 50 more" in text
    assert "was not scored" in text


# Modes of launch.py.


@pytest.fixture
def given(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """Returns a copy of the folder, which no mode may change."""
    path = Path(shutil.copytree(folder, tmp_path / "given"))
    before = tiny_runs.tree_of(path)
    yield path
    assert tiny_runs.tree_of(path) == before


def _options(folder: Path, **options: Any) -> Options:
    return Options(config=None, workdir=str(folder), **options)


def test_a_sheet_is_drawn_from_a_folder_as_from_its_workdir(
    run: Run, given: Path
) -> None:
    sample.main(_options(given))
    (path,) = (given.parent / "given-outputs" / "samples").iterdir()
    generator, variables, config = sagan_jax.load(run.workdir)
    with Image.open(path) as picture:
        expected = sheets.sheet(config, generator, variables)
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_a_picture_may_go_elsewhere_but_not_into_the_folder(given: Path) -> None:
    out = given.parent / "x.png"
    sample.main(_options(given, out=str(out)))
    assert out.is_file()
    with pytest.raises(UserError, match=r"out=.* among the files of the model folder"):
        sample.main(_options(given, out=str(given / "x.png")))


def test_results_of_a_folder_name_its_digest(
    given: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate.main(_options(given))
    results = given.parent / "given-outputs" / "results.jsonl"
    (line,) = tiny_runs.read_lines(results)
    assert line["checkpoint"] == models.open_model(given).checkpoint_digest(STEP)
    assert line["step"] == STEP
    assert f"wrote {results}" in capsys.readouterr().out


def test_the_attention_of_both_networks_of_a_folder_can_be_seen(given: Path) -> None:
    with mock.patch.object(attention, "save", return_value=(given, "")) as save:
        attention.main(_options(given))
    run = save.call_args.args[0]
    assert run.attention == given.parent / "given-outputs" / "attention"
    for load in (run.load_generator, run.load_discriminator):
        network, _, _ = load()
        assert attention_lib.layer_grids(network)


@pytest.mark.slow
def test_attention_maps_and_a_page_are_made_of_a_folder(given: Path) -> None:
    attention.main(_options(given, count=2))
    report.main(_options(given))
    outputs = given.parent / "given-outputs"
    (summary,) = (outputs / "attention").rglob("summary.json")
    networks = {row["network"] for row in json.loads(summary.read_text())["layers"]}
    assert networks == {"generator", "discriminator"}
    assert (outputs / "report.html").is_file()


def test_without_paths_another_reference_is_asked_for(tmp_path: Path) -> None:
    config = tiny_runs.config(data__source="folder", data__path="/home/me/cats")
    folder = tiny_models.write(tmp_path / "m", tiny_models.trees(), config)
    with pytest.raises(UserError, match=r"data\.path=''.*--evaluation\.reference"):
        sample.main(_options(folder, to="neighbours"))


@pytest.mark.parametrize("step", ["best", "3"])
def test_a_folder_has_its_own_step_alone(given: Path, step: str) -> None:
    with pytest.raises(UserError, match="step="):
        evaluate.main(_options(given, step=step))


# What is refused, and what a failure leaves.


def test_a_folder_that_is_there_is_not_replaced(folder: Path, run: Run) -> None:
    with pytest.raises(UserError, match=r"exists already.*another name"):
        sagan_jax.save(run.workdir, folder)


def test_an_unwritten_folder_may_be_there_empty(run: Run, tmp_path: Path) -> None:
    sagan_jax.save(run.workdir, tmp_path)
    assert sagan_jax.load(tmp_path)[2].model == run.config.model


def test_a_folder_among_the_checkpoints_is_refused(run: Run) -> None:
    with pytest.raises(UserError, match=r"among the files of the checkpoints"):
        sagan_jax.save(run.workdir, run.checkpoints / "model")


def test_a_failure_leaves_nothing(run: Run, tmp_path: Path) -> None:
    with (
        mock.patch.object(card, "text", side_effect=OSError(28, "No space left")),
        pytest.raises(OSError, match="No space"),
    ):
        sagan_jax.save(run.workdir, tmp_path / "new" / "model")
    assert list((tmp_path / "new").iterdir()) == []


def test_the_best_step_needs_evaluations(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"step='best'.*no evaluations"):
        sagan_jax.save(run.workdir, tmp_path / "model", step="best")


def test_settings_that_no_folder_may_have_are_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.rows=999 .* at most 100"):
        sagan_jax.save(run.workdir, tmp_path / "model", changes={"rows": 999})
    sagan_jax.save(run.workdir, tmp_path / "model", changes={"rows": 2})


def test_the_command_saves_and_lists_the_files(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    assert interop.main(["save", str(run.workdir), str(folder)]) == 0
    printed = capsys.readouterr().out
    for path in folder.iterdir():
        assert re.search(rf"{path.stat().st_size:,} bytes +{path}", printed)
    assert interop.main(["save", str(run.workdir), str(folder)]) == 1
    assert capsys.readouterr().err.startswith("error: folder=")


def test_a_disk_that_fails_is_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mock.patch.object(card, "text", side_effect=OSError(28, "", "/x")):
        assert interop.main(["save", str(run.workdir), str(tmp_path / "m")]) == 1
    assert "No space left on device: '/x'" in capsys.readouterr().err
