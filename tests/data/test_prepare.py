"""The command that prepares images: what it writes, when it stops, what it says."""

import errno
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import image_files
import numpy as np
import pytest
from image_files import DAMAGE, put, without_counts
from tiny_data_sets import builders

from sagan_jax import config as config_lib
from sagan_jax.commands import flags
from sagan_jax.data import (
    prepare,
    prepare_outputs,
    prepare_shards,
    prepare_workers,
    prepared,
    sources,
)
from sagan_jax.data import source as source_lib
from sagan_jax.data.array_record import ArrayRecordSource

SHARD = "images-00000-of-00001.array_record"


@pytest.fixture
def run(capsys, tmp_path):
    """Runs the command in this process: run(IN, ...) returns the exit code."""
    out = str(tmp_path / "ready")

    def run(images, *options, workers=0, resolution=8):
        capsys.readouterr()
        fixed = ("--resolution", resolution, "--workers", workers)
        run.code = prepare.main([str(a) for a in (images, out, *fixed, *options)])
        said = capsys.readouterr()
        run.lines, run.errors = said.out.splitlines(), said.err.splitlines()
        return run.code

    run.out = out
    return run


@pytest.fixture
def many(tmp_path):
    """Forty images in two classes, each of its own level."""
    for number in range(40):
        level = np.full((8, 8, 3), 5 * number, np.uint8)
        image_files.write(tmp_path / "many" / "ab"[number % 2] / f"{number}.png", level)
    return tmp_path / "many"


@pytest.fixture
def small_shards(monkeypatch):
    """Seven images of 8 pixels in a file, so that there are six."""
    monkeypatch.setattr(prepare_outputs, "_SHARD_BYTES", 7 * 8 * 8 * 3)


def content_of(out):
    """Returns {name: bytes} of all files, but for the path in the command."""
    files = {p.name: p.read_bytes() for p in pathlib.Path(out).iterdir()}
    described = json.loads(files[prepared.FILE])
    del described["command"]
    return files | {prepared.FILE: described}


def test_it_tells_counts_size_time_and_how_to_train(run, folder):
    assert run(folder) == 0
    counts, train = run.lines
    assert counts.startswith(
        f"{run.out}: 6 images of 3 classes: cat 2, dog 2, owl 2; 1 file of 131.1 kB, "
        "in "
    )
    assert train == (
        "train on it: python launch.py --config experiments/cifar10.py "
        f"--config.data.source=array_record --config.data.path={run.out} "
        "--config.model.resolution=8 --config.model.num_classes=3"
    )


def test_the_command_that_it_tells_finds_the_images(run, folder):
    run(folder)
    words = run.lines[1].removeprefix("train on it: python launch.py ").split()
    flags.check(words)
    config = flags.load_config(words[1])
    for word in words[2:]:
        name, value = word.removeprefix("--config.").split("=")
        group, field = name.split(".")
        kind = type(getattr(getattr(config, group), field))
        setattr(getattr(config, group), field, kind(value))
    config_lib.validate(config)
    assert len(sources.make_source(config)) == 6


def test_the_description_says_how_it_was_made(run, folder):
    run(folder, "--channels", 1)
    described = prepared.read_description(run.out)
    assert described.origin == str(folder)
    assert (described.resolution, described.channels) == (8, 1)
    assert (described.crop, described.labelled) == ("center", True)
    assert (described.class_names, described.counts) == (["cat", "dog", "owl"], [2] * 3)
    assert described.complete
    assert len(described) == 6
    (shard,) = described.shards
    assert shard.bytes == os.path.getsize(f"{run.out}/{SHARD}")


def test_the_result_does_not_depend_on_the_number_of_workers(
    many, tmp_path, small_shards
):
    outs = []
    for count in (0, 1, 3):
        out = tmp_path / f"with {count}"
        arguments = [str(many), str(out), "--resolution", "8"]
        assert prepare.main([*arguments, "--workers", str(count)]) == 0
        outs.append(content_of(out))
    assert len(outs[0]) == 6 + 2  # files of images; the description and the lock
    assert outs[1] == outs[0]
    assert outs[2] == outs[0]


def test_shards_hold_all_images_in_order(run, many, small_shards):
    run(many)
    described = prepared.read_description(run.out)
    assert [shard.records for shard in described.shards] == [7, 7, 7, 7, 7, 5]
    source = ArrayRecordSource(run.out, resolution=8)
    # Names are sorted as text, in each class.
    expected = [n for label in range(2) for n in sorted(range(label, 40, 2), key=str)]
    assert image_files.levels(source, range(40)) == [5 * n for n in expected]
    assert [int(source[i]["label"]) for i in range(40)] == [0] * 20 + [1] * 20


