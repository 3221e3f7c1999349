"""The config in a workdir: written, read, and compared with the requested one."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import pytest
import tiny_runs

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir import run_config


def _started(workdir: Path, images: str = "", **changes: Any) -> run_lib.Run:
    """Begins a run, or resumes it, and records the start."""
    run = run_lib.begin(workdir, tiny_runs.config(**changes), images)
    run.record_start(step=0, command="C", images=images)
    return run


def _refused(workdir: Path, config: Config, images: str = "") -> str:
    """Returns the error of a start that must fail and change nothing."""
    before = tiny_runs.tree_of(workdir) if workdir.is_dir() else {}
    with pytest.raises(UserError) as caught:
        run_lib.begin(workdir, config, images)
    assert (tiny_runs.tree_of(workdir) if workdir.is_dir() else {}) == before
    return str(caught.value)


def test_recording_a_start_writes_config_and_start(tmp_path: Path) -> None:
    workdir = tmp_path / "a" / "b"
    _started(workdir)
    names = sorted(path.name for path in workdir.iterdir())
    assert names == ["config.json", "starts.jsonl"]
    assert run_lib.open_run(workdir).config == tiny_runs.config()


def test_begin_writes_no_file(tmp_path: Path) -> None:
    run_lib.begin(tmp_path / "run", tiny_runs.config())
    assert list((tmp_path / "run").iterdir()) == []


def test_a_start_that_is_not_recorded_does_not_change_the_config(
    tmp_path: Path,
) -> None:
    _started(tmp_path)
    run_lib.begin(tmp_path, tiny_runs.config(train__steps=9))
    assert run_lib.open_run(tmp_path).config == tiny_runs.config()


def test_changes_since_the_last_start_are_found(tmp_path: Path) -> None:
    assert _started(tmp_path).changes == ()
    run = _started(tmp_path, train__steps=9, evaluation__rows=2, mesh__devices=1)
    assert run.changes == (
        ("train.steps", 6, 9),
        ("evaluation.rows", 4, 2),
        ("mesh.devices", 2, 1),
    )


def test_images_may_move(tmp_path: Path) -> None:
    _started(tmp_path, "a", data__path="here")
    run = _started(tmp_path, "a", data__path="there")
    assert run.changes == (("data.path", "here", "there"),)


def test_images_that_changed_at_the_same_path_are_reported(tmp_path: Path) -> None:
    _started(tmp_path, "a", data__path="here")
    run = _started(tmp_path, "b", data__path="here")
    assert run.changes == (("images", "a", "b"),)


def test_other_images_at_another_path_are_another_run(tmp_path: Path) -> None:
    _started(tmp_path, "a", data__path="here")
    message = _refused(tmp_path, tiny_runs.config(data__path="there"), "b")
    assert re.search("images.*data.path='here'", message)
    assert "--workdir" in message


def test_a_truncated_record_is_skipped(tmp_path: Path) -> None:
    _started(tmp_path, "a", data__path="here")
    with (tmp_path / "starts.jsonl").open("a") as file:
        file.write('{"images": "b')
    assert run_config.last_images(tmp_path / "starts.jsonl") == "a"


@pytest.mark.parametrize("name", run_config.MAY_CHANGE)
def test_every_name_in_may_change_is_a_field(name: str) -> None:
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
def test_a_run_can_be_resumed_with_another_value(
    change: dict[str, Any], tmp_path: Path
) -> None:
    _started(tmp_path)
    _started(tmp_path, **change)
    assert run_lib.open_run(tmp_path).config == tiny_runs.config(**change)


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
def test_another_run_is_refused_and_the_field_is_named(
    change: dict[str, Any], tmp_path: Path
) -> None:
    ours = tiny_runs.config()
    _started(tmp_path)
    ((field, value),) = change.items()
    group, name = field.split("__")
    had = getattr(getattr(ours, group), name)
    message = _refused(tmp_path, tiny_runs.config(**change))
    assert message.startswith(f"workdir={str(tmp_path)!r} ")
    assert re.search(rf"{group}\.{name} .*{had!r} .*{value!r} ", message)
    assert "--workdir" in message


def test_every_field_that_differs_is_named(tmp_path: Path) -> None:
    _started(tmp_path)
    message = _refused(tmp_path, tiny_runs.config(model__width=16, train__seed=7))
    assert re.search(r"model\.width \D*8 \D*16\b", message)
    assert re.search(r"train\.seed \D*0 \D*7\b", message)


def test_a_file_is_refused_as_workdir(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    message = _refused(path, tiny_runs.config())
    assert re.match(f"workdir='{path}' .*directory", message)
    assert path.read_text() == "mine"


def test_an_unwritable_path_is_refused_as_workdir(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / "run"
    message = _refused(path, tiny_runs.config())
    assert re.match(f"workdir='{path}' .*Not a directory", message)
    assert "--workdir" in message


def test_only_the_first_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    _started(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["plan.json", "cells.jsonl"])
def test_the_directory_of_a_sweep_is_refused_as_workdir(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text("{}")
    message = _refused(tmp_path, tiny_runs.config())
    assert f"workdir='{tmp_path}' holds a sweep" in message


@pytest.mark.parametrize("url", ["gs://bucket/run", "hdfs://a/b", "s3:/bucket/run"])
def test_a_url_is_refused_as_workdir(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for open_it in (run_lib.open_run, lambda u: run_lib.begin(u, Config())):
        with pytest.raises(UserError, match=f"{url}.*local"):
            open_it(url)
    assert list(tmp_path.iterdir()) == []


def test_a_tilde_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _started(Path("~/run"))
    assert run_lib.open_run("~/run").workdir == tmp_path / "run"


def _edit(workdir: Path, group: str, field: str, value: Any) -> None:
    path = workdir / "config.json"
    content = json.loads(path.read_text())
    content[group][field] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("group", "field", "value", "words"),
    [
        ("model", "width", "8", "model.width='8' has the wrong type"),
        ("train", "steps", 0, "train.steps=0 is out of range"),
        ("model", "width", 9, "model.width=9, but the run was started with 8"),
        ("optim", "generator_lr", 1.0, "optim.generator_lr=1.0, but"),
    ],
)
def test_a_config_that_was_changed_by_hand_is_refused(
    group: str, field: str, value: Any, words: str, tmp_path: Path
) -> None:
    # Otherwise its checkpoints would be called damaged.
    run = _started(tmp_path)
    before = getattr(getattr(run.config, group), field)
    _edit(tmp_path, group, field, value)
    with pytest.raises(UserError) as caught:
        run_lib.open_run(tmp_path)
    assert words in str(caught.value)
    assert "config.json" in str(caught.value)
    _edit(tmp_path, group, field, before)  # the remedy
    assert run_lib.open_run(tmp_path).config == run.config


def test_a_start_that_lost_its_config_stands_for_no_config(tmp_path: Path) -> None:
    run = _started(tmp_path)
    with run.starts.open("a", encoding="utf-8") as file:
        file.write('{"step": 2}\n')
    assert run_lib.open_run(tmp_path).config == tiny_runs.config()


def test_fields_that_may_change_may_be_changed_by_hand(tmp_path: Path) -> None:
    _started(tmp_path)
    _edit(tmp_path, "evaluation", "seed", 7)
    _edit(tmp_path, "train", "steps", 7)
    assert run_lib.open_run(tmp_path).config.evaluation.seed == 7


def test_a_very_long_value_of_a_damaged_config_is_shortened(tmp_path: Path) -> None:
    _started(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    content["data"]["dataset"] = "9" * 5000
    path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"data\.dataset='9+\.\.\..*set it back"
    ) as error:
        run_lib.open_run(tmp_path)
    assert len(str(error.value)) < 1000
