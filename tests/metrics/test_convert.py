"""The command that makes a safetensors file of the public one."""

import subprocess
import sys

import numpy as np
import pytest
from image_files import put
from inception_recipe import arrays
from torch_files import legacy, state_dict

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_weights
from sagan_jax.metrics import convert


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return put(tmp_path / "a.pth", legacy(state_dict(arrays("64"))))


def test_a_file_is_converted_to_where_one_says(source, tmp_path, capsys):
    out = tmp_path / "new" / "b.safetensors"
    convert.main([source, str(out)])
    assert capsys.readouterr().out == (
        f"wrote {out}: weights of unknown origin, taps 64\n"
    )
    found = inception_weights.load(out)
    for name, array in arrays("64").items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert found.origin == inception_weights.load(source).origin != ""


def test_the_public_file_goes_where_it_is_looked_for(source, monkeypatch, capsys):
    monkeypatch.setattr(
        inception_weights, "SHA256", inception_weights.load(source).origin
    )
    monkeypatch.setattr(
        inception_weights.inception_layers, "TAPS", ("64",)
    )  # this part is the whole
    convert.main([source])
    place = inception_weights.cache_dir() / inception_weights.CONVERTED
    assert capsys.readouterr().out == f"wrote {place}: the public weights, taps 64\n"
    assert inception_weights.load().is_public


def test_another_file_does_not_take_its_place(source):
    with pytest.raises(UserError, match=r"so it cannot take its place; name an OUT"):
        convert.main([source])
    assert not inception_weights.cache_dir().exists()


def test_an_ending_that_would_mislead_is_refused(source, tmp_path):
    with pytest.raises(UserError, match=r"^out='.*/b.pth' would be taken for another"):
        convert.main([source, str(tmp_path / "b.pth")])
    assert not (tmp_path / "b.pth").exists()


def test_a_bad_file_ends_with_one_sentence_and_neither_torch_nor_jax(tmp_path):
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
    assert done.stderr == (
        f"error: weights='{path}' cannot be read as a file of torch.save (it is of "
        "another kind); copy or download it again.\n"
    )
