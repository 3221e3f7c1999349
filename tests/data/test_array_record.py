"""The array_record source, compared with the folder it was prepared from."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import pickle
import subprocess
import sys

import image_files
import numpy as np
import pytest
from image_files import assert_says, configure, levels, sentence, write

from sagan_jax.data import (
    array_record,
    pipeline,
    prepare,
    prepare_outputs,
    prepared,
    sources,
)
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.data.folder import FolderSource
from sagan_jax.errors import UserError


def make(images, out, *options, resolution=8):
    """Prepares a folder in this process; returns the output directory."""
    arguments = [str(images), str(out), "--resolution", str(resolution), *options]
    assert prepare.main([*arguments, "--workers", "0"]) == 0
    return str(out)


@pytest.fixture
def photographs(tmp_path):
    """Two classes of noise images of different sizes."""
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (33, 20), (16, 16), (64, 64), (17, 90)]
    for name in ("a", "b"):
        for number, size in enumerate(sizes):
            pixels = rng.integers(0, 256, (*size, 3), np.uint8)
            write(tmp_path / "photographs" / name / f"{number}.png", pixels)
    return tmp_path / "photographs"


@pytest.fixture
def ready(folder, tmp_path):
    """The three classes of the folder, prepared."""
    return make(folder, tmp_path / "ready")


def configured(path, **options):
    config = configure(path, **options)
    config.data.source = "array_record"
    return config


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for index in range(len(ours)):
        for name in ("image", "label"):
            np.testing.assert_array_equal(ours[index][name], theirs[index][name])
            assert ours[index][name].dtype == theirs[index][name].dtype


# Records.


@pytest.mark.parametrize("channels", [1, 3])
def test_records_are_those_of_the_folder(photographs, tmp_path, channels):
    options = ("--channels", str(channels))
    path = make(photographs, tmp_path / "ready", *options, resolution=16)
    ours = ArrayRecordSource(path, resolution=16, channels=channels)
    theirs = FolderSource(str(photographs), resolution=16, channels=channels)
    assert_equal(ours, theirs)
    assert (ours.num_classes, ours.class_names) == (2, ("a", "b"))


def test_a_smaller_resolution_uses_the_same_filter(folder, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    write(folder / "cat" / "2.png", pixels)
    path = make(folder, tmp_path / "ready", resolution=16)
    # An image of 16 pixels is stored unchanged, so both resize the same pixels.
    ours = ArrayRecordSource(path, resolution=8)[2]["image"]
    theirs = FolderSource(str(folder), resolution=8)[2]["image"]
    np.testing.assert_array_equal(ours, theirs)


def test_without_a_crop_every_square_of_the_longer_side_is_there(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (8, 20, 3), np.uint8)
    write(tmp_path / "images" / "only" / "0.png", pixels)
    path = make(tmp_path / "images", tmp_path / "ready", "--crop", "none")
    ours = sources.make_source(configured(path, num_classes=1))
    theirs = FolderSource(str(tmp_path / "images"), resolution=8)
    assert ours.can_crop
    places = [0.0, 0.2, 0.5, 0.99]
    for place in places:
        np.testing.assert_array_equal(
            ours.read(0, place)["image"], theirs.read(0, place)["image"]
        )
    assert len({ours.read(0, place)["image"].tobytes() for place in places}) == 4


def test_labels_are_0_for_a_model_without_classes(ready):
    source = sources.make_source(configured(ready, num_classes=0))
    assert (source.num_classes, source.class_names) == (0, ())
    assert {int(source[index]["label"]) for index in range(6)} == {0}


def test_the_number_of_images_of_each_class_is_reported(ready, folder):
    source = sources.make_source(configured(ready))
    (line,) = source.messages()
    assert_says(
        line,
        f"'{ready}'",
        "6 images of 3 classes: cat 2, dog 2, owl 2, ",
        f"8 pixels from {folder}.",
    )
    assert source.messages() == []


def test_a_gap_in_numbered_classes_is_reported(tmp_path):
    for number in (0, 1, 3):
        image_files.put(tmp_path / "n" / str(number) / "0.png", image_files.DOT)
    path = make(tmp_path / "n", tmp_path / "ready")
    _, warning = sources.make_source(configured(path)).messages()
    assert_says(warning, "warning: the classes", "2 is missing", "sorted names")


def test_an_index_out_of_range_raises_and_a_negative_one_counts_from_the_end(ready):
    source = ArrayRecordSource(ready, resolution=8)
    assert len(list(source)) == 6
    assert levels(source, [-1]) == [21]
    with pytest.raises(IndexError):
        source[6]


def test_threads_read_the_same_as_one(ready):
    source = ArrayRecordSource(ready, resolution=8)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda i: levels(source, [i % 6])[0], range(600)))
    assert seen == [0, 1, 10, 11, 20, 21] * 100


def test_a_pickle_reads_the_same(ready):
    source = ArrayRecordSource(ready, resolution=8, labelled=False)
    again = pickle.loads(pickle.dumps(source))
    assert_equal(again, source)
    assert again.num_classes == 0


def run(program):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


FORK = """
import os, sys, threading
from sagan_jax.data.array_record import ArrayRecordSource
source = ArrayRecordSource({path!r}, resolution=8)
if {first}:
    source[0]
