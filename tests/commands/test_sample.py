"""Samples as files: what is in them, and that they are whole or not there."""

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
from sagan_jax.workdir import checkpoint, run_config

LABELS = np.array([3, 1, 3, 1, 3])


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _workdir(path: pathlib.Path, variant: str = "d_first") -> pathlib.Path:
    """Returns a run with one checkpoint, of step 0."""
    run = tiny_gan.build(variant, evaluation__rows=3, evaluation__columns=2)
    run_config.prepare(path, run.config)
    with checkpoint.open_manager(path, run.config) as manager:
        manager.save(jax.tree.map(jnp.asarray, tiny_gan.random_state(run)))
    return path


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return _workdir(tmp_path_factory.mktemp("samples") / "run")


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    """Returns the variables that the run is sampled with: the averaged ones."""
    run = tiny_gan.build()
    state = tiny_gan.random_state(run)
    return state_lib.generator_variables(
        run.generator, state.generator.variables, state.ema
    )


def _images(variables: dict[str, Any], labels: np.ndarray, **law: Any) -> np.ndarray:
    generator = tiny_gan.build().generator
    return np.concatenate(
        list(sampling.sample(generator, variables, labels, batch_size=16, **law))
    )


def _pixels(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_sheet_is_that_of_the_run(
    workdir: pathlib.Path, variables: dict[str, Any]
) -> None:
    run = tiny_gan.build(evaluation__rows=3, evaluation__columns=2)
    path = sample.save(workdir)
    assert path == workdir / "samples" / "sample_00000000_seed1234.png"
    expected = sheets.sheet(run.config, run.generator, variables)
    np.testing.assert_array_equal(_pixels(path), expected)


def test_image_files_lie_in_the_folders_of_their_classes(
    workdir: pathlib.Path, variables: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "new" / "samples"
    assert sample.save(workdir, kind="images", labels=(3, 1), count=5, out=out)
    found = sorted(str(p.relative_to(out)) for p in out.rglob("*.png"))
    assert found == ["1/1.png", "1/3.png", "3/0.png", "3/2.png", "3/4.png"]
    images = _images(variables, LABELS, seed=1234)
    for index, label in enumerate(LABELS):
        np.testing.assert_array_equal(
            _pixels(out / str(label) / f"{index}.png"), images[index]
        )


def test_an_array_file_holds_images_labels_and_how_they_were_made(
    workdir: pathlib.Path, variables: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "samples.npz"
    changes = {"seed": 9, "truncation": 0.5}
    sample.save(workdir, kind="npz", labels=(3, 1), count=5, out=out, changes=changes)
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


def test_the_first_images_of_many_are_those_of_few(
    workdir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    found = []
    for count, batch_size in ((20, 16), (7, 4)):
        out = tmp_path / f"{count}.npz"
        changes = {"batch_size": batch_size}
        sample.save(workdir, kind="npz", count=count, out=out, changes=changes)
        with np.load(out) as arrays:
            found.append((arrays["images"].astype(int), arrays["labels"]))
    (many, labels), (few, some) = found
    np.testing.assert_array_equal(labels[:7], some)
    # Programs for 16 and for 4 images may round a float to another of two levels.
    np.testing.assert_allclose(many[:7], few, atol=1)


def test_without_labels_count_and_place_all_classes_go_round(
    workdir: pathlib.Path,
) -> None:
    path = sample.save(workdir, kind="npz", changes={"rows": 2, "columns": 3})
    assert path == workdir / "samples" / "sample_00000000_seed1234.npz"
    with np.load(path) as arrays:
        np.testing.assert_array_equal(arrays["labels"], [0, 1, 2, 3, 0, 1])


def test_files_are_named_for_what_gives_other_images(workdir: pathlib.Path) -> None:
    changes = {"ema": False, "truncation": 0.5, "standing_batches": 1}
    changes["statistics"] = "standing"
    path = sample.save(workdir, changes=changes)
    assert path.name == "sample_00000000_seed1234_truncation0.5_live_standing.png"


def test_an_unconditional_run_has_no_class_folders(tmp_path: pathlib.Path) -> None:
    workdir = _workdir(tmp_path / "run", "unconditional")
    out = sample.save(workdir, kind="images", count=2)
    assert sorted(path.name for path in out.iterdir()) == [
        "0.png",
        "1.png",
        "samples.json",
    ]
    with pytest.raises(UserError, match="labels=0 names a class, but the generator"):
        sample.save(workdir, labels=(0,))


@pytest.mark.parametrize("kind", ["images", "npz"])
def test_what_is_stopped_leaves_nothing(
    kind: str,
    workdir: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*args: Any, **options: Any) -> Iterator[np.ndarray]:
        yield np.zeros((2, 32, 32, 3), np.uint8)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sampling, "sample", stopped)
    with pytest.raises(OSError, match="No space left"):
        sample.save(workdir, kind=kind, count=5, out=tmp_path / "samples")
    assert tiny_runs.tree_of(tmp_path) == {}


def test_what_a_kill_left_is_cleared_away(
    workdir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "samples.tmp").mkdir()
    (tmp_path / "samples.tmp" / "99.png").touch()
    out = sample.save(
        workdir, kind="images", labels=(2,), count=1, out=tmp_path / "samples"
    )
    assert sorted(p.name for p in out.iterdir()) == ["2", "samples.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["samples"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 3}, "count=3 is for --to images and --to npz"),
        ({"labels": (9,)}, "labels=9 is out of range; this generator has 4 classes"),
        ({"kind": "images"}, "exists already; remove it, or give another --out"),
        ({"kind": "npz"}, "is a directory; give --out a file's name"),
    ],
    ids=["count of a sheet", "class", "directory in the way", "npz onto a directory"],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    options: dict[str, Any],
    sentence: str,
    workdir: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "mine").write_text("mine")
    before = tiny_runs.tree_of(tmp_path), tiny_runs.tree_of(workdir)
    out = None if "count" in options or "labels" in options else tmp_path
    with pytest.raises(UserError, match=sentence):
        sample.save(workdir, out=out, **options)
    assert (tiny_runs.tree_of(tmp_path), tiny_runs.tree_of(workdir)) == before
