"""The config in a workdir: made, read, held against the run that is asked for."""

import re
from pathlib import Path
from typing import Any

import jax
import pytest
import tiny_runs

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.workdir import run_config


def _refuses(sentence: str, workdir: Path, config: Config) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        run_config.prepare(workdir, config)


def test_a_workdir_is_made_with_its_config(tmp_path: Path) -> None:
    run_config.prepare(tmp_path / "a" / "b", tiny_runs.config())
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["config.json"]
    assert run_config.read(tmp_path / "a" / "b") == tiny_runs.config()


def test_what_changed_since_the_last_start_is_returned(tmp_path: Path) -> None:
    assert run_config.prepare(tmp_path, tiny_runs.config()) == []
    config = tiny_runs.config(train__steps=9, evaluation__rows=2, mesh__devices=1)
    assert run_config.prepare(tmp_path, config) == [
        ("train.steps", 6, 9),
        ("evaluation.rows", 4, 2),
        ("mesh.devices", 2, 1),
    ]


def _started(workdir: Path, path: str, images: str) -> Config:
    """Makes a run on images, and returns its config."""
    config = tiny_runs.config(data__path=path)
    run_config.prepare(workdir, config, images)
    run_config.record_start(
        workdir, config, step=0, command="C", changes=[], images=images
    )
    return config


def test_images_may_move(tmp_path: Path) -> None:
    _started(tmp_path, "here", "a")
    moved = tiny_runs.config(data__path="there")
    assert run_config.prepare(tmp_path, moved, "a") == [("data.path", "here", "there")]


def test_images_that_change_in_their_place_are_told_of(tmp_path: Path) -> None:
    config = _started(tmp_path, "here", "a")
    assert run_config.prepare(tmp_path, config, "b") == [("images", "a", "b")]


def test_other_images_from_another_place_are_another_run(tmp_path: Path) -> None:
    _started(tmp_path, "here", "a")
    other = tiny_runs.config(data__path="there")
    before = tiny_runs.tree_of(tmp_path)
    with pytest.raises(
        UserError, match=r"holds a run on other images \(of data\.path='h"
    ):
        run_config.prepare(tmp_path, other, "b")
    assert tiny_runs.tree_of(tmp_path) == before


def test_a_record_cut_short_is_passed_over(tmp_path: Path) -> None:
    _started(tmp_path, "here", "a")
    with (tmp_path / "starts.jsonl").open("a") as file:
        file.write('{"images": "b')
    assert run_config.last_images(tmp_path) == "a"


@pytest.mark.parametrize("name", run_config.MAY_CHANGE)
def test_what_may_change_is_a_field(name: str) -> None:
    assert name in [field for field, _, _ in config_lib.fields_of(Config())]


@pytest.mark.parametrize(
    "change",
    [
        {"train__steps": 9},
        {"train__checkpoint_every": 9},
        {"data__threads": 0},
        {"data__path": "elsewhere"},
        {"evaluation__rows": 2},
        {"mesh__devices": 1},
    ],
    ids=str,
)
def test_a_run_may_go_on_with_another_value_of(
    change: dict[str, Any], tmp_path: Path
) -> None:
    run_config.prepare(tmp_path, tiny_runs.config())
    run_config.prepare(tmp_path, tiny_runs.config(**change))
    assert run_config.read(tmp_path) == tiny_runs.config(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"model__width": 16},
        {"optim__generator_lr": 0.5},
        {"train__batch_size": 8},
        {"train__seed": 7},
        {"data__seed": 7},
    ],
    ids=str,
)
def test_another_run_is_refused_by_its_fields(
    change: dict[str, Any], tmp_path: Path
) -> None:
    ours = tiny_runs.config()
    run_config.prepare(tmp_path, ours)
    before = tiny_runs.tree_of(tmp_path)
    (field, value), *_ = change.items()
    group, name = field.split("__")
    had = getattr(getattr(ours, group), name)
    _refuses(
        f"workdir={str(tmp_path)!r} holds another run ({group}.{name}: {had!r} there, "
        f"{value!r} asked for); give another --workdir, or its own settings.",
        tmp_path,
        tiny_runs.config(**change),
    )
    assert tiny_runs.tree_of(tmp_path) == before


def test_every_field_that_differs_is_named(tmp_path: Path) -> None:
    run_config.prepare(tmp_path, tiny_runs.config())
    with pytest.raises(UserError, match=r"model\.width: 8 .*; train\.seed: 0 "):
        run_config.prepare(tmp_path, tiny_runs.config(model__width=16, train__seed=7))


def test_a_file_is_no_workdir(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    _refuses(
        f"workdir={str(path)!r} is a file; give a directory, or a new name.",
        path,
        tiny_runs.config(),
    )
    assert path.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_no_workdir(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / "run"
    _refuses(
        f"workdir={str(path)!r} cannot be written (Not a directory); give another with "
        "--workdir.",
        path,
        tiny_runs.config(),
    )


def test_only_the_first_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    run_config.prepare(tmp_path / "run", tiny_runs.config())
    assert not (tmp_path / "run").exists()
