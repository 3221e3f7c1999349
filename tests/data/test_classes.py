"""Labels: from the dataset.json of StyleGAN's and EDM's tools, and by sub-folder."""

import json

import numpy as np
import pytest
from image_files import (
    DOT,
    FORMS,
    assert_says,
    configure,
    encoded,
    levels,
    pack,
    put,
    sentence,
)
from PIL import Image

from sagan_jax.data import prepare, sources
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.data.survey import survey
from sagan_jax.metrics import image_sets

NAMES = [f"{n // 4:05}/img{n:08}.png" for n in range(12)]
LABELS = [n % 3 for n in range(12)]


def write(root, labels="pairs", top=""):
    """Twelve images in three chunks, of the level 20 * number."""
    for number, name in enumerate(NAMES):
        image = Image.new("RGB", (8, 8), (20 * number, 0, 0))
        put(root / top / name, encoded(image))
    if labels == "pairs":
        labels = [list(pair) for pair in zip(NAMES, LABELS, strict=True)]
    text = json.dumps({"labels": labels})
    put(root / top / "dataset.json", text.encode())
    return root


def by_label():
    return [20 * n for label in range(3) for n in range(12) if n % 3 == label]


@pytest.mark.parametrize("top", ["", "ffhq/", "a/ffhq/"])
@pytest.mark.parametrize("form", FORMS)
def test_labels_are_those_of_dataset_json(tmp_path, form, top):
    path = pack(write(tmp_path / "a", top=top), form)
    source = sources.make_source(configure(path, num_classes=3))
    assert source.class_names == ("0", "1", "2")
    assert levels(source, range(12)) == by_label()
    assert [int(source[i]["label"]) for i in range(12)] == [0] * 4 + [1] * 4 + [2] * 4
    lines = source.messages()
    assert_says(lines[0], "12 images of 3 classes: 0 4, 1 4, 2 4")
    assert any("labels come from dataset.json" in line for line in lines)


@pytest.mark.parametrize("form", FORMS)
def test_prepared_images_have_its_labels(tmp_path, form):
    path = pack(write(tmp_path / "a"), form)
    out = str(tmp_path / "ready")
    assert prepare.main([path, out, "--resolution", "8", "--workers", "0"]) == 0
    ready = ArrayRecordSource(out, resolution=8)
    assert levels(ready, range(12)) == by_label()
    assert [int(ready[i]["label"]) for i in range(12)] == [0] * 4 + [1] * 4 + [2] * 4


def test_other_labels_are_another_data_set(tmp_path, capsys):
    first, out = write(tmp_path / "a"), str(tmp_path / "ready")
    digests = [sources.make_source(configure(first, num_classes=3)).digest()]
    command = [str(first), out, "--resolution", "8", "--workers", "0"]
    assert prepare.main(command) == 0
    # The same names in the same order, one of them in the class before.
    pairs = sorted(zip(LABELS, NAMES, strict=True))
    pairs[4] = (0, pairs[4][1])
    write(tmp_path / "a", [[name, label] for label, name in pairs])
    digests.append(sources.make_source(configure(first, num_classes=3)).digest())
    assert digests[0] != digests[1]
    assert prepare.main(command) == 1
    assert "other arguments" in capsys.readouterr().err


@pytest.mark.parametrize("labels", [None, []])
def test_null_is_no_labels(tmp_path, labels):
    root = write(tmp_path / "a", labels)
    assert_says(sentence(configure(root, num_classes=3)), "null", "num_classes=0")
    source = sources.make_source(configure(root, num_classes=0))
    assert len(source) == 12
    assert survey(str(root)).class_names == ()
    assert survey(str(write(tmp_path / "b"))).class_names == ("0", "1", "2")


