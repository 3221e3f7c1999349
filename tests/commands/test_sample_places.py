"""Places where samples may not go, found before anything is read or drawn."""

import errno
import os
import pathlib
from typing import Any
from unittest import mock

import pytest
import tiny_runs

from sagan_jax.commands import sample, sample_places
from sagan_jax.commands.options import KINDS
from sagan_jax.errors import UserError
from sagan_jax.evaluation import generator
from sagan_jax.files import whole
from sagan_jax.workdir.run import Run


@pytest.fixture(autouse=True)
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: Any) -> None:
        raise AssertionError("a checkpoint was read")

    monkeypatch.setattr(generator, "load", load)


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run", tiny_runs.config())


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_the_user_is_not_overwritten(
    kind: str, run: Run, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "mine.png"
    out.write_text("mine")
    with pytest.raises(UserError, match=r"out=.*mine\.png.* exists already.*another"):
        sample.save(run, kind=kind, out=out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_is_not_replaced(kind: str, run: Run) -> None:
    before = os.stat("/dev/null")
    with pytest.raises(UserError, match=r"out='/dev/null' exists already"):
        sample.save(run, kind=kind, out=pathlib.Path("/dev/null"))
    assert os.stat("/dev/null").st_rdev == before.st_rdev


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_leads_nowhere_is_not_replaced(
    kind: str, run: Run, tmp_path: pathlib.Path
) -> None:
    out = tmp_path / "link.png"
    out.symlink_to("nowhere")
    with pytest.raises(UserError, match="exists already"):
        sample.save(run, kind=kind, out=out)
    assert out.is_symlink()


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_that_cannot_be_written_is_refused_first(
    kind: str, run: Run, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"^out='.*/file/x' cannot be written .*another"
    ):
        sample.save(run, kind=kind, out=tmp_path / "file" / "x")


@pytest.mark.parametrize("kind", KINDS)
def test_a_workdir_that_one_may_only_read_is_refused_first(kind: str, run: Run) -> None:
    denied = OSError(errno.EROFS, os.strerror(errno.EROFS))
    with (
        mock.patch.object(whole.tempfile, "TemporaryFile", side_effect=denied),
        pytest.raises(UserError, match=r"^workdir: .*samples.*Read-only file system"),
    ):
        sample.save(run, kind=kind)


@pytest.mark.parametrize("label", [-1, 4])
def test_a_class_that_is_not_there_is_found_first(label: int, run: Run) -> None:
    with pytest.raises(UserError, match=f"labels={label} is out of range.* 0 to 3"):
        sample.save(run, labels=(0, label))


@pytest.mark.parametrize(
    "name", ["photos/new", "photos/cat/a.png", "checkpoints/x.png"]
)
def test_a_place_among_images_or_checkpoints_is_refused(
    name: str, tmp_path: pathlib.Path
) -> None:
    config = tiny_runs.config(data__path=str(tmp_path / "photos"))
    run = Run(tmp_path, config)
    with pytest.raises(UserError, match=r"lies among the files of .* another --out"):
        sample_places.checked_out(run, tmp_path / name, "images")
    sample_places.check_apart(run, tmp_path / "photos.png")


@pytest.mark.parametrize(
    ("fields", "average"),
    [
        ({}, ""),
        ({"ema": False}, "_live"),
        ({"ema_decay": 0.9}, ""),  # that of train.ema_decay
        ({"ema_decay": 0.5}, "_ema0.5"),
        ({"ema": False, "ema_decay": 0.5}, "_live"),
    ],
)
def test_a_name_tells_the_average(fields: dict[str, Any], average: str) -> None:
    config = tiny_runs.config(train__ema_decays=(0.5,))
    for field, value in fields.items():
        setattr(config.evaluation, field, value)
    name = sample_places.name(config, 7)
    assert name == f"sample_00000007_seed1234{average}"