def test_a_data_set_of_tensorflow_datasets_can_be_prepared(run, tmp_path):
    data_dir = tmp_path / "tfds"
    for kind in (builders.TinyPictures, builders.TinyPlain):
        kind(data_dir=data_dir, file_format="array_record").download_and_prepare()
    assert run("tfds:tiny_pictures:test", "--data_dir", data_dir) == 0
    source = ArrayRecordSource(run.out, resolution=8)
    assert (len(source), source.class_names) == (5, ("cat", "dog", "owl"))
    for record in source:
        number = int(record["image"][0, 4, 0]) // 10
        assert record["label"] == number % 3
    shutil.rmtree(run.out)
    # One of the twelve is no image; without classes every label is 0.
    options = ("--data_dir", data_dir, "--max_unreadable", 1)
    assert run("tfds:tiny_plain:1.0.0:train[:12]", *options) == 0
    source = ArrayRecordSource(run.out, resolution=8)
    assert (len(source), source.num_classes) == (11, 0)


def test_names_in_any_encoding_can_be_prepared(run, tmp_path):
    put(tmp_path / "n" / os.fsdecode(b"caf\xe9") / "0.png", image_files.DOT)
    assert run(tmp_path / "n") == 0
    assert ": 1 image of 1 class: caf\\udce9 1; " in run.lines[0]
    config = image_files.configure(run.out, num_classes=1)
    config.data.source = "array_record"
    source = sources.make_source(config)
    assert source.class_names == (os.fsdecode(b"caf\xe9"),)
    for line in source_lib.news(source):
        line.encode()
    assert len(source_lib.digest(source)) == 64


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_that_are_not_given_out_name_the_option(run, tmp_path, workers):
    kind = builders.TinyPictures(data_dir=tmp_path / "t", file_format="array_record")
    kind.download_and_prepare()
    where, options = "tfds:tiny_pictures:secret", ("--data_dir", tmp_path / "t")
    assert run(where, *options, workers=workers) == 1
    assert run.errors[-1] == (
        "error: label=-1 of record 0 is none of 3 classes; add --unlabelled."
    )
    assert run(where, *options, "--unlabelled", workers=workers) == 0
    source = ArrayRecordSource(run.out, resolution=8)
    assert [int(record["label"]) for record in source] == [0, 0]


# Stopped, and gone on with.


def test_a_kill_leaves_whole_shards_and_the_same_command_goes_on(
    many, tmp_path, small_shards
):
    out, whole = tmp_path / "ready", tmp_path / "whole"
    program = f"""
import os, signal, sys
from sagan_jax.data import prepare, prepare_outputs
prepare_outputs._SHARD_BYTES = {prepare_outputs._SHARD_BYTES}
written = []
sha256 = prepare_outputs.sha256
def killed(path):
    written.append(path)
    if len(written) == 3:  # before the third is renamed
        os.kill(os.getpid(), signal.SIGKILL)
    return sha256(path)
prepare_outputs.sha256 = killed
if __name__ == "__main__":
    prepare.main([{str(many)!r}, {str(out)!r}, "--resolution", "8", "--workers", "2"])
"""
    script = tmp_path / "killed.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, timeout=60
    )
    # That the pipes were closed shows that no worker outlived it.
    assert done.returncode == -signal.SIGKILL
    assert sorted(p.suffix for p in out.glob("images*")) == [
        ".array_record",
        ".array_record",
        ".tmp",
    ]
    before = {p.name: p.stat() for p in out.glob("*.array_record")}
    arguments = ["--resolution", "8", "--workers", "0"]
    assert prepare.main([str(many), str(out), *arguments]) == 0
    assert prepare.main([str(many), str(whole), *arguments]) == 0
    assert content_of(out) == content_of(whole)
    for name, status in before.items():  # not written a second time
        assert (out / name).stat().st_mtime_ns == status.st_mtime_ns
        assert (out / name).stat().st_ino == status.st_ino


def test_a_shard_that_is_damaged_or_gone_is_made_again(run, many, small_shards):
    run(many)
    before = content_of(run.out)
    names = sorted(name for name in before if name.startswith("images"))
    os.unlink(f"{run.out}/{names[4]}")
    put(pathlib.Path(run.out, names[1]), before[names[1]][:-100] + bytes(100))
    assert run(many) == 0
    assert content_of(run.out) == before


