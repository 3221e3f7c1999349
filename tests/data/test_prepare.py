"""The command that prepares images: its files, interruptions and messages."""

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
from image_files import DAMAGE, assert_says, put, without_counts
from tiny_data_sets import builders

from sagan_jax import config as config_lib
from sagan_jax.commands import experiment_files, flags
from sagan_jax.data import (
    prepare,
    prepare_outputs,
    prepare_shards,
    prepare_workers,
    prepared,
    sources,
)
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
    """Forty images in two classes, each of a different level."""
    for number in range(40):
        level = np.full((8, 8, 3), 5 * number, np.uint8)
        image_files.write(tmp_path / "many" / "ab"[number % 2] / f"{number}.png", level)
    return tmp_path / "many"


@pytest.fixture
def small_shards(monkeypatch):
    """Seven images of 8 pixels per file, so that there are six files."""
    monkeypatch.setattr(prepare_outputs, "_SHARD_BYTES", 7 * 8 * 8 * 3)


def content_of(out):
    """Returns {name: bytes} of all files, without the command, which has a path."""
    files = {p.name: p.read_bytes() for p in pathlib.Path(out).iterdir()}
    described = json.loads(files[prepared.FILE])
    del described["command"]
    return files | {prepared.FILE: described}


def test_counts_size_time_and_the_training_command_are_printed(run, folder):
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


def test_the_training_command_finds_the_images(run, folder):
    run(folder)
    words = run.lines[1].removeprefix("train on it: python launch.py ").split()
    flags.check(words)
    config = experiment_files.load(words[1])
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
    assert len(outs[0]) == 6 + 1  # files of images, and the description
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
    for line in source.messages():
        line.encode()
    assert len(source.digest()) == 64


@pytest.mark.parametrize("workers", [0, 1])
def test_labels_out_of_range_name_the_option(run, tmp_path, workers):
    kind = builders.TinyPictures(data_dir=tmp_path / "t", file_format="array_record")
    kind.download_and_prepare()
    where, options = "tfds:tiny_pictures:secret", ("--data_dir", tmp_path / "t")
    assert run(where, *options, workers=workers) == 1
    assert_says(run.errors[-1], "label=-1 of record 0", "3 classes", "--unlabelled")
    assert run(where, *options, "--unlabelled", workers=workers) == 0
    source = ArrayRecordSource(run.out, resolution=8)
    assert [int(record["label"]) for record in source] == [0, 0]


# Interrupted, and resumed.


