"""The command that converts weights, and the run that it writes."""

import json
import subprocess
import sys
from pathlib import Path

import foreign_files
import numpy as np
import pytest
import tiny_gan
from foreign_files import saved
from image_files import put

import sagan_jax
from sagan_jax.errors import UserError
from sagan_jax.interop import __main__ as command_line
from sagan_jax.interop import convert
from sagan_jax.workdir import run as run_lib


def _files(folder: Path, style: str = "biggan") -> list[str]:
    _, _, *tensors = foreign_files.made(style)
    names = ("G.pth", "D.pth")
    return [
        put(folder / name, saved(file))
        for name, file in zip(names, tensors, strict=True)
    ]


def test_a_run_is_written_that_opens_as_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables, other, *_ = foreign_files.made("biggan")
    workdir = tmp_path / "run"
    convert.main([*_files(tmp_path), "--to", str(workdir), "--batch_norm_eps", "0.01"])
    assert capsys.readouterr().out == f"wrote {workdir}: 32 pixels, 3 classes\n"
    generator, found, config = sagan_jax.load(workdir)
    for part in ("params", "batch_stats", "spectral"):
        tiny_gan.assert_same_bits(
            variables[part], {k: _arrays(v) for k, v in found[part].items()}
        )
    assert generator.batch_norm_eps == config.model.batch_norm_eps == 0.01
    _, found, step = run_lib.open_run(workdir).load_discriminator()
    assert step == 0
    tiny_gan.assert_same_bits(other["params"], _arrays(found["params"]))
    start = json.loads((workdir / "starts.jsonl").read_text())
    assert start["command"].startswith("python -m sagan_jax.interop convert")


def _arrays(tree: object) -> object:
    if isinstance(tree, dict):
        return {name: _arrays(value) for name, value in tree.items()}
    return np.asarray(tree)


def test_notes_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = _files(tmp_path, "mmgeneration")
    convert.main([*files, "--to", str(tmp_path / "run")])
    notes = capsys.readouterr().out.splitlines()[1:]
    assert len(notes) == 3
    assert all(note.startswith("note: ") for note in notes)


def test_a_run_that_is_there_is_left_alone(tmp_path: Path) -> None:
    files = _files(tmp_path)
    convert.main([*files, "--to", str(tmp_path / "run")])
    with pytest.raises(UserError, match=r"^to='.*run' holds checkpoints already"):
        convert.main([*files, "--to", str(tmp_path / "run")])


def test_a_workdir_needs_a_generator(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^to='.*run' needs a generator"):
        convert.main([_files(tmp_path)[1], "--to", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_generator_alone_gets_a_new_discriminator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    with tiny_gan.quick_compiles():
        convert.main([_files(tmp_path)[0], "--to", str(workdir)])
    assert "The discriminator is a new one" in capsys.readouterr().out
    discriminator, found, _ = run_lib.open_run(workdir).load_discriminator()
    assert discriminator.attention_resolutions == (16,)
    assert float(np.ptp(found["params"]["block1"]["conv1"]["kernel"])) > 0
    assert float(np.ptp(found["params"]["dense"]["bias"])) == 0


def test_a_failure_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path / "a.pth", b"nothing of torch")
    assert command_line.main(["convert", path, "--to", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: weights=")
    assert error.count("\n") == 1


def test_the_command_is_found_by_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sagan_jax.interop", "convert", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--class_scales" in done.stdout