def test_a_complete_directory_is_left_as_it_is(run, folder):
    run(folder)
    before = os.stat(f"{run.out}/{SHARD}").st_ino
    assert run(folder) == 0
    assert os.stat(f"{run.out}/{SHARD}").st_ino == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--channels", 1), "--channels 3, not 1"),
        (("--crop", "none"), "--crop 'center', not 'none'"),
        (("--unlabelled",), "labels True, not False; classes"),
    ],
)
def test_another_command_is_refused_with_what_differs(run, folder, options, words):
    run(folder)
    before = content_of(run.out)
    assert run(folder, *options) == 1
    assert run.errors[-1] == (
        f"error: OUT='{run.out}' was begun otherwise ({words}); give another "
        "directory, or remove it to begin anew."
    )
    assert content_of(run.out) == before


def test_another_resolution_or_folder_is_refused(run, folder, many):
    run(folder)
    assert run(many, resolution=16) == 1
    assert (
        f"was begun otherwise (IN '{folder}', not '{many}'; --resolution 8, not 16; "
        "classes; number of images 6, not 40; hash of names, sizes and times); "
    ) in run.errors[-1]


def test_images_that_have_changed_are_not_mixed_with_what_they_were(run, folder):
    run(folder)
    put(folder / "cat" / "0.png", image_files.DOT)
    assert run(folder) == 1
    assert "was begun otherwise (hash of names, sizes and times); " in run.errors[-1]


def test_a_directory_that_holds_something_else_is_not_written_to(run, folder):
    put(pathlib.Path(run.out, "letter.txt"), b"dear")
    assert run(folder) == 1
    assert run.errors[-1] == (
        f"error: OUT='{run.out}' holds other files than prepared images, such as "
        "'letter.txt'; give a new directory."
    )
    assert os.listdir(run.out) == ["letter.txt"]