def test_a_kill_leaves_finished_shards_and_the_same_command_resumes(
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
    # run returned, so the pipes are closed and no worker is still alive.
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


def test_a_damaged_or_missing_shard_is_repaired(run, many, small_shards):
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
def test_another_command_is_refused_with_the_differences(run, folder, options, words):
    run(folder)
    before = content_of(run.out)
    assert run(folder, *options) == 1
    assert_says(run.errors[-1], f"OUT='{run.out}'", f"({words})", "another directory")
    assert content_of(run.out) == before


def test_another_resolution_or_folder_is_refused(run, folder, many):
    run(folder)
    assert run(many, resolution=16) == 1
    assert_says(
        run.errors[-1],
        f"(IN '{folder}', not '{many}'; --resolution 8, not 16; classes; number of "
        "images 6, not 40; hash of names, sizes and times)",
    )


def test_changed_images_are_not_mixed_with_the_old_ones(run, folder):
    run(folder)
    put(folder / "cat" / "0.png", image_files.DOT)
    assert run(folder) == 1
    assert_says(run.errors[-1], f"OUT='{run.out}'", "(hash of names, sizes and times)")


def test_a_directory_with_other_files_is_not_written_to(run, folder):
    put(pathlib.Path(run.out, "letter.txt"), b"dear")
    assert run(folder) == 1
    assert_says(run.errors[-1], f"OUT='{run.out}'", "'letter.txt'", "new directory")
    assert os.listdir(run.out) == ["letter.txt"]


def test_two_processes_do_not_write_to_one_directory(run, folder):
    run(folder)
    lock = os.open(run.out, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert run(folder) == 1
    os.close(lock)
    assert_says(run.errors[-1], f"OUT='{run.out}'", "another process", "wait")
    assert run(folder) == 0


def test_the_lock_file_of_an_earlier_version_is_ignored(run, folder):
    put(pathlib.Path(run.out, ".lock"), b"")
    assert run(folder) == 0
    assert sorted(os.listdir(run.out)) == [".lock", prepared.FILE, SHARD]


def test_ctrl_c_is_one_sentence(run, folder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_shards.Maker, "make", interrupted)
    assert run(folder) == 130
    assert_says(run.errors[-1], "error: interrupted", "resume")
    assert os.listdir(run.out) == [prepared.FILE]
    monkeypatch.undo()
    assert run(folder) == 0


def die(keys):
    os._exit(1)


def test_a_process_that_is_killed_is_one_sentence(run, many, monkeypatch):
    monkeypatch.setattr(prepare_workers, "_make_portion", die)
    assert run(many, workers=1) == 1
    assert_says(run.errors[-1], "--workers=1", "killed", "memory", "fewer workers")


# Unreadable images, and a full disk.


def test_the_first_unreadable_image_stops_the_command(run, damaged):
    assert run(damaged) == 1
    first = min(DAMAGE)
    assert_says(
        without_counts(run.errors[-1]),
        f"error: '{damaged}: dog/{first}'",
        f"({DAMAGE[first][1]})",
        "--max_unreadable N",
        "new directory",
    )
    assert os.listdir(run.out) == [prepared.FILE]


def test_unreadable_images_are_left_out_on_request_and_each_is_reported(run, damaged):
    assert run(damaged, "--max_unreadable", len(DAMAGE)) == 0
    assert run.lines[0].startswith(
        f"{run.out}: 6 images of 3 classes: cat 2, dog 2, owl 2 ({len(DAMAGE)} "
        "unreadable "
    )
    said = [line for line in run.errors if "warning" in line]
    expected = [
        f"warning: '{damaged}: dog/{name}' is left out ({DAMAGE[name][1]})."
        for name in sorted(DAMAGE)
    ]
    assert [without_counts(line[line.index("warning") :]) for line in said] == expected
    source = ArrayRecordSource(run.out, resolution=8)
    assert image_files.levels(source, range(6)) == [0, 1, 10, 11, 20, 21]
    assert_says(source.messages()[1], "warning: ", f"{len(DAMAGE)} images")


def test_a_repaired_file_does_not_count_unreadable_images_again(run, damaged):
    options = ("--max_unreadable", len(DAMAGE))
    run(damaged, *options)
    before = content_of(run.out)
    os.unlink(f"{run.out}/{SHARD}")
    assert run(damaged, *options) == 0
    assert content_of(run.out) == before


def test_images_none_of_which_can_be_read_are_refused(run, tmp_path):
    put(tmp_path / "bad" / "only" / "0.png", b"")
    assert run(tmp_path / "bad", "--max_unreadable", 9) == 1
    assert_says(run.errors[-1], f"IN='{tmp_path}/bad'", "none of 1", "replace")


def test_too_little_space_is_reported_before_any_work(run, folder, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert run(folder) == 1
    assert_says(run.errors[-1], f"OUT='{run.out}'", "1.2 kB", "1.0 kB", "free some")


def test_a_full_disk_is_one_sentence_and_the_same_command_resumes(
    run, folder, tmp_path
):
    # To the library, a limit on the size of files is like a full disk: it fails when
    # buffered data is written.
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
    assert_says(
        done.stderr.splitlines()[-1],
        f"OUT='{run.out}'",
        "(File too large)",
        "free some space",
        "resume",
    )
    assert os.listdir(run.out) == [prepared.FILE]
    assert run(folder) == 0


def test_a_description_that_cannot_be_written_is_one_sentence(run, folder, monkeypatch):
    def full(path, described):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(prepared, "write_description", full)
    assert run(folder) == 1
    assert_says(run.errors[-1], f"OUT='{run.out}'", "(No space left", "free some space")


def test_a_place_that_cannot_be_written_to_is_named(folder, tmp_path, capsys):
    put(tmp_path / "file", b"")
    out = str(tmp_path / "file" / "ready")
    assert prepare.main([str(folder), out, "--resolution", "8"]) == 1
    assert_says(
        capsys.readouterr().err.splitlines()[-1],
        f"OUT='{out}'",
        f"({os.strerror(errno.ENOTDIR)})",
        "another directory",
    )


# Invalid arguments.


def test_an_input_without_images_is_named(run, tmp_path):
    assert run(tmp_path / "gone") == 1
    (line,) = run.errors
    assert_says(line, f"error: IN='{tmp_path}/gone' does not exist", "LMDB", "tfds:")
    put(tmp_path / "a.tar", b"")
    run(tmp_path / "a.tar")
    (line,) = run.errors
    assert_says(line, f"error: IN='{tmp_path}/a.tar'", "neither a directory nor a .zip")
    put(tmp_path / "a.zip", b"PK but no more")
    run(tmp_path / "a.zip")
    assert_says(run.errors[0], f"error: IN='{tmp_path}/a.zip'", "zip file (", "copy")
    (tmp_path / "empty").mkdir()
    run(tmp_path / "empty")
    assert_says(run.errors[0], f"error: IN='{tmp_path}/empty'", "no images (", ".bmp, ")
    assert not os.path.exists(run.out)


def test_loose_images_name_the_option_that_takes_them(run, folder):
    put(folder / "loose.png", image_files.DOT)
    assert run(folder) == 1
    (line,) = run.errors
    assert_says(line, f"error: IN='{folder}'", "'loose.png'", "move", "--unlabelled")
    assert run(folder, "--unlabelled") == 0


def test_data_sets_that_cannot_be_opened_are_named(run, tmp_path):
    run("tfds:imagenet2013")
    assert_says(run.errors[0], "error: IN: 'imagenet2013'", "did you mean imagenet2012")
    run("tfds:cifar10:3.0.2:test", "--data_dir", tmp_path)
    place = f"'cifar10:3.0.2' is not prepared in '{tmp_path}'"
    assert_says(run.errors[0], f"error: IN: {place}", "prepare it with")
    run("tfds:")
    (line,) = run.errors
    assert_says(line, "error: IN='tfds:'", "tfds:NAME[:SPLIT]")
    run(tmp_path / "a", "--data_dir", "x")
    (line,) = run.errors
    assert_says(line, "error: --data_dir='x'", f"IN='{tmp_path}/a'", "remove")


def test_an_unknown_split_names_the_ones_there_are(run, tmp_path):
    kind = builders.TinyPictures(data_dir=tmp_path / "t", file_format="array_record")
    kind.download_and_prepare()
    run("tfds:tiny_pictures:valid", "--data_dir", tmp_path / "t")
    assert_says(run.errors[0], "error: IN: 'valid'", "tiny_pictures/1.0.0", "train[")


@pytest.mark.parametrize("resolution", [3, 5000, -1])
def test_a_resolution_out_of_range_is_named(run, folder, resolution):
    assert run(folder, resolution=resolution) == 1
    (line,) = run.errors
    assert_says(line, f"error: --resolution={resolution}", "from 4 to 4096")


def test_missing_arguments_print_the_usage(capsys):
    for arguments in ([], ["in"], ["in", "out"], ["--verify", "a", "b"]):
        with pytest.raises(SystemExit) as caught:
            prepare.main(arguments)
        assert caught.value.code == 2
        assert "usage: python -m sagan_jax.data.prepare" in capsys.readouterr().err


# Verification.


@pytest.fixture
def verify(run, many, small_shards, capsys):
    """Prepares six files; verify() returns the exit code and the output."""
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


def test_intact_images_pass(verify):
    code, said = verify()
    assert code == 0
    assert_says(
        said,
        f"{verify.out}: no damage",
        "40 images of 2 classes: a 20, b 20; 6 files of 786.4 kB",
    )


def assert_damaged(verify, number, cause):
    code, text = verify()
    assert code == 1
    damage = f"'{shard(verify, number)}' is damaged ({cause})"
    assert_says(text, f"error: DIR: {damage}", "repair", f"{verify.command}\n")


def test_a_byte_that_differs_is_found(verify):
    content = bytearray(shard(verify, 2).read_bytes())
    content[len(content) // 3] ^= 1
    shard(verify, 2).write_bytes(content)
    assert_damaged(verify, 2, "its sha256 differs")


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
            "record 0: it has 64 bytes of pixels, which do not fit 8 x 8",
        ),
    ],
)
def test_invalid_records_are_found_even_if_every_hash_is_right(
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
    code, text = verify()
    assert code == 1
    parts = ("each class", "description.json", "another directory")
    assert_says(text, f"error: DIR='{verify.out}'", *parts)


def test_an_incomplete_directory_is_reported(verify):
    described = prepared.read_description(verify.out)
    described.complete = False
    del described.shards[4:]
    prepared.write_description(verify.out, described)
    code, text = verify()
    assert code == 1
    parts = ("incomplete: 4 of 6 files", "resume", f"{verify.command}\n")
    assert_says(text, f"error: DIR='{verify.out}'", *parts)


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


@pytest.mark.parametrize("place", ["prepared", "cat/prepared", "."])
def test_out_inside_of_in_is_refused_at_once(folder, capsys, place):
    out = folder / place
    for _ in range(2):
        code = prepare.main([str(folder), str(out), "--resolution", "8"])
        text = capsys.readouterr().err
        assert code == 1
        assert_says(text, f"error: OUT='{out}'", f"IN='{folder}'", "outside")
    assert sorted(p.name for p in folder.iterdir()) == ["cat", "dog", "owl"]
    hidden = str(folder / ".prepared")  # where no image is looked for
    assert prepare.main([str(folder), hidden, "--resolution", "8"]) == 0


def test_out_inside_of_a_folder_that_a_link_adds_is_refused(folder, tmp_path, capsys):
    (tmp_path / "more").mkdir()
    put(tmp_path / "more" / "0.png", image_files.DOT)
    (folder / "zebra").symlink_to(tmp_path / "more")
    out = str(tmp_path / "more" / "ready")
    assert prepare.main([str(folder), out, "--resolution", "8"]) == 1
    assert_says(capsys.readouterr().err, f"error: OUT='{out}'", "outside")
    assert not os.path.exists(out)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii"])
@pytest.mark.parametrize("name", [b"caf\xe9", "caf\xe9".encode(), b"a\nb\x1b[31m"])
def test_any_name_of_a_class_or_of_out_is_prepared(tmp_path, name, encoding):
    images, out = (os.fsencode(tmp_path / p) + b"/" + name for p in ("in", "out"))
    for kind in (name, b"dog"):
        put(pathlib.Path(os.fsdecode(images + b"/" + kind)) / "0.png", image_files.DOT)
    os.mkdir(tmp_path / "out")
    command = [sys.executable, "-m", "sagan_jax.data.prepare"]
    for arguments in ([images, out, "--resolution", "8"], ["--verify", out]):
        done = subprocess.run(
            [*command, *arguments],
            env=os.environ | {"PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done
        lines = done.stdout.splitlines()
        assert len(lines) == (1 if "--verify" in arguments else 2)
        assert b"2 images of 2 classes" in lines[0]
        assert b"\x1b" not in done.stdout
    source = ArrayRecordSource(os.fsdecode(out), resolution=8)
    assert source.class_names == tuple(sorted((os.fsdecode(name), "dog")))
    assert image_files.levels(source, range(2)) == [1, 1]
