"""The command that compares two folders, by each kind of encoder.

Networks are tiny: the table of sizes is changed, and with it the encoders.
"""

import json
import sys

import encoder_recipe
import jax
import numpy as np
import pytest
import safetensors.numpy
from image_files import put, write
from inception_recipe import arrays as inception_arrays

from sagan_jax.extractors import (
    dinov2_layers,
    dinov2_weights,
    encoders,
    inception_weights,
)
from sagan_jax.extractors.dinov2_features import DINOv2Extractor
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics import evaluate, fid, kid, prdc
from sagan_jax.metrics.statistics import Provenance
from sagan_jax.metrics.statistics_files import load

NAME = "dinov2-s"
MODULE = "encoder_of_the_command_test"
SOURCE = """
import numpy as np

def quarters(images):
    n = len(images)
    rows = images.reshape(n, 2, images.shape[1] // 2, 2, images.shape[2] // 2, 3)
    return rows.mean(axis=(2, 4)).reshape(n, 12)

def broken(images):
    return np.full((len(images), 12), np.nan)
"""


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dinov2_layers.SIZES, NAME, encoder_recipe.TINY)
        patch.setitem(encoders.ENCODERS, NAME, encoders._of_dinov2(NAME))
        # Compiled once; each call of the command makes an extractor.
        made = {}

        def extractor(weights, taps, *, pipeline, batch_size):
            key = weights.digest, pipeline, batch_size
            if key not in made:
                made[key] = DINOv2Extractor(
                    weights,
                    taps,
                    pipeline=pipeline,
                    batch_size=batch_size,
                    devices=jax.devices()[:1],
                )
            return made[key]

        patch.setattr(encoders.dinov2_features, "DINOv2Extractor", extractor)
        patch.setitem(encoders.ENCODERS, NAME, encoders._of_dinov2(NAME))
        yield


