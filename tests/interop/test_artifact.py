"""An exported generator, run in a process that knows nothing of this library."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import foreign_files
import jax
import numpy as np
import pytest
import tiny_gan
from foreign_files import model, random_variables
from image_files import put
from jax import export as jax_export

from sagan_jax import networks
from sagan_jax.errors import UserError
from sagan_jax.interop import artifact, convert, export

# As docs/weights.md has it, and a look at what was imported.
PROGRAM = """
import sys
import jax, numpy as np
from jax import export
jax.config.update("jax_disable_most_optimizations", True)  # compiles faster

with open(sys.argv[1], "rb") as file:
    sample = export.deserialize(bytearray(file.read())).call
inputs = np.load(sys.argv[2])
np.save(sys.argv[3], sample(*(inputs[name] for name in inputs.files)))
known = {name.partition(".")[0] for name in sys.modules}
assert not known & {"sagan_jax", "flax", "optax", "orbax"}, known
"""


WIDTHS = {"width": 2, "discriminator_width": 8}  # channels of attention: 8


def _sampled_elsewhere(folder: Path, program: bytes, **inputs: Any) -> np.ndarray:
    (folder / "program").write_bytes(program)
    np.savez(folder / "inputs.npz", **inputs)
    paths = [str(folder / name) for name in ("program", "inputs.npz", "images.npy")]
    # Not in the root of this repository, where the package could be imported.
    subprocess.run([sys.executable, "-c", PROGRAM, *paths], cwd=folder, check=True)
    return np.load(folder / "images.npy")


def test_a_process_without_this_library_draws_the_same_images(tmp_path: Path) -> None:
    generator, _ = networks.build(model("studiogan", **WIDTHS))
    variables = random_variables(generator)
    z = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
    labels = np.array([0, 2, 1], np.int32)
    program = artifact.make(generator, variables)
    found = _sampled_elsewhere(tmp_path, program, z=z, labels=labels)
    with tiny_gan.quick_compiles():
        images = jax.jit(generator.apply)(variables, z, labels)
    np.testing.assert_allclose(found, images, rtol=0, atol=1e-5)
    assert found.std() > 0.1


@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_program_is_for_all_platforms_and_any_number_of_images(
    num_classes: int,
) -> None:
    fields = WIDTHS | {"num_classes": num_classes, "convolutions": "plain"}
    generator, _ = networks.build(model("biggan", **fields))
    program = artifact.make(generator, random_variables(generator))
    exported = jax_export.deserialize(bytearray(program))
    assert exported.platforms == ("cpu", "cuda", "tpu")
    shapes = [str(each.shape) for each in exported.in_avals]
    assert shapes == ["(n, 5)", "(n,)"][: 2 if num_classes else 1]
    assert str(exported.out_avals[0].shape) == "(n, 32, 32, 3)"


def test_the_command_writes_the_generator_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, *tensors = foreign_files.made("biggan", **WIDTHS)
    files = [
        put(tmp_path / f"{i}.pth", foreign_files.saved(t))
        for i, t in enumerate(tensors)
    ]
    convert.main([*files, "--to", str(tmp_path / "run")])
    to = tmp_path / "program"
    capsys.readouterr()
    export.main([str(tmp_path / "run"), "--to", str(to)])
    assert capsys.readouterr().out == (
        f"wrote {to}: {to.stat().st_size:,} bytes, step 0\n"
        "takes z [n, 5], labels [n] int32; returns images [n, 32, 32, 3] in [-1, 1]\n"
    )
    exported = jax_export.deserialize(bytearray(to.read_bytes()))
    assert exported.in_avals[0].shape[1] == 5


def test_a_place_that_cannot_be_written_is_named_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^to='.*' cannot be written"):
        export.main(["gone", "--to", str(tmp_path)])