if os.fork() == 0:
    def read():
        try:
            print([int(source[index]["image"][0, 0, 0]) for index in range(6)])
        except ValueError as error:
            print(error)
        sys.stdout.flush()
        os._exit(0)
    threading.Thread(target=read).start()
    threading.Event().wait()
print(os.wait()[1])
"""


def test_a_fork_reads_if_its_parent_has_not_read(ready):
    done = run(FORK.format(path=ready, first=False))
    assert done.stdout == "[0, 1, 10, 11, 20, 21]\n0\n"


def test_a_fork_of_a_process_that_has_read_is_refused_before_it_crashes(ready):
    # Without the check this child ends by SIGSEGV.
    done = run(FORK.format(path=ready, first=True))
    assert_says(done.stdout, "multiprocessing='fork'", "array_record", "'spawn'")
    assert done.stdout.endswith(".\n0\n")


def test_neither_jax_nor_tensorflow_is_imported(ready):
    done = run(
        "import sys\n"
        "from sagan_jax.data import prepare\n"
        "from sagan_jax.data.array_record import ArrayRecordSource\n"
        f"ArrayRecordSource({ready!r}, resolution=8)[0]\n"
        "heavy = ('jax', 'tensorflow', 'tensorflow_datasets', 'grain', 'lmdb')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_batches_are_those_of_the_folder(photographs, tmp_path):
    path = make(photographs, tmp_path / "ready", resolution=16)
    options = {"batch_size": 4, "seed": 3, "horizontal_flip": True}
    ours, theirs = (
        pipeline.batch_dataset(source, **options)
        for source in (
            ArrayRecordSource(path, resolution=16),
            FolderSource(str(photographs), resolution=16),
        )
    )
    for step in range(5):
        for name in ("image", "label"):
            np.testing.assert_array_equal(ours[step][name], theirs[step][name])


# Errors.


def test_more_pixels_than_were_prepared_are_refused(ready):
    assert_says(
        sentence(configured(ready, resolution=16)),
        f"data.path='{ready}'",
        "8 pixels",
        "resolution=16",
        "--resolution 16",
        "--config.model.resolution=8",
    )


def test_more_channels_than_were_prepared_are_refused(ready):
    assert_says(
        sentence(configured(ready, channels=4)),
        f"data.path='{ready}'",
        "channels=4",
        "3",
        "--channels 4",
        "--config.model.channels=3",
    )


def test_another_number_of_classes_names_both(ready):
    assert_says(
        sentence(configured(ready, num_classes=10)),
        "model.num_classes=10",
        f"data.path='{ready}'",
        "3 classes (cat, dog, owl)",
        "--config.model.num_classes=3",
    )


def test_classes_that_were_not_prepared_are_not_invented(folder, tmp_path):
    path = make(folder, tmp_path / "ready", "--unlabelled")
    assert len(sources.make_source(configured(path, num_classes=0))) == 6
    assert_says(
        sentence(configured(path)),
        "model.num_classes=3",
        f"data.path='{path}'",
        "without labels",
        "--config.model.num_classes=0",
    )


def test_a_random_crop_of_squares_names_both_remedies(ready):
    config = configured(ready)
    config.data.random_crop = True
    assert_says(
        sentence(config),
        "data.random_crop=True",
        "data.source='array_record'",
        "--crop none",
        "--config.data.random_crop=False",
    )


def test_prepared_images_are_not_a_folder_of_images(ready):
    assert_says(
        sentence(configure(ready)),
        f"data.path='{ready}'",
        "prepared",
        "--config.data.source=array_record",
    )


def test_a_missing_path_is_named(tmp_path):
    assert_says(
        sentence(configured(tmp_path / "gone")),
        f"data.path='{tmp_path}/gone' does not exist",
        "sagan_jax.data.prepare IN OUT",
    )


def test_a_folder_of_images_is_not_prepared(folder):
    assert_says(
        sentence(configured(folder)),
        f"data.path='{folder}'",
        "(description.json is missing)",
        "sagan_jax.data.prepare IN OUT",
        "--config.data.source=folder",
    )


def describe(path, **changes):
    described = dataclasses.replace(prepared.read_description(path), **changes)
    prepared.write_description(path, described)
    return described.command


def test_an_incomplete_directory_names_the_command_that_resumes(ready, folder):
    command = describe(ready, complete=False, shards=[])
    assert command == (
        f"python -m sagan_jax.data.prepare {folder} {ready} --resolution 8"
    )
    text = sentence(configured(ready))
    assert_says(text, f"data.path='{ready}'", "incomplete: 0 of 1", "resume", command)


SHARD = "images-00000-of-00001.array_record"


def test_a_missing_file_is_named(ready):
    command = describe(ready)
    os.unlink(f"{ready}/{SHARD}")
    assert_says(
        sentence(configured(ready)),
        f"data.path: '{ready}/{SHARD}'",
        "(No such file or directory)",
        "repair",
        command,
    )


def test_a_file_that_was_cut_short_is_named(ready):
    command = describe(ready)
    size = os.path.getsize(f"{ready}/{SHARD}")
    os.truncate(f"{ready}/{SHARD}", size - 10)
    assert_says(
        sentence(configured(ready)),
        f"data.path: '{ready}/{SHARD}'",
        f"({size - 10} bytes instead of {size})",
        "repair",
        command,
    )


def damage(path, old, new):
    with open(path, "r+b") as file:
        content = file.read()
        assert old in content
        file.seek(0)
        file.write(content.replace(old, new))


def test_a_damaged_record_is_named_when_it_is_read(ready):
    source = ArrayRecordSource(ready, resolution=8)
    damage(f"{ready}/{SHARD}", bytes([11] * 100), bytes([12] * 100))
    assert levels(source, [0]) == [0]
    with pytest.raises(UserError) as caught:
        source[3]
    assert_says(
        str(caught.value),
        f"'{ready}/{SHARD}'",
        "damaged",
        "record 3 (Corrupted ",
        f"sagan_jax.data.prepare --verify {ready}",
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', "7"])
def test_a_damaged_description_is_named(ready, content):
    with open(f"{ready}/{prepared.FILE}", "w") as file:
        file.write(content)
    assert_says(
        sentence(configured(ready)),
        f"data.path: '{ready}/description.json'",
        "damaged (",
        "another directory",
    )


def test_a_later_version_of_the_format_is_refused(ready):
    with open(f"{ready}/{prepared.FILE}") as file:
        content = json.load(file)
    with open(f"{ready}/{prepared.FILE}", "w") as file:
        json.dump(content | {"version": 2, "new": 1}, file)
    assert_says(
        sentence(configured(ready)),
        f"data.path='{ready}'",
        "version 2",
        "version 1",
        "prepare",
    )


# Descriptions that were edited, and limits of the system.


def edited(path, change):
    place = os.path.join(path, prepared.FILE)
    with open(place, encoding="utf-8") as file:
        content = json.load(file)
    change(content)
    with open(place, "w", encoding="utf-8") as file:
        json.dump(content, file)


CHANGES = {
    "resolution": {"resolution": None},
    "text": {"resolution": "8"},
    "truth": {"channels": True},
    "channels": {"channels": 0},
    "crop": {"crop": "some"},
    "shards": {"shards": []},
    "no list": {"shards": 3},
    "strange shard": {"shards": [{"name": "a"}]},
    "text for a shard": {"shards": ["a"]},
    "per_shard": {"per_shard": 0},
    "total": {"total": 10**9},
    "names": {"class_names": [1, 2, 3]},
    "too few names": {"class_names": ["a"]},
    "unlabelled": {"labelled": False},
    "counts": {"counts": [1, None, 2]},
    "unreadable": {"unreadable": [["a"]]},
    "command": {"command": 7},
    "more": {"more": 1},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_description_edited_by_hand_is_one_sentence(ready, change):
    edited(ready, lambda content: content.update(CHANGES[change]))
    text = sentence(configured(ready))
    assert_says(text, f"data.path: '{ready}/{prepared.FILE}'", "damaged (", "again")
    for arguments in (["--verify", ready], ["x", ready, "--resolution", "8"]):
        assert prepare.main([*map(str, arguments)]) == 1


@pytest.mark.parametrize("key", ["name", "records", "bytes", "sha256"])
@pytest.mark.parametrize("value", [None, -1, "../a", [], 1.5])
def test_a_shard_edited_by_hand_is_one_sentence(ready, key, value):
    edited(ready, lambda content: content["shards"][0].update({key: value}))
    text = sentence(configured(ready))
    assert_says(text, "data.path: ", "damaged (")


@pytest.mark.parametrize("content", [b"[]", b"7", b"null", b"[" * 100_000, b"{"])
def test_a_description_of_other_contents_is_one_sentence(ready, content):
    image_files.put(pathlib.Path(ready, prepared.FILE), content)
    assert_says(sentence(configured(ready)), "data.path: ", "damaged (", "again")


MANY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from sagan_jax.data.array_record import ArrayRecordSource
source = ArrayRecordSource(sys.argv[1], resolution=8)
order = [*range(len(source)), *range(len(source))]
print([int(source[index]["image"][0, 0, 0]) for index in order] == [*range(80)] * 2)
if len(sys.argv) > 2:
    source._readers.clear()
    held = []
    try:
        while True:
            held.append(open(sys.argv[1] + "/description.json"))
    except OSError:
        pass
    source[0]
"""


def many_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_outputs, "_SHARD_BYTES", 8 * 8 * 3)
    for number in range(80):
        level = np.full((8, 8, 3), number, np.uint8)
        write(tmp_path / "images" / "a" / f"{number:02}.png", level)
    return make(tmp_path / "images", tmp_path / "ready", "--unlabelled")


def test_more_files_than_may_be_open_are_read(tmp_path, monkeypatch):
    path = many_shards(tmp_path, monkeypatch)
    command = [sys.executable, "-c", MANY, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
    done = subprocess.run([*command, "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert_says(done.stderr.splitlines()[-1], f"'{path}'", "Too many open", "ulimit")


def test_readers_are_closed_while_threads_read(tmp_path, monkeypatch):
    path = many_shards(tmp_path, monkeypatch)
    monkeypatch.setattr(array_record, "_most_open", lambda: 2)
    source = ArrayRecordSource(path, resolution=8)
    order = np.random.default_rng(0).integers(0, 80, 2000)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: int(source[i]["image"][0, 0, 0]), order))
    assert found == order.tolist()
    assert len(source._readers) <= 2