def images(side):
    rng = np.random.default_rng({"real": 1, "fake": 2}[side])
    levels = rng.integers(0, 256, (8, 4, 4, 3), np.uint8)
    return levels.repeat(10, axis=1).repeat(10, axis=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    for side in ("real", "fake"):
        for index, image in enumerate(images(side)):
            write(root / side / f"{index}.png", image)
    content = safetensors.numpy.save(encoder_recipe.arrays())
    put(root / "dinov2.safetensors", content)
    first = Weights(inception_arrays("64"))
    inception_weights.save(first, root / "inception.safetensors")
    (root / f"{MODULE}.py").write_text(SOURCE)
    return root


@pytest.fixture(autouse=True)
def in_its_folder(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    sys.modules.pop(MODULE, None)


def run(capsys, *arguments):
    code = evaluate.main([*arguments, "--batch_size", "1"])
    return code, *capsys.readouterr()


def line_of(capsys, *arguments):
    code, out, err = run(capsys, "real", "fake", *arguments)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


DINO = ("--encoder", NAME, "--weights", "dinov2.safetensors")


@pytest.mark.parametrize("pipeline", ["pil_bicubic", "torch_bicubic"])
def test_two_folders_by_dinov2(capsys, place, pipeline):
    line = line_of(capsys, *DINO, "--pipeline", pipeline)
    weights = dinov2_weights.read(NAME, place / "dinov2.safetensors")
    extract = encoders.encoder_of(NAME).make(
        weights, ["class_token"], pipeline=pipeline, batch_size=1
    )
    real, fake = (extract(images(side))["class_token"] for side in ("real", "fake"))
    expected = {
        "FD-DINOv2-S": fid.frechet_distance(real, fake),
        "KD-DINOv2-S": kid.kernel_distance(real, fake, subset_size=8)[0],
    }
    names = ("precision-DINOv2-S", "recall-DINOv2-S")
    expected |= zip(names, prdc.precision_recall(real, fake)[:2], strict=True)
    names = ("density-DINOv2-S", "coverage-DINOv2-S")
    expected |= zip(names, prdc.density_coverage(real, fake), strict=True)
    for name, value in expected.items():
        assert line[name] == pytest.approx(value, rel=1e-9), name
    assert not {"FID", "KID", "precision", "recall", "density", "coverage"} & {*line}
    made = {
        "encoder": NAME,
        "pipeline": pipeline,
        "tap": "class_token",
        "features": 48,
        "weights": weights.digest,
        "weights_public": False,
    }
    assert made.items() <= line.items()
    assert line["left_out"].keys() == {"is"}
    differs = f"pipeline {pipeline} instead of tf1_bilinear; 8 images instead of 50000"
    assert line["protocol_differs"] == differs


def test_two_folders_by_a_function(capsys):
    line = line_of(capsys, "--encoder", f"{MODULE}:quarters", "--metrics", "fid,kid")
    real, fake = (
        images(side).reshape(8, 2, 20, 2, 20, 3).mean(axis=(2, 4)).reshape(8, 12)
        for side in ("real", "fake")
    )
    found = line[f"FD-{MODULE}:quarters"]
    expected = fid.frechet_distance(np.float32(real), np.float32(fake))
    assert found == pytest.approx(expected, rel=1e-9)
    assert f"KD-{MODULE}:quarters_std" in line
    assert (line["pipeline"], line["features"]) == ("none", 12)


def test_statistics_record_the_encoder_and_compare_with_their_like(capsys, tmp_path):
    path = str(tmp_path / "s.npz")
    whole = line_of(capsys, *DINO, "--metrics", "fid", "--save_statistics", path)
    assert load(path).provenance == Provenance(
        data_set="real",
        split="",
        preprocessing="RGB, not cropped, uint8",
        pipeline="pil_bicubic",
        tap="class_token",
        weights=whole["weights"],
        encoder=NAME,
    )
    code, out, _ = run(capsys, path, "fake", *DINO, "--metrics", "fid")
    assert code == 0
    found = json.loads(out.splitlines()[-1])["FD-DINOv2-S"]
    assert found == pytest.approx(whole["FD-DINOv2-S"], rel=1e-6)
    # Unlike sets are refused.
    for options, said in (
        (
            (*DINO, "--pipeline", "torch_bicubic"),
            "pipeline='pil_bicubic' of the real images differs from "
            "pipeline='torch_bicubic' of",
        ),
        (
            ("--weights", "inception.safetensors"),
            "encoder='dinov2-s' of the real images differs from encoder='inception' of",
        ),
        (
            ("--encoder", f"{MODULE}:quarters"),
            "encoder='dinov2-s' of the real images differs from encoder=",
        ),
    ):
        code, out, err = run(capsys, path, "fake", *options, "--metrics", "fid")
        assert (code, out) == (1, "")
        assert err.splitlines()[-1].startswith(f"error: {said}")


def test_the_table_names_encoder_and_pipeline(capsys):
    code, out, _ = run(capsys, "real", "fake", *DINO, "--metrics", "fid")
    assert code == 0
    assert "torch-fidelity, encoder dinov2-s, pil_bicubic" in out
    assert "with 8 images and 48 features, distances are mostly bias" in out


CASES = {
    "unknown encoder": (["--encoder", "clip"], "encoder='clip' is not known; choose "),
    "missing weights": (
        ["--encoder", "dinov2-l"],
        "no weights of encoder 'dinov2-l': download https://dl.fbaipublicfiles.com/"
        "dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth (1217586395 bytes) and copy",
    ),
    "weights of another encoder": (
        ["--encoder", NAME, "--weights", "inception.safetensors"],
        "weights='inception.safetensors' are not those of encoder 'dinov2-s' (it holds",
    ),
    "weights of dinov2 for inception": (
        ["--weights", "dinov2.safetensors"],
        "weights='dinov2.safetensors' is not the Inception network of 2015-12-05 (",
    ),
    "weights of another size": (
        ["--encoder", "dinov2-b", "--weights", "dinov2.safetensors"],
        "weights='dinov2.safetensors' are those of encoder 'dinov2-s', not of 'dino",
    ),
    "pipeline of another encoder": (
        ["--pipeline", "pil_bicubic"],
        "pipeline='pil_bicubic' is for other encoders than 'inception'",
    ),
    "unknown pipeline": (
        [*DINO, "--pipeline", "bicubic"],
        "pipeline='bicubic' is not one of encoder 'dinov2-s'; choose among pil_bicubic",
    ),
    "no such tap": (
        [*DINO, "--tap", "2048"],
        "tap='2048' is not known; choose among class_token.",
    ),
    "inception score": (
        [*DINO, "--metrics", "is"],
        "metrics: 'is' needs logits, which encoder 'dinov2-s' does not have",
    ),
    "no such module": (
        ["--encoder", "nowhere:f"],
        "encoder='nowhere:f': module ",
    ),
    "a function that gives NaN": (
        ["--encoder", f"{MODULE}:broken"],
        f"REAL: encoder='{MODULE}:broken', given images (1, 40, 40, 3), returned NaN",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_gives_one_sentence(capsys, case):
    options, start = CASES[case]
    code, out, err = run(capsys, "real", "fake", *options)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"error: {start}"), last
    assert last.endswith(".")
    assert "Traceback" not in err
