"""Samples as files: their content, and that they are written whole or not at all."""

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

from sagan_jax.commands import sample
from sagan_jax.errors import UserError
from sagan_jax.evaluation import sampling
from sagan_jax.pictures import sheets
from sagan_jax.training import state as state_lib
from sagan_jax.workdir.run import Run

LABELS = np.array([3, 1, 3, 1, 3])


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _saved(path: pathlib.Path, variant: str = "d_first") -> Run:
    """Returns a run with one checkpoint, at step 0."""
    run = tiny_gan.build(variant, evaluation__rows=3, evaluation__columns=2)
    state = jax.tree.map(jnp.asarray, tiny_gan.random_state(run))
    return tiny_runs.save(path, run.config, state)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _saved(tmp_path_factory.mktemp("samples") / "run")


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    """Returns the averaged variables, with which the run is sampled."""
    run = tiny_gan.build()
    state = tiny_gan.random_state(run)
    return state_lib.generator_variables(
        run.generator, state.generator.variables, state.ema
    )


def _images(
    variables: dict[str, Any], labels: np.ndarray, **options: Any
) -> np.ndarray:
    generator = tiny_gan.build().generator
    return np.concatenate(
        list(sampling.sample(generator, variables, labels, batch_size=16, **options))
    )


def _pixels(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_sheet_shows_the_averaged_generator_of_the_run(
    run: Run, variables: dict[str, Any]
) -> None:
    gan = tiny_gan.build(evaluation__rows=3, evaluation__columns=2)
    path = sample.save(run)
    assert path == run.samples / "sample_00000000_seed1234.png"
    expected = sheets.sheet(gan.config, gan.generator, variables)
    np.testing.assert_array_equal(_pixels(path), expected)


def test_image_files_are_in_folders_of_their_classes(
    run: Run, variables: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "new" / "samples"
    assert sample.save(run, kind="images", labels=(3, 1), count=5, out=out)
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*.png"))
    assert found == ["1/1.png", "1/3.png", "3/0.png", "3/2.png", "3/4.png"]
    images = _images(variables, LABELS, seed=1234)
    for index, label in enumerate(LABELS):
        np.testing.assert_array_equal(
            _pixels(out / str(label) / f"{index}.png"), images[index]
        )


def test_an_array_file_holds_images_labels_and_settings(
    run: Run, variables: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "samples.npz"
    changes = {"seed": 9, "truncation": 0.5}
    sample.save(run, kind="npz", labels=(3, 1), count=5, out=out, changes=changes)
    with np.load(out, allow_pickle=False) as found:
        np.testing.assert_array_equal(
            found["images"], _images(variables, LABELS, **changes)
        )
        np.testing.assert_array_equal(found["labels"], LABELS)
        facts = json.loads(str(found["made_by"]))
    assert facts | {"sagan_jax": ""} == {
        "step": 0,
        "count": 5,
        "labels": [3, 1],
        "seed": 9,
        "truncation": 0.5,
        "ema": True,
        "statistics": "running",
        "run": "sagan_smoke",
        "sagan_jax": "",
    }


def test_the_first_images_do_not_depend_on_the_count(
    run: Run, tmp_path: pathlib.Path
) -> None:
    found = []
    for count, batch_size in ((20, 16), (7, 4)):
        out = tmp_path / f"{count}.npz"
        changes = {"batch_size": batch_size}
        sample.save(run, kind="npz", count=count, out=out, changes=changes)
        with np.load(out) as arrays:
            found.append((arrays["images"].astype(int), arrays["labels"]))
    (many, labels), (few, some) = found
    np.testing.assert_array_equal(labels[:7], some)
    # Programs for 16 and for 4 images may round a float to neighbouring levels.
    np.testing.assert_allclose(many[:7], few, atol=1)


def test_by_default_labels_cycle_through_all_classes(
    run: Run,
) -> None:
    path = sample.save(run, kind="npz", changes={"rows": 2, "columns": 3})
    assert path == run.samples / "sample_00000000_seed1234.npz"
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["labels"], [0, 1, 2, 3, 0, 1])


def test_file_names_contain_the_settings_that_change_the_images(run: Run) -> None:
    changes = {"ema": False, "truncation": 0.5, "standing_batches": 1}
    changes["statistics"] = "standing"
    path = sample.save(run, changes=changes)
    assert path.name == "sample_00000000_seed1234_truncation0.5_live_standing.png"


def test_an_unconditional_run_has_no_class_folders(tmp_path: pathlib.Path) -> None:
    run = _saved(tmp_path / "run", "unconditional")
    out = sample.save(run, kind="images", count=2)
    assert sorted(path.name for path in out.iterdir()) == [
        "0.png",
        "1.png",
        "samples.json",
    ]
    with pytest.raises(UserError, match=r"labels=0 .*remove"):
        sample.save(run, labels=(0,))


@pytest.mark.parametrize("kind", ["images", "npz"])
def test_an_interrupted_command_leaves_no_files(
    kind: str,
    run: Run,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*args: Any, **options: Any) -> Iterator[np.ndarray]:
        yield np.zeros((2, 32, 32, 3), np.uint8)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sampling, "sample_in_all_processes", stopped)
    with pytest.raises(OSError, match="No space left"):
        sample.save(run, kind=kind, count=5, out=tmp_path / "samples")
    assert tiny_runs.tree_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 3}, "count=3 .*--to images"),
        ({"labels": (9,)}, "labels=9 .*0 to 3"),
        ({"kind": "images"}, "^out=.*exists.*remove"),
        ({"kind": "npz"}, "^out=.*directory.*file"),
    ],
    ids=["count of a sheet", "class", "directory in the way", "npz onto a directory"],
)
def test_invalid_options_are_refused_and_change_nothing(
    options: dict[str, Any],
    message: str,
    run: Run,
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "mine").write_text("mine")
    before = tiny_runs.tree_of(tmp_path), tiny_runs.tree_of(run.workdir)
    out = None if "count" in options or "labels" in options else tmp_path
    with pytest.raises(UserError, match=message):
        sample.save(run, out=out, **options)
    assert (tiny_runs.tree_of(tmp_path), tiny_runs.tree_of(run.workdir)) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "gif"}, "kind='gif' .*sheet, images, npz"),
        ({"kind": "npz", "count": 0}, "count=0 .*choose 1"),
        ({"kind": "npz", "count": 2.0}, "count=2.0 .*choose 1"),
        ({"step": "newest"}, "step='newest' "),
        ({"out": "gs://b/x.png"}, "'gs://b/x.png' is a URL"),
    ],
)
def test_values_that_no_flag_has_checked_are_refused(
    run: Run, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        sample.save(run, **change)