def test_two_processes_do_not_write_to_one_directory(run, folder):
    run(folder)
    with open(f"{run.out}/.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(folder) == 1
    assert run.errors[-1] == (
        f"error: OUT='{run.out}' is being written to by another process; wait for it, "
        "or give another directory."
    )


def test_ctrl_c_is_one_sentence(run, folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_shards.Maker, "make", interrupted)
    assert run(folder) == 130
    assert run.errors[-1] == "error: interrupted; the same command goes on."
    assert sorted(os.listdir(run.out)) == [".lock", prepared.FILE]
    monkeypatch.undo()
    assert run(folder) == 0


def die(keys):
    os._exit(1)


def test_a_process_that_is_killed_is_one_sentence(run, many, monkeypatch):
    monkeypatch.setattr(prepare_workers, "_make_portion", die)
    assert run(many, workers=1) == 1
    assert run.errors[-1] == (
        "error: --workers=1: a process was killed, as happens when memory runs out; "
        "the same command goes on, and fewer workers need less."
    )


# Damage in what is read, and a disk that is full.


def test_the_first_image_that_cannot_be_read_stops_it(run, damaged):
    assert run(damaged) == 1
    first = min(DAMAGE)
    assert without_counts(run.errors[-1]) == (
        f"error: '{damaged}: dog/{first}' cannot be read as an image "
        f"({DAMAGE[first][1]}); add --max_unreadable N to leave out so many, and the "
        "same command goes on, or mend it and begin in a new directory."
    )
    assert sorted(os.listdir(run.out)) == [".lock", prepared.FILE]


def test_some_are_left_out_when_that_is_asked_for_and_each_is_named(run, damaged):
    assert run(damaged, "--max_unreadable", len(DAMAGE)) == 0
    assert run.lines[0].startswith(
        f"{run.out}: 6 images of 3 classes: cat 2, dog 2, owl 2 ({len(DAMAGE)} could "
        "not be read); "
    )
    said = [line for line in run.errors if "warning" in line]
    expected = [
        f"warning: '{damaged}: dog/{name}' is left out ({DAMAGE[name][1]})."
        for name in sorted(DAMAGE)
    ]
    assert [without_counts(line[line.index("warning") :]) for line in said] == expected
    source = ArrayRecordSource(run.out, resolution=8)
    assert image_files.levels(source, range(6)) == [0, 1, 10, 11, 20, 21]
    assert source.news()[1].startswith(
        f"warning: {len(DAMAGE)} images could not be read when it was prepared: "
    )


def test_what_was_left_out_is_not_counted_again_when_a_file_is_made_again(run, damaged):
    options = ("--max_unreadable", len(DAMAGE))
    run(damaged, *options)
    before = content_of(run.out)
    os.unlink(f"{run.out}/{SHARD}")
    assert run(damaged, *options) == 0
    assert content_of(run.out) == before


def test_images_none_of_which_can_be_read_are_refused(run, tmp_path):
    put(tmp_path / "bad" / "only" / "0.png", b"")
    assert run(tmp_path / "bad", "--max_unreadable", 9) == 1
    assert run.errors[-1] == (
        f"error: IN='{tmp_path}/bad': none of 1 images can be read; replace them."
    )


def test_a_disk_that_has_too_little_room_is_told_before_any_work(
    run, folder, monkeypatch
):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert run(folder) == 1
    assert run.errors[-1] == (
        f"error: OUT='{run.out}' needs 1.2 kB more, and 1.0 kB are free; make room, or "
        "give another directory."
    )


def test_a_disk_that_fills_is_one_sentence_and_the_same_command_goes_on(
    run, folder, tmp_path
):
    # A limit on the size of files is what a full disk is to the library: found when it
    # writes out what it holds back.
    limited = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from sagan_jax.data import prepare
arguments = [{str(folder)!r}, {run.out!r}, "--resolution", "8", "--workers", "0"]
sys.exit(prepare.main(arguments))
"""
    done = subprocess.run(
        [sys.executable, "-c", limited],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: OUT='{run.out}' cannot be written to (File too large); make room, and "
        "the same command goes on."
    )
    assert sorted(os.listdir(run.out)) == [".lock", prepared.FILE]
    assert run(folder) == 0


def test_a_place_that_cannot_be_written_to_is_named(folder, tmp_path, capsys):
    put(tmp_path / "file", b"")
    out = str(tmp_path / "file" / "ready")
    assert prepare.main([str(folder), out, "--resolution", "8"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: OUT='{out}' cannot be written to ({os.strerror(errno.ENOTDIR)}); give "
        "another directory."
    )


# What is asked for in vain.


def test_what_is_no_source_of_images_is_named(run, tmp_path):
    assert run(tmp_path / "gone") == 1
    assert run.errors == [
        f"error: IN='{tmp_path}/gone' does not exist; give a folder or .zip of images, "
        "an LMDB directory, or tfds:NAME."
    ]
    put(tmp_path / "a.tar", b"")
    run(tmp_path / "a.tar")
    assert run.errors == [
        f"error: IN='{tmp_path}/a.tar' is neither a directory nor a .zip file; give "
        "one that holds images."
    ]
    put(tmp_path / "a.zip", b"PK but no more")
    run(tmp_path / "a.zip")
    assert run.errors[0].startswith(
        f"error: IN='{tmp_path}/a.zip' cannot be read as a zip file ("
    )
    (tmp_path / "empty").mkdir()
    run(tmp_path / "empty")
    assert run.errors[0].startswith(
        f"error: IN='{tmp_path}/empty' holds no images (.bmp, "
    )
    assert not os.path.exists(run.out)


def test_loose_images_name_the_option_that_takes_them(run, folder):
    put(folder / "loose.png", image_files.DOT)
    assert run(folder) == 1
    assert run.errors == [
        f"error: IN='{folder}' holds images outside of class folders, such as "
        "'loose.png'; move them into a sub-folder for each class, or add --unlabelled."
    ]
    assert run(folder, "--unlabelled") == 0


def test_data_sets_are_named_as_they_were_asked_for(run, tmp_path):
    run("tfds:imagenet2013")
    assert run.errors[0].startswith(
        "error: IN='tfds:imagenet2013': 'imagenet2013' is no name that "
    )
    run("tfds:cifar10:3.0.2:test", "--data_dir", tmp_path)
    assert run.errors[0].startswith(
        f"error: IN='tfds:cifar10:3.0.2' is not prepared in '{tmp_path}'; prepare it by"
    )
    run("tfds:")
    assert run.errors == [
        "error: IN='tfds:' names no data set; write tfds:NAME[:SPLIT]."
    ]
    run(tmp_path, "--data_dir", "x")
    assert run.errors == [
        f"error: --data_dir='x' goes with IN=tfds:NAME, not with IN='{tmp_path}'; "
        "leave it out."
    ]


@pytest.mark.parametrize("resolution", [3, 5000, -1])
def test_a_resolution_out_of_range_is_named(run, folder, resolution):
    assert run(folder, resolution=resolution) == 1
    assert run.errors == [
        f"error: --resolution={resolution} is out of range; choose a value from 4 to "
        "4096."
    ]


def test_what_is_missing_on_the_command_line_is_said(capsys):
    for arguments in ([], ["in"], ["in", "out"], ["--verify", "a", "b"]):
        with pytest.raises(SystemExit) as caught:
            prepare.main(arguments)
        assert caught.value.code == 2
        assert "usage: python -m sagan_jax.data.prepare" in capsys.readouterr().err


# Checked afterwards.


@pytest.fixture
def verify(run, many, small_shards, capsys):
    """Prepares six files; returns what verifying then says, and the exit code."""
    run(many)

    def verify():
        capsys.readouterr()
        code = prepare.main(["--verify", run.out])
        said = capsys.readouterr()
        return code, said.out + "".join(said.err.splitlines(True)[-1:])

    verify.out = run.out
    verify.command = prepared.read_description(run.out).command
    return verify


def shard(verify, number):
    return pathlib.Path(verify.out, f"images-{number:05d}-of-00006.array_record")


def test_what_is_whole_is_said_to_be(verify):
    code, said = verify()
    assert code == 0
    assert said.startswith(
        f"{verify.out}: whole, 40 images of 2 classes: a 20, b 20; 6 files of 786.4 kB"
    )


def assert_damaged(verify, number, cause):
    assert verify() == (
        1,
        f"error: DIR: '{shard(verify, number)}' is damaged ({cause}); the command that "
        f"made it makes it again: {verify.command}\n",
    )


def test_a_byte_that_differs_is_found(verify):
    content = bytearray(shard(verify, 2).read_bytes())
    content[len(content) // 3] ^= 1
    shard(verify, 2).write_bytes(content)
    assert_damaged(verify, 2, "its sha256 is another")


def test_a_file_that_is_missing_or_short_is_found(verify):
    os.truncate(shard(verify, 5), 1000)
    assert_damaged(verify, 5, "1000 bytes instead of 131072")
    shard(verify, 4).unlink()
    assert_damaged(verify, 4, "No such file or directory")


@pytest.mark.parametrize(
    ("image", "label", "cause"),
    [
        (np.zeros((8, 8, 3)), 2, "record 0: its label is 2"),
        (np.zeros((8, 8, 3)), -1, "record 0: its label is -1"),
        (np.zeros((8, 9, 3)), 0, "record 0: it has 8 x 9 pixels"),
        (np.zeros((16, 16, 3)), 0, "record 0: it has 16 x 16 pixels"),
        (
            np.zeros((8, 8, 1)),
            0,
            "record 0: it has 64 bytes of pixels, not those of 8 x 8",
        ),
    ],
)
def test_records_that_cannot_be_are_found_where_every_hash_is_right(
    verify, image, label, cause
):
    described = prepared.read_description(verify.out)
    record = prepared.encode(image.astype(np.uint8), label)
    made = prepare_shards._write_shard(verify.out, 0, described, iter([record]))
    described.shards[0] = made
    prepared.write_description(verify.out, described)
    assert_damaged(verify, 0, cause)


def test_a_number_of_records_that_differs_is_found(verify):
    described = prepared.read_description(verify.out)
    described.shards[3].records += 1
    prepared.write_description(verify.out, described)
    assert_damaged(verify, 3, "7 records instead of 8")


def test_counts_that_differ_are_found(verify):
    described = prepared.read_description(verify.out)
    described.counts = [19, 21]
    prepared.write_description(verify.out, described)
    assert verify() == (
        1,
        f"error: DIR='{verify.out}': the images of each class are not as many as "
        "description.json says; prepare them again into another directory.\n",
    )


def test_what_is_not_finished_is_said_not_to_be(verify):
    described = prepared.read_description(verify.out)
    described.complete = False
    del described.shards[4:]
    prepared.write_description(verify.out, described)
    assert verify() == (
        1,
        f"error: DIR='{verify.out}' is not finished: 4 of 6 files are there, all of "
        f"them whole; the command that began it goes on: {verify.command}\n",
    )


def test_the_module_can_be_run(folder, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-m", "sagan_jax.data.prepare"),
            *(folder, tmp_path / "ready", "--resolution", "8", "--workers", "2"),
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "train on it: python launch.py" in done.stdout