def test_one_hot_vectors_back_slashes_and_a_dict_are_read(tmp_path):
    hot = np.eye(3, dtype=int)[LABELS].tolist()
    forms = [
        [[name, label] for name, label in zip(NAMES, hot, strict=True)],
        [[n.replace("/", "\\"), v] for n, v in zip(NAMES, LABELS, strict=True)],
        dict(zip(NAMES, LABELS, strict=True)),
        [[name, float(v)] for name, v in zip(NAMES, LABELS, strict=True)],
        [["gone.png", 7], *([n, v] for n, v in zip(NAMES, LABELS, strict=True))],
    ]
    for number, labels in enumerate(forms):
        root = write(tmp_path / str(number), labels)
        source = sources.make_source(configure(root, num_classes=3))
        assert levels(source, range(12)) == by_label()


def test_a_class_without_images_keeps_its_number(tmp_path):
    labels = [[name, 2 * label] for name, label in zip(NAMES, LABELS, strict=True)]
    source = sources.make_source(configure(write(tmp_path, labels), num_classes=5))
    assert sorted(set(source.labels.tolist())) == [0, 2, 4]


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        ([[name, 0] for name in NAMES[1:]], ["1 of 12 images", NAMES[0], "add"]),
        ([[name, -1] for name in NAMES], ["-1 is not a class", "0 upwards"]),
        ([[name, 0.5] for name in NAMES], ["0.5 is not a class", "0 upwards"]),
        ([[name, "cat"] for name in NAMES], ["'cat' is not a number", "0 upwards"]),
        ([[name, True] for name in NAMES], ["True is not a number", "0 upwards"]),
        ([[name, [0.2, 0.8]] for name in NAMES], ["one-hot", "num_classes=0"]),
        ([[name, 10**9] for name in NAMES], ["1000000000", "0 upwards"]),
        (7, ["dataset.json", "0 upwards"]),
        ([NAMES], ["dataset.json", "0 upwards"]),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, parts):
    text = sentence(configure(write(tmp_path / "a", labels), num_classes=3))
    assert_says(text, f"data.path='{tmp_path}/a'", *parts)


def test_a_damaged_dataset_json_is_named(tmp_path):
    root = write(tmp_path / "a")
    put(root / "dataset.json", b'{"labels": [[')
    text = sentence(configure(root, num_classes=3))
    assert_says(text, f"data.path='{root}'", "'dataset.json' cannot be read", "copy")


def test_a_dataset_json_of_another_program_is_only_a_file(tmp_path):
    put(tmp_path / "dataset.json", b'{"name": "cats"}')
    put(tmp_path / "cat" / "0.png", DOT)
    source = sources.make_source(configure(tmp_path, num_classes=1))
    assert source.class_names == ("cat",)


def test_intra_fid_takes_its_classes(tmp_path):
    found = image_sets.open_images(str(write(tmp_path)), labelled=True)
    assert found.classes == tuple(map(str, LABELS))


# Splits are not classes.


@pytest.mark.parametrize("names", [("train", "val"), ("Test", "train", "valid")])
def test_splits_are_not_classes(tmp_path, names):
    for split in names:
        for kind in ("cat", "dog"):
            put(tmp_path / "a" / split / kind / "0.png", DOT)
    text = sentence(configure(tmp_path / "a", num_classes=len(names)))
    assert_says(text, f"data.path='{tmp_path}/a'", "splits", f"'{tmp_path}/a/train'")
    with pytest.raises(ValueError, match="splits"):
        survey(str(tmp_path / "a"))
    source = sources.make_source(configure(tmp_path / "a" / "train", num_classes=2))
    assert source.class_names == ("cat", "dog")  # the remedy
    text = sentence(configure(pack(tmp_path / "a", "zip"), num_classes=2))
    assert_says(text, "splits", "zip", "'train'")


def test_a_class_may_be_named_after_a_split(tmp_path):
    for name in ("train", "plane"):
        put(tmp_path / name / "0.png", DOT)
    source = sources.make_source(configure(tmp_path, num_classes=2))
    assert source.class_names == ("plane", "train")
