"""The command that compares two sets of images: scores, JSON line, and errors."""

import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from image_files import FORMS, pack, put, write
from inception_recipe import arrays

from sagan_jax.extractors import inception_weights
from sagan_jax.extractors.encoders import ENCODERS
from sagan_jax.extractors.features import Extractor
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics import evaluate, fid, intra_fid, kid, mind, plan
from sagan_jax.metrics.protocols import PROTOCOLS
from sagan_jax.metrics.statistics import Provenance, Statistics
from sagan_jax.metrics.statistics_files import load, save

COUNTS = {"real": 12, "fake": 9}
NAMES = ("cat", "dog")


@functools.cache
def first_layers():
    return Weights(arrays("64"), origin="a" * 64)


@functools.cache
def cached_extractor(digest, taps, pipeline, batch_size):
    assert digest == first_layers().digest
    return Extractor(first_layers(), taps, pipeline=pipeline, batch_size=batch_size)


@pytest.fixture(autouse=True)
def compile_once(monkeypatch):
    def extractor(weights, taps, *, pipeline, batch_size):
        return cached_extractor(weights.digest, tuple(taps), pipeline, batch_size)

    inception = dataclasses.replace(ENCODERS["inception"], make=extractor)
    monkeypatch.setitem(ENCODERS, "inception", inception)


@functools.cache
def images(side):
    rng = np.random.default_rng(COUNTS[side])
    levels = rng.integers(0, 256, (COUNTS[side], 2, 2, 3), np.uint8)
    return levels.repeat(4, axis=1).repeat(3, axis=2)


def labels(side):
    return np.arange(COUNTS[side]) % 2


