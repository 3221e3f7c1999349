"""The command that converts the public weights to safetensors."""

import subprocess
import sys

import encoder_recipe
import numpy as np
import pytest
import safetensors.numpy
from image_files import put
from inception_recipe import arrays
from torch_files import legacy, state_dict

from sagan_jax.errors import UserError
from sagan_jax.extractors import dinov2_layers, dinov2_weights, inception_weights
from sagan_jax.metrics import convert


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return put(tmp_path / "a.pth", legacy(state_dict(arrays("64"))))


def test_a_file_is_converted_to_the_given_location(source, tmp_path, capsys):
    out = tmp_path / "new" / "b.safetensors"
    convert.main([source, str(out)])
    assert capsys.readouterr().out == (
        f"wrote {out}: weights of unknown origin, taps 64\n"
    )
    found = inception_weights.load(out)
    for name, array in arrays("64").items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert found.origin == inception_weights.load(source).origin != ""


def test_the_public_file_goes_to_the_cache_directory(source, monkeypatch, capsys):
    monkeypatch.setattr(
        inception_weights, "SHA256", inception_weights.load(source).origin
    )
    monkeypatch.setattr(
        inception_weights.inception_layers, "TAPS", ("64",)
    )  # the first layers count as the whole network
    convert.main([source])
    place = inception_weights.converted_file()
    assert capsys.readouterr().out == f"wrote {place}: the public weights, taps 64\n"
    assert inception_weights.load().is_public


def test_another_file_is_not_stored_as_the_public_one(source):
    with pytest.raises(UserError, match=r"not the public file .*pass OUT\.safetensors"):
        convert.main([source])
    assert not inception_weights.converted_file().parent.exists()


def test_another_suffix_is_refused(source, tmp_path):
    with pytest.raises(UserError, match=r"^out='.*/b.pth' .*end in \.safetensors"):
        convert.main([source, str(tmp_path / "b.pth")])
    assert not (tmp_path / "b.pth").exists()


def test_a_damaged_file_gives_one_sentence_without_importing_torch_or_jax(tmp_path):
    path = put(tmp_path / "a.pth", b"hello")
    program = (
        "import runpy, sys\n"
        f"sys.argv[1:] = [{path!r}]\n"
        "try:\n"
        "    runpy.run_module('sagan_jax.metrics.convert', run_name='__main__')\n"
        "finally:\n"
        "    print([name for name in ('torch', 'jax') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "[]\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: weights='{path}' ")
    assert "torch.save" in line


def test_weights_of_dinov2_are_converted(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(dinov2_layers.SIZES, "dinov2-s", encoder_recipe.TINY)
    source = put(
        tmp_path / "a.safetensors",
        safetensors.numpy.save(
            encoder_recipe.in_transformers_layout(encoder_recipe.arrays())
        ),
    )
    out = tmp_path / "b.safetensors"
    convert.main([source, str(out), "--encoder", "dinov2-s"])
    said = f"wrote {out}: weights of unknown origin, taps class_token\n"
    assert capsys.readouterr().out == said
    digests = {dinov2_weights.read("dinov2-s", p).digest for p in (source, out)}
    assert len(digests) == 1
    with pytest.raises(
        UserError, match=r"is not the public file .*pass OUT\.safetensors"
    ):
        convert.main([source, "--encoder", "dinov2-s"])
