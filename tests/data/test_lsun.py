"""LSUN's LMDB directories: finding and preparing them, and errors."""

import pathlib
import subprocess
import sys

import image_files
import lmdb
import numpy as np
import pytest
from image_files import assert_says
from PIL import Image

from sagan_jax.data import lsun, prepare
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.errors import UserError


def put(path, levels, kind="WEBP"):
    """Writes an LMDB of images of one level each, under keys that sort backwards."""
    path.mkdir(parents=True)
    with (
        lmdb.open(str(path), map_size=2**20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number, level in enumerate(levels):
            image = Image.fromarray(np.full((8, 12, 3), level, np.uint8))
            content = image_files.encoded(image, kind, lossless=True)
            transaction.put(b"%02d" % (99 - number), content)
    return str(path)


def make(where, tmp_path, capsys, *options):
    """Prepares it in this process; returns (exit code, last line of stderr, OUT)."""
    out = str(tmp_path / "ready")
    arguments = [str(where), out, "--resolution", "8", "--workers", "0", *options]
    code = prepare.main(arguments)
    said = capsys.readouterr().err.splitlines()
    return code, said[-1] if said else "", out


def records(path, **options):
    source = ArrayRecordSource(path, resolution=8, **options)
    images = [source[index]["image"] for index in range(len(source))]
    labels = [int(source[index]["label"]) for index in range(len(source))]
    assert all(len(np.unique(image)) == 1 for image in images)
    return [int(image[0, 0, 0]) for image in images], labels, source.class_names


def test_one_directory_is_unlabelled_and_in_the_order_of_its_keys(tmp_path, capsys):
    where = put(tmp_path / "church_outdoor_train_lmdb", [10, 20, 30])
    code, _, out = make(where, tmp_path, capsys)
    assert code == 0
    assert records(out) == ([30, 20, 10], [0, 0, 0], ())


def test_several_are_classes_by_their_sorted_names(tmp_path, capsys):
    put(tmp_path / "lsun" / "tower_train_lmdb", [40], "PNG")
    put(tmp_path / "lsun" / "bridge_train_lmdb", [10, 20])
    put(tmp_path / "lsun" / "train", [30])  # a class of objects, without a suffix
    code, _, out = make(tmp_path / "lsun", tmp_path, capsys)
    assert code == 0
    names = ("bridge", "tower", "train")
    assert records(out) == ([20, 10, 40, 30], [0, 0, 1, 2], names)


def test_several_may_be_taken_without_labels(tmp_path, capsys):
    put(tmp_path / "lsun" / "a_lmdb", [10])
    put(tmp_path / "lsun" / "b_lmdb", [20])
    code, _, out = make(tmp_path / "lsun", tmp_path, capsys, "--unlabelled")
    assert code == 0
    assert records(out) == ([10, 20], [0, 0], ())


def test_other_processes_open_it_for_themselves(tmp_path):
    where = put(tmp_path / "a_lmdb", range(0, 200, 5))
    ready = []
    for workers in ("0", "2"):
        out = tmp_path / workers
        arguments = [where, str(out), "--resolution", "8", "--workers", workers]
        assert prepare.main(arguments) == 0
        ready.append((out / "images-00000-of-00001.array_record").read_bytes())
    assert ready[0] == ready[1]


def test_training_and_validation_parts_are_not_classes(tmp_path, capsys):
    put(tmp_path / "lsun" / "tower_train_lmdb", [10])
    put(tmp_path / "lsun" / "tower_val_lmdb", [20])
    code, text, _ = make(tmp_path / "lsun", tmp_path, capsys)
    assert code == 1
    assert_says(text, f"error: IN='{tmp_path}/lsun'", "validation", "move")


def test_a_directory_next_to_them_is_not_ignored(tmp_path, capsys):
    put(tmp_path / "lsun" / "tower_train_lmdb", [10])
    (tmp_path / "lsun" / "bridge").mkdir()
    code, text, _ = make(tmp_path / "lsun", tmp_path, capsys)
    assert code == 1
    assert_says(text, f"error: IN='{tmp_path}/lsun'", "'bridge'", "data.mdb", "move")


@pytest.mark.parametrize("content", [b"", b"not an LMDB" * 1000])
def test_a_damaged_file_is_named(tmp_path, capsys, content):
    image_files.put(tmp_path / "a_lmdb" / "data.mdb", content)
    code, said, _ = make(tmp_path / "a_lmdb", tmp_path, capsys)
    assert code == 1
    assert_says(said, f"error: IN: '{tmp_path}/a_lmdb/data.mdb'", "LMDB (", "again")


def test_an_empty_one_is_refused(tmp_path, capsys):
    where = put(tmp_path / "a_lmdb", [])
    code, text, _ = make(where, tmp_path, capsys)
    assert code == 1
    assert_says(text, f"error: IN='{where}'", "without images", "again")


def test_an_image_that_cannot_be_read_is_named_by_its_key(tmp_path, capsys):
    where = put(tmp_path / "a_lmdb", [10, 20])
    with (
        lmdb.open(where) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"50", b"text")
    code, said, _ = make(where, tmp_path, capsys)
    assert code == 1
    assert_says(
        said,
        f"error: '{where}: a_lmdb, key 50'",
        "(its format is not known)",
        "--max_unreadable N",
    )


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    where = put(tmp_path / "a_lmdb", [10])
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(UserError) as caught:
        list(lsun.Lmdb([where]).keys(0))
    assert_says(str(caught.value), f"'{where}'", "lmdb", "pip install lmdb")


def big(path):
    """An LMDB of some depth, with values of pages of their own."""
    path.mkdir(parents=True)
    noise = np.random.default_rng(0)
    with (
        lmdb.open(str(path), map_size=2**28) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number in range(300):
            pixels = noise.integers(0, 256, (40, 40, 3), np.uint8)
            image = image_files.encoded(Image.fromarray(pixels), "PNG")
            key = b"%032x" % (7919 * number)
            transaction.put(key, image[: noise.integers(30, len(image))])
    return str(path)


def test_the_keys_are_those_of_the_library(tmp_path):
    where = big(tmp_path / "a_lmdb")
    with lmdb.open(where, readonly=True, lock=False) as opened, opened.begin() as read:
        expected = list(read.cursor().iternext(values=False))
    assert len(expected) == 300
    assert list(lsun.Lmdb([where]).keys(0)) == expected


def run(where, out):
    """Prepares in another process, which a bus error would end."""
    command = ["-m", "sagan_jax.data.prepare", str(where), str(out)]
    return subprocess.run(
        [sys.executable, *command, "--resolution", "8", "--workers", "0"],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("damage", ["cut", "zeros", "page", "number"])
def test_a_file_that_is_cut_short_or_overwritten_is_one_sentence(tmp_path, damage):
    place = pathlib.Path(big(tmp_path / "a_lmdb"), "data.mdb")
    content = bytearray(place.read_bytes())
    if damage == "cut":
        del content[len(content) * 6 // 10 :]
    else:  # the root of the newer tree, which the second page names
        root = 4096 * int.from_bytes(content[4096 + 128 : 4096 + 136], "little")
        at = {"zeros": root, "page": root + 16, "number": 4096 + 128}[damage]
        content[at : at + 2] = b"\xff\x0f"
        if damage == "zeros":
            content[root : root + 4096] = bytes(4096)
    place.write_bytes(content)
    done = run(place.parent, tmp_path / "ready")
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    assert_says(line, f"error: IN: '{place}'", "cannot be read as LMDB (", "again")
    assert not (tmp_path / "ready").exists()


def test_no_damage_ends_the_process(tmp_path):
    where = big(tmp_path / "a_lmdb")
    program = (
        "import random, sys\n"
        "from sagan_jax.data import lsun\n"
        "from sagan_jax.errors import UserError\n"
        "folder, whole = sys.argv[1], open(sys.argv[1] + '/data.mdb', 'rb').read()\n"
        "outcomes = set()\n"
        "for seed in range(150):\n"
        "    draw, content = random.Random(seed), bytearray(whole)\n"
        "    for _ in range(draw.choice([1, 5, 50])):\n"
        "        at = 4096 * draw.randrange(len(whole) // 4096) + draw.randrange(200)\n"
        "        content[at] = draw.choice([0, 1, 255, draw.randrange(256)])\n"
        "    open(folder + '/data.mdb', 'wb').write(content)\n"
        "    reader = lsun.Lmdb([folder])\n"
        "    try: keys = list(reader.keys(0))\n"
        "    except UserError: keys = []\n"
        "    for key in keys:\n"
        "        try: reader.read((0, key))\n"
        "        except Exception: pass\n"
        "    outcomes.add(bool(keys))\n"
        "    reader.close()\n"
        "print(sorted(outcomes))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, where],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[False, True]\n", "")