@functools.cache
def features(side):
    return cached_extractor(first_layers().digest, ("64",), "tf", 1)(images(side))["64"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with weights, and both sets as folders, zips and arrays."""
    root = tmp_path_factory.mktemp("sets")
    inception_weights.save(first_layers(), root / "w.safetensors")
    for side in COUNTS:
        for index, image in enumerate(images(side)):
            # Sorted names have the order of the arrays.
            name = f"{index:02}/{NAMES[index % 2]}.png"
            write(root / side / name, image)
            write(root / f"{side}_classes" / NAMES[index % 2] / f"{index}.png", image)
        pack(root / side, "zip")
        np.savez(root / f"{side}.npz", images=images(side), labels=labels(side))
    return root


def run(capsys, place, *arguments):
    """Returns the exit code, and what was printed to stdout and stderr."""
    given = [str(argument) for argument in arguments]
    given += ["--weights", str(place / "w.safetensors")] * ("--weights" not in given)
    code = evaluate.main([*given, "--batch_size", "1"])
    return code, *capsys.readouterr()


def line_of(capsys, place, *arguments):
    code, out, err = run(capsys, place, *arguments)
    assert code == 0, err
    return json.loads(out.splitlines()[-1])


def test_scores_match_those_of_the_features(capsys, place):
    line = line_of(capsys, place, place / "real.npz", place / "fake.npz")
    real, fake = features("real"), features("fake")
    # Other batches change the last bits of features, and small differences more.
    np.testing.assert_allclose(line["FD-64"], fid.frechet_distance(real, fake), 1e-6)
    expected = kid.kernel_distance(real, fake, subset_size=9)
    np.testing.assert_allclose([line["KD-64"], line["KD-64_std"]], expected, 1e-5)
    assert line["KD-64_subset"] == 9
    assert {"precision", "recall", "density", "coverage"} <= line.keys()
    assert line["left_out"] == {
        "is": "needs logits_unbiased, which the weights do not cover"
    }


def test_a_line_records_what_its_scores_depend_on(capsys, place):
    line = line_of(capsys, place, place / "real.npz", place / "fake.npz")
    expected = {
        "protocol": "torch-fidelity",
        "protocol_differs": "9 images instead of 50000",
        "real": str(place / "real.npz"),
        "real_images": 12,
        "fake": str(place / "fake.npz"),
        "fake_images": 9,
        "images": "RGB, not cropped, uint8",
        "metrics": ["fid", "kid", "precision_recall", "density_coverage"],
        "encoder": "inception",
        "features": 64,
        "tap": "64",
        "pipeline": "tf",
        "weights": first_layers().digest,
        "weights_origin": "a" * 64,
        "weights_public": False,
        "network_precision": "highest",
        "batch_size": 1,
        "devices": 8,
    }
    assert expected.items() <= line.items()
    assert line["packages"].keys() >= {"jax", "jaxlib", "flax", "numpy", "pillow"}
    assert {"sagan_jax", "python", "platform", "backend", "device"} <= line.keys()
    assert line["real_pixels"] != line["fake_pixels"]


def test_monge_distances_and_other_kernels_are_named_and_explained(capsys, place):
    sets = [place / "real.npz", place / "fake.npz"]
    line = line_of(capsys, place, *sets, "--metrics=mind,kid", "--kid_kernel=rbf")
    real, fake = features("real"), features("fake")
    expected = mind.drawn_distance(real, fake)
    np.testing.assert_allclose(line["MIND-64"], expected, rtol=1e-5)
    floor, half = mind.floor_distance(real, 9)
    np.testing.assert_allclose(line["MIND-64_floor"], floor, rtol=1e-5)
    assert (line["MIND-64_images"], line["MIND-64_floor_images"]) == (9, half) == (9, 6)
    assert (line["mind_directions"], line["mind_seed"]) == (1000, 2020)
    expected = kid.kernel_distance(real, fake, subset_size=9, kernel="rbf")
    found = [line["KD-64_rbf"], line["KD-64_rbf_std"]]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-9)
    assert (line["kid_kernel"], line["kid_kernel_sigma"]) == ("rbf", 10)
    assert "KD-64" not in line


def test_a_protocol_by_pillow_is_named_and_gives_other_numbers(capsys, place):
    sets = [place / "real.npz", place / "fake.npz", "--metrics=fid"]
    line = line_of(capsys, place, *sets, "--protocol=mmgen-like")
    assert (line["protocol"], line["pipeline"]) == ("mmgen-like", "pil_bicubic")
    known, count = line["protocol_differs"].rsplit("; ", 1)
    assert known == PROTOCOLS["mmgen-like"].differs
    assert count == "9 images instead of 50000"
    usual = fid.frechet_distance(features("real"), features("fake"))
    assert line["FD-64"] != pytest.approx(usual, rel=1e-2)


def test_folder_zip_and_npz_give_the_same_scores(capsys, place):
    lines = [
        line_of(capsys, place, *(place / f"{side}{form}" for side in COUNTS))
        for form in ("", ".zip", ".npz")
    ]
    for name in ("FD-64", "KD-64", "coverage", "real_pixels", "fake_pixels"):
        assert len({line[name] for line in lines}) == 1, name


def test_the_line_is_appended_and_the_table_readable(capsys, place, tmp_path):
    out = tmp_path / "results.jsonl"
    out.write_text('{"an": "older line"}\n')
    _, printed, _ = run(
        capsys, place, place / "real", place / "fake.npz", "--json", out
    )
    *table, empty, line = printed.splitlines()
    assert out.read_text() == f'{{"an": "older line"}}\n{line}\n'
    assert empty == ""
    assert table[0].split() == ["REAL", str(place / "real"), "12", "images"]
    assert f"{json.loads(line)['FD-64']:.6g}" in printed
    assert table[-1].startswith("note: with 9 images and 64 features")
    assert "bias" in table[-1]


def test_jpegs_are_noted(capsys, place, tmp_path):
    for index, image in enumerate(images("fake")):
        write(tmp_path / f"{index}.jpg", image)
    _, out, _ = run(capsys, place, place / "real", tmp_path)
    assert "note: 9 of 9 images of FAKE are JPEGs" in out


@pytest.mark.parametrize("form", FORMS)
def test_intra_fid_matches_classes_by_name(capsys, place, form):
    real, fake = (pack(place / f"{side}_classes", form) for side in COUNTS)
    line = line_of(capsys, place, real, fake, "--metrics", "intra_fid")
    expected = intra_fid.intra_frechet_distance(
        features("real"), labels("real"), features("fake"), labels("fake")
    )
    assert list(line["intra-FD-64_classes"]) == ["cat", "dog"]
    for label, name in enumerate(NAMES):
        found = line["intra-FD-64_classes"][name]
        assert (found["real"], found["fake"]) == (6, [5, 4][label])
        np.testing.assert_allclose(
            found["distance"], expected.classes[label].distance, 1e-6
        )
    np.testing.assert_allclose(line["intra-FD-64"], expected.mean, rtol=1e-6)


def test_labels_of_arrays_match_folders_with_these_names(capsys, place, tmp_path):
    for index, image in enumerate(images("real")):
        write(tmp_path / str(index % 2) / f"{index:02}.png", image)
    lines = [
        line_of(capsys, place, real, place / "fake.npz", "--metrics", "intra_fid")
        for real in (tmp_path, place / "real.npz")
    ]
    assert lines[0]["intra-FD-64"] == pytest.approx(lines[1]["intra-FD-64"], rel=1e-9)


def test_saved_statistics_replace_the_images(capsys, place, tmp_path):
    path = tmp_path / "real.npz"
    sets = [place / "real", place / "fake"]
    whole = line_of(capsys, place, *sets, "--save_statistics", path)
    again = line_of(capsys, place, path, place / "fake", "--metrics", "fid")
    # The covariances of 12 images are singular, which amplifies rounding.
    assert again["FD-64"] == pytest.approx(whole["FD-64"], rel=1e-7)
    assert (again["real_images"], again["real_assumed_alike"]) == (12, False)
    with np.load(path) as file:
        np.testing.assert_allclose(file["mu"], features("real").mean(0), rtol=1e-6)
        assert file["sigma"].shape == (64, 64)
    assert load(path).provenance == Provenance(
        data_set="real",
        split="",
        preprocessing="RGB, not cropped, uint8",
        pipeline="tf",
        tap="64",
        weights=first_layers().digest,
    )


def test_statistics_without_provenance_need_assume_alike(capsys, place, tmp_path):
    moments = Statistics.of(features("real"))
    np.savez(tmp_path / "s.npz", mu=moments.mean, sigma=moments.cov)
    arguments = [tmp_path / "s.npz", place / "fake", "--metrics", "fid"]
    code, out, err = run(capsys, place, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: REAL='{tmp_path}/s.npz' does not record")
    for part in ("--assume_alike", "pipeline 'tf'", "tap '64'", "same weights"):
        assert part in err
    line = line_of(capsys, place, *arguments, "--assume_alike")
    expected = fid.frechet_distance(features("real"), features("fake"))
    assert line["FD-64"] == pytest.approx(expected, rel=1e-6)
    assert (line["real_assumed_alike"], line["real_images"]) == (True, None)


def test_a_set_is_named_by_its_folder(monkeypatch, tmp_path):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    assert plan.name_of(".") == plan.name_of(f"{tmp_path}/photos/") == "photos"


def test_metrics_that_statistics_do_not_allow_are_left_out_and_reported(
    capsys, place, tmp_path
):
    made = Provenance("a", "", "b", "tf", "64", first_layers().digest)
    save(tmp_path / "s.npz", Statistics.of(features("real"), made))
    line = line_of(capsys, place, tmp_path / "s.npz", place / "fake")
    assert line["metrics"] == ["fid"]
    why = "needs each real image, but REAL holds only statistics"
    assert line["left_out"]["kid"] == why
    *_, row = [row for row in evaluate.table(line).splitlines() if " kid " in row]
    assert row.split(maxsplit=3) == ["left", "out", "kid", why]


# Errors: one sentence, exit code 1, and nothing on stdout.


def statistics(path, **changes):
    given = {"pipeline": "tf", "tap": "64", "weights": first_layers().digest}
    made = Provenance("a", "", "b", **(given | changes))
    save(path, Statistics.of(features("real"), made))
    return path


def floats(path, value):
    np.savez(path, images=np.full((2, 4, 4, 3), value, np.float32))
    return path


def few(path, count):
    np.savez(path, images=images("real")[:count])
    return path


def unreadable(path):
    write(path / "a.png", images("real")[0])
    put(path / "b.png", b"hello")
    return path


def classes(path, names):
    for index, name in enumerate(names):
        write(path / name / f"{index}.png", images("real")[0])
    return path


def damaged_statistics(path):
    np.savez(path, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    return path


def cut(path, place):
    content = (place / "w.safetensors").read_bytes()
    return put(path, content[: len(content) // 2])


# By case: the arguments, and what the message contains, in this order.
CASES = {
    "no such set": (lambda p, _: [p / "no", p], ["REAL='{p}/no'", "not exist"]),
    "empty folder": (lambda p, _: [p, p], ["REAL='{p}'", "no images ("]),
    "unreadable image": (
        lambda p, s: [unreadable(p), s / "fake"],
        ["REAL: '{p}/b.png'", "its format is not known", "remove it"],
    ),
    "NaN": (
        lambda p, s: [s / "real", floats(p / "a.npz", np.nan)],
        ["FAKE='{p}/a.npz'", "images of dtype float32 hold NaN; "],
    ),
    "out of range": (
        lambda p, s: [s / "real", floats(p / "a.npz", 7)],
        ["FAKE='{p}/a.npz'", "float32 range from 7 to 7, beyond [-1, 1]; "],
    ),
    "too few": (
        lambda p, s: [s / "real", few(p / "a.npz", 1)],
        ["metrics: 'fid' needs at least 2 images", "FAKE holds 1; ", "--metrics"],
    ),
    "too few for what was asked": (
        lambda p, s: [few(p / "a.npz", 6), s / "fake", "--metrics=density_coverage"],
        ["metrics: 'density_coverage' needs at least 7 images", "REAL holds 6; "],
    ),
    "class without reference": (
        lambda p, s: [s / "real_classes", classes(p, "xy"), "--metrics=intra_fid"],
        ["class 'x' has 1 generated images but no real", "add", "remove it"],
    ),
    "class without fakes": (
        lambda p, s: [
            s / "real_classes",
            classes(p, ["cat"] * 2),
            "--metrics=intra_fid",
        ],
        ["class 'dog' has 6 real and 0 generated images", "4 and 2", "remove it"],
    ),
    "no classes": (
        lambda p, s: [
            s / "real_classes",
            few(p / "a.npz", 9),
            "--metrics=fid,intra_fid",
        ],
        ["FAKE='{p}/a.npz' holds no array 'labels'", "intra_fid"],
    ),
    "no weights": (
        lambda p, s: [s / "real", s / "fake", "--weights", p / "w.pth"],
        ["weights='{p}/w.pth' does not exist; "],
    ),
    "wrong weights": (
        lambda p, s: [
            s / "real",
            s / "fake",
            "--weights",
            put(p / "w.safetensors", b"hello"),
        ],
        ["weights='{p}/w.safetensors' is not a readable safetensors file ("],
    ),
    "cut weights": (
        lambda p, s: [
            s / "real",
            s / "fake",
            "--weights",
            cut(p / "w.safetensors", s),
        ],
        ["weights='{p}/w.safetensors' is not a readable safetensors file ("],
    ),
    "statistics of another pipeline": (
        lambda p, s: [statistics(p / "a.npz", pipeline="pytorch"), s / "fake"],
        ["pipeline='pytorch' of the real", "pipeline='tf' of the generated"],
    ),
    "statistics by other weights": (
        lambda p, s: [statistics(p / "a.npz", weights="other"), s / "fake"],
        ["weights='other' of the real", "of the generated"],
    ),
    "statistics with kid": (
        lambda p, s: [statistics(p / "a.npz"), s / "fake", "--metrics=fid,kid"],
        ["metrics: 'kid' needs each real image", "REAL holds only statistics; "],
    ),
    "statistics of fakes": (
        lambda p, s: [s / "real", statistics(p / "a.npz")],
        ["FAKE='{p}/a.npz' holds statistics", "REAL"],
    ),
    "statistics of statistics": (
        lambda p, s: [
            statistics(p / "a.npz"),
            s / "fake",
            "--save_statistics",
            p / "b.npz",
        ],
        ["REAL='{p}/a.npz'", "holds statistics; drop --save_statistics"],
    ),
    "damaged statistics": (
        lambda p, s: [damaged_statistics(p / "a.npz"), s / "fake"],
        ["REAL='{p}/a.npz'", "recreate"],
    ),
    "corrupt npz": (
        lambda p, s: [put(p / "a.npz", b"PK\x03\x04 no more"), s / "fake"],
        ["REAL='{p}/a.npz' is not a readable .npz file (File is not a zip file); "],
    ),
    "unknown metric": (
        lambda p, s: [s / "real", s / "fake", "--metrics=fid,lpips"],
        ["metrics: 'lpips' is not known; choose among fid, is, "],
    ),
    "unknown kernel": (
        lambda p, s: [s / "real", s / "fake", "--metrics=kid", "--kid_kernel=gauss"],
        ["kid_kernel='gauss' is not known; choose among poly, rbf"],
    ),
    "statistics with mind": (
        lambda p, s: [statistics(p / "a.npz"), s / "fake", "--metrics=mind"],
        ["metrics: 'mind' needs each real image", "REAL holds only statistics; "],
    ),
    "unknown protocol": (
        lambda p, s: [s / "real", s / "fake", "--protocol=clean"],
        ["protocol='clean' is not known; choose among torch-fidelity, "],
    ),
    "unknown tap": (
        lambda p, s: [s / "real", s / "fake", "--tap=2047"],
        ["tap='2047' is not known; choose among 64, 192, 768, 1280, 2048, logits_un"],
    ),
    "uncovered tap": (
        lambda p, s: [s / "real", s / "fake", "--tap=2048"],
        ["tap='2048'", "cover 64; ", "complete weights"],
    ),
    "uncovered logits": (
        lambda p, s: [s / "real", s / "fake", "--metrics=is"],
        ["metrics: 'is' needs logits_unbiased", "weights"],
    ),
    "nowhere to write": (
        lambda p, s: [s / "real", s / "fake", "--json", p / "no" / "a.jsonl"],
        ["json='{p}/no/a.jsonl' is not writable; choose"],
    ),
    "no name for statistics": (
        lambda p, s: [s / "real", s / "fake", "--save_statistics", p / "a.txt"],
        ["save_statistics='{p}/a.txt'", ".npz"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_input_gives_one_sentence(capsys, place, tmp_path, case):
    arguments, parts = CASES[case]
    code, out, err = run(capsys, place, *arguments(tmp_path, place))
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("error: " + parts[0].format(p=tmp_path))
    for part in parts:
        _, found, last = last.partition(part.format(p=tmp_path))
        assert found, (part, err)
    assert err.endswith(".\n")
    assert "Traceback" not in err


def test_a_negative_batch_size_is_refused(capsys):
    assert evaluate.main(["a", "b", "--batch_size", "-1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: batch_size=-1 is negative; ")
    assert "default" in error


def test_the_module_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "sagan_jax.metrics.evaluate", "no/such", "folder"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: REAL='no/such' does not exist; pass a folder")


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\n\x1b[31mb"])
def test_any_name_of_real_and_fake_is_printed_after_the_work(
    capsys, place, tmp_path, name
):
    sets = []
    for side in COUNTS:
        sets.append(tmp_path / os.fsdecode(side.encode() + name))
        shutil.copytree(place / f"{side}_classes", sets[-1])
    code, out, err = run(capsys, place, *sets, "--metrics=fid")
    assert (code, "\x1b" in out + err) == (0, False)
    rows = out.splitlines()
    assert rows[0].split("  ")[:3] == [
        "REAL",
        " " + ascii(str(sets[0]))[1:-1],
        "12 images",
    ]
    assert json.loads(rows[-1])["real"] == str(sets[0])
