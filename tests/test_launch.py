"""The command line in real processes: runs, kills, stops and invalid commands."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import tiny_gan
import tiny_runs
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = f"--config={ROOT / 'experiments' / 'quickstart.py'}"
SMOKE = f"{QUICKSTART}:smoke"
# Long enough to be killed and stopped before the end.
LONG = [SMOKE, "--config.train.steps=100", "--config.train.checkpoint_every=20"]
LONG += ["--config.train.sample_every=100", "--config.train.log_every=10"]
LONG += ["--config.train.keep_checkpoints=9"]


class Answer(NamedTuple):
    code: int
    out: str
    err: str


def _start(*argv: str, cwd: Path) -> subprocess.Popen[str]:
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(tiny_runs.folder() / "processes"),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # they cost more than they save here
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *argv],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> Answer:
    out, err = process.communicate(timeout=300)
    return Answer(process.returncode, out, err)


def _launch(*argv: str, cwd: Path) -> Answer:
    return _finish(_start(*argv, cwd=cwd))


def _send(number: int, process: subprocess.Popen[str], after: Path) -> Answer:
    """Sends a signal as soon as the path `after` exists."""
    deadline = time.monotonic() + 300
    while not after.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return _finish(process)


def _refused(*argv: str, cwd: Path) -> str:
    """Returns the message of a command that must fail and change no file."""
    before = tiny_runs.tree_of(cwd)
    answer = _launch(*argv, cwd=cwd)
    assert answer.code == 1, answer
    assert re.fullmatch(r"error: [^\n]+\n", answer.err), answer.err
    assert tiny_runs.tree_of(cwd) == before
    return answer.err.removeprefix("error: ").rstrip("\n")


# An uninterrupted run, and one that is killed and stopped.


class Story(NamedTuple):
    """An uninterrupted run, and the same run killed, resumed, stopped and resumed."""

    folder: Path
    whole: Answer
    killed: Answer
    killed_at: list[int]
    stopped: Answer
    resumed: Answer


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    whole = _launch(*LONG, "--workdir=whole", cwd=folder)
    command, run = [*LONG, "--workdir=run"], folder / "run"
    saved = run / "checkpoints"
    killed = _send(signal.SIGKILL, _start(*command, cwd=folder), saved / "20")
    killed_at = tiny_runs.steps(run)
    later = saved / str(killed_at[-1] + 20)
    stopped = _send(signal.SIGINT, _start(*command, cwd=folder), later)
    typed = shlex.split(stopped.out.rpartition(": ")[2])
    resumed = _launch(*typed[2:], cwd=folder)
    return Story(folder, whole, killed, killed_at, stopped, resumed)


def test_a_run_ends_with_code_0_and_its_scores(story: Story) -> None:
    assert story.whole.code == 0
    first, memory, devices, second, third = story.whole.out.splitlines()
    assert (first, devices) == ("workdir: whole", "training on 1 cpu")
    assert memory.startswith("memory: kept")
    assert re.match(r"100 steps .* whole/samples$", second)
    assert re.match(r"far pairs, 32 images: .*\bS = \d", third)


def test_the_bar_shows_step_losses_and_speed(story: Story) -> None:
    last = story.whole.err.split("\r")[-1]
    assert re.search(r"100/100 .*step.*, D -?\d.* G -?\d.* images/s", last)


def test_only_the_bar_is_on_standard_error(story: Story) -> None:
    lines = [line for line in re.split(r"[\r\n]", story.whole.err) if line]
    assert [line for line in lines if "/100 [" not in line] == []


def test_a_killed_run_keeps_its_first_checkpoint(story: Story) -> None:
    assert story.killed.code == -signal.SIGKILL
    assert 20 in story.killed_at
    assert 100 not in story.killed_at


def test_the_same_command_resumes_after_a_kill(story: Story) -> None:
    assert f"resumed at step {story.killed_at[-1]}\n" in story.stopped.out


def test_sigint_ends_with_code_0_and_prints_the_command_to_resume(story: Story) -> None:
    assert story.stopped.code == 0
    command = shlex.join([str(ROOT / "launch.py"), *LONG, "--workdir=run"])
    assert re.search(
        rf"stopped .*step \d+.*resume.*: python\S* {re.escape(command)}\n",
        story.stopped.out,
    )
    assert "Traceback" not in story.stopped.err


def test_that_command_finishes_the_run(story: Story) -> None:
    (step,) = re.findall(r"stopped .*step (\d+)", story.stopped.out)
    assert story.resumed.code == 0
    assert f"resumed at step {step}\n100 steps " in story.resumed.out


def test_kills_and_stops_do_not_change_the_state(story: Story) -> None:
    tiny_gan.assert_same_bits(
        tiny_runs.read_state(story.folder / "run", 100),
        tiny_runs.read_state(story.folder / "whole", 100),
    )


def test_kills_and_stops_do_not_change_the_metrics(story: Story) -> None:
    (stop,) = map(int, re.findall(r"stopped .*step (\d+)", story.stopped.out))
    lines = tiny_runs.read_metrics(story.folder / "run")
    # A stop logs its step, whether or not it is due.
    regular = [line for line in lines if line["step"] != stop or stop % 10 == 0]
    assert regular == tiny_runs.read_metrics(story.folder / "whole")


def test_the_compiled_step_is_stored_for_later_starts(story: Story) -> None:
    # The later starts of the story used it, and gave the same bits.
    programs = Path(os.environ["XDG_CACHE_HOME"]) / "sagan_jax" / "programs"
    entries = list(programs.glob("*.program"))
    assert entries
    assert {entry.stat().st_mode & 0o777 for entry in entries} == {0o600}


def test_a_finished_run_is_reported_with_code_0(story: Story) -> None:
    answer = _launch(*LONG, "--workdir=whole", cwd=story.folder)
    assert answer.code == 0
    first, *_, second = answer.out.splitlines()
    assert first == "workdir: whole"
    assert re.match(r"whole .*100 steps.*train\.steps", second)


def test_a_run_goes_on_when_nobody_reads_its_messages(
    story: Story, tmp_path: Path
) -> None:
    # As in `python launch.py ... 2>&1 | head -1`.
    process = _start(*LONG, "--workdir=run", "--config.train.steps=20", cwd=tmp_path)
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "workdir: run\n"
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=300) == 0
    lines = tiny_runs.read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [10, 20]
    assert tiny_runs.steps(tmp_path / "run") == [20]
    assert (tmp_path / "run" / "results.jsonl").exists()


def test_a_listing_ends_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    process = _start(SMOKE, "--dry_run", cwd=tmp_path)
    assert process.stdout
    assert process.stdout.readline() == "workdir: runs/quickstart_smoke\n"
    process.stdout.close()
    process.stdout = None
    assert _finish(process)[::2] == (0, "")


def test_without_a_home_directory_a_command_runs_and_says_so_once(
    tmp_path: Path,
) -> None:
    # As a user id that is in no password file, in a container.
    program = (
        "import pwd\n"
        "def missing(number): raise KeyError(number)\n"
        "pwd.getpwuid = missing\n"
        "import launch; launch.run()"
    )
    names = ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    kept = {name: text for name, text in os.environ.items() if name not in names}
    answer = subprocess.run(
        [sys.executable, "-c", program, SMOKE, "--dry_run"],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.count("nothing is cached") == 1
    assert "XDG_CACHE_HOME" in answer.stdout
    assert tiny_runs.tree_of(tmp_path) == {}


def test_samples_need_no_config(story: Story) -> None:
    argv = ["--mode=sample", "--workdir=whole", "--step=80", "--labels=1,3"]
    answer = _launch(*argv, cwd=story.folder)
    assert answer.code == 0, answer.err
    path = story.folder / "whole" / "samples" / "sample_00000080_seed1234_standing.png"
    assert answer.out.splitlines()[-1] == f"wrote {path.relative_to(story.folder)}"
    with Image.open(path) as image:
        assert image.size == (4 * 130 + 2, 2 * 130 + 2)


def test_samples_can_be_written_as_image_files(story: Story) -> None:
    argv = ["--mode=sample", "--workdir=whole", "--to=images", "--count=3"]
    argv += ["--labels=1,3", "--out=taken", "--evaluation.seed=7"]
    argv += ["--noevaluation.ema", "--evaluation.statistics=running"]
    answer = _launch(*argv, cwd=story.folder)
    assert answer.code == 0, answer.err
    found = sorted(p.name for p in (story.folder / "taken").rglob("*.*"))
    assert found == ["0.png", "1.png", "2.png", "samples.json"]
    facts = json.loads((story.folder / "taken" / "samples.json").read_text())
    assert (facts["seed"], facts["ema"], facts["statistics"]) == (7, False, "running")


def test_a_run_is_evaluated_by_one_command(story: Story) -> None:
    argv = ["--mode=evaluate", "--workdir=whole", "--step=80"]
    argv += ["--evaluation.num_samples=8", "--truncations=0.5,1"]
    answer = _launch(*argv, cwd=story.folder)
    assert answer.code == 0, answer.err
    *_, heads, one, other, wrote = answer.out.splitlines()
    assert heads.split()[:3] == ["step", "truncation", "score"]
    assert [row.split()[:2] for row in (one, other)] == [["80", "0.5"], ["80", "1"]]
    assert wrote == "wrote whole/results.jsonl"
    lines = (story.folder / "whole" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["truncation"] for line in lines[-2:]] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--step=best"], ["step='best'", "evaluation.every"]),
        (["--step=next"], ["step='next'", "best"]),
        (["--truncations=a"], ["truncations='a'", "0.5,1"]),
        (["--truncations=0.5,-1"], ["evaluation.truncation=-1", "from 0"]),
        (["--evaluation.metrics=fit"], ["metrics", "'fit'", "kid"]),
        (
            ["--evaluation.metrics=fid", "--evaluation.weights=none.pth"],
            ["weights='none.pth'", ".safetensors"],
        ),
        (
            ["--config.mesh.distributed=True"],
            ["mesh.distributed=True", "no other process", "SLURM"],
        ),
    ],
    ids=lambda value: " ".join(value),
)
def test_invalid_evaluations_are_refused(
    argv: list[str], words: list[str], story: Story
) -> None:
    given = ["--mode=evaluate", "--workdir=whole", *argv]
    message = _refused(*given, cwd=story.folder)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--labels=0,99"], ["labels=99", "0 to 3"]),
        (["--labels=-1"], ["labels=-1", "0 to 3"]),
        (["--labels=a"], ["labels='a'", "--labels 0,1"]),
        (["--labels=99999999999"], ["labels='99999999999'", "--labels 0,1"]),
        (["--evaluation.sed=3"], ["evaluation.sed", "evaluation.seed"]),
        (["--config.mesh.device=3"], ["mesh.device", "mesh.devices"]),
        (
            ["--evaluation.truncation=x"],
            ["evaluation.truncation='x'", "a finite number"],
        ),
        (
            [SMOKE, "--config.evaluation.seed=3"],
            ["--config.evaluation.seed", "--mode train", "--evaluation.seed"],
        ),
        (["--step=7"], ["step=7", "20, 40, 60, 80, 100"]),
        (["--out=gs://bucket/x.png"], ["out", "gs://bucket/x.png", "local"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_invalid_samples_are_refused(
    argv: list[str], words: list[str], story: Story
) -> None:
    given = ["--mode=sample", "--workdir=whole", *argv]
    message = _refused(*given, cwd=story.folder)
    assert [word for word in words if word not in message] == [], message


def test_the_workdir_of_another_model_is_refused(story: Story) -> None:
    argv = [*LONG, "--workdir=whole", "--config.model.latent_dim=8"]
    message = _refused(*argv, cwd=story.folder)
    assert re.search(r"model\.latent_dim \D*16 \D*8\b", message)
    assert "--workdir" in message


def test_a_full_disk_is_reported_in_one_sentence(story: Story, tmp_path: Path) -> None:
    # Writing to /dev/full fails as on a full disk.
    shutil.copytree(story.folder / "whole", tmp_path / "run")
    (tmp_path / "run" / "results.jsonl").unlink()
    (tmp_path / "run" / "results.jsonl").symlink_to("/dev/full")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "100")
    answer = _launch(*LONG, "--workdir=run", cwd=tmp_path)
    assert answer.code == 1
    assert "Traceback" not in answer.err
    last = answer.err.splitlines()[-1]
    assert re.match(r"error: .*disk.*No space left on .*resume", last)


def test_an_interrupt_ends_at_once_without_a_traceback(tmp_path: Path) -> None:
    # Like a second SIGINT, or one before the first step.
    program = (
        "import signal, launch\n"
        "launch.main = lambda argv: signal.raise_signal(signal.SIGINT)\n"
        "launch.run()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 128 + signal.SIGINT
    assert re.fullmatch(r"error: interrupted.*resume.*\n", answer.stderr)


# Errors that are found before jax is imported.


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["--config", "experiments/quickstart.py"]),
        (["--mode=sample"], ["--config", "experiments/quickstart.py"]),
        (["--config=no.py"], ["config='no.py'", "experiments/quickstart.py"]),
        ([f"{QUICKSTART}:big"], ["'big'", ":smoke"]),
        ([SMOKE, "--config.train.step=3"], ["config.train.step", "train.steps"]),
        (
            [SMOKE, "--evaluation.seed=3"],
            ["--evaluation.seed", "--config.evaluation.seed"],
        ),
        ([SMOKE, "--mesh.devices=3"], ["--mesh.devices", "--config.mesh.devices"]),
        ([SMOKE, "--config.model.width=2.5"], ["model.width='2.5'", "whole number"]),
        (
            [SMOKE, "--config.optim.generator_lr=None"],
            ["optim.generator_lr='None'", "finite number"],
        ),
        (
            [SMOKE, "--config.model.attention_resolutions=4.5"],
            ["model.attention_resolutions=(4.5,)", "16,32"],
        ),
        ([SMOKE, "--config.model.width=0"], ["model.width=0", "1 to 4096"]),
        (
            [SMOKE, "--config.train.seed=4294967296"],
            ["train.seed=4294967296", "0 to 4294967295"],
        ),
        ([SMOKE, "--config.train.loss=wgan"], ["train.loss='wgan'", "hinge"]),
        (
            [SMOKE, "--config.data.source=folder"],
            ["data.path=''", "--config.data.path=DIR"],
        ),
        ([SMOKE, "--mode=fly"], ["--mode=fly", "train|sample|evaluate"]),
        ([SMOKE, "--bogus=1"], ["'bogus'", "--help"]),
        ([SMOKE, "extra"], ["'extra'", "--help"]),
        ([SMOKE, "--workdir=gs://bucket/run"], ["gs://bucket/run", "local"]),
        ([SMOKE, "--workdir=hdfs://a/run"], ["hdfs://a/run", "local"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_wrong_command_gives_a_message_of_one_sentence(
    argv: list[str], words: list[str], tmp_path: Path
) -> None:
    message = _refused(*argv, cwd=tmp_path)
    assert [word for word in words if word not in message] == [], message


def test_a_wrong_command_is_reported_without_importing_jax(tmp_path: Path) -> None:
    program = (
        "import sys, launch\n"
        f"sys.argv = ['launch.py', {SMOKE!r}, '--config.train.seed=-1']\n"
        "try:\n    launch.run()\n"
        "finally:\n    assert 'jax' not in sys.modules\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: train.seed=-1 ")


# Errors of networks, data and disk, found before anything is written.


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (
            ["--config.model.attention_resolutions=24"],
            ["attention_resolutions=(24,)", "8, 16, 32"],
        ),
        (
            ["--config.model.width=12"],
            ["width=12", "12 channels at 16x16", "multiple of 8"],
        ),
        (["--config.model.resolution=48"], ["resolution=48", "32, 64, 128"]),
        (["--config.mesh.devices=2"], ["mesh.devices=2", "there are 1", "0 for all"]),
        (["--mode=sample", "--workdir=run"], ["workdir='run'", "--mode train"]),
        (["--workdir=file"], ["workdir='file'", "directory"]),
        (["--workdir=file/run"], ["workdir='file/run'", "Not a directory"]),
        (
            ["--config.data.source=folder", "--config.data.path=nowhere"],
            ["data.path", "'nowhere'", "not exist"],
        ),
        (
            [
                "--config.evaluation.metrics=fid",
                "--config.evaluation.weights=none.pth",
            ],
            ["weights='none.pth'", ".safetensors"],
        ),
        (
            ["--config.data.source=tfds", "--config.data.dataset=imagenet2021"],
            ["data.dataset", "imagenet2021", "imagenet2012"],
        ),
        (
            ["--config.data.source=folder", "--config.data.path=empty"],
            ["data.path", "'empty'", ".webp"],
        ),
        (
            ["--config.data.source=folder", "--config.data.path=two"],
            ["model.num_classes=4", "cat, dog", "--config.model.num_classes=2"],
        ),
    ],
    ids=lambda value: " ".join(value),
)
def test_an_invalid_run_is_refused_before_anything_is_written(
    argv: list[str], words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "two" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "two" / name / "0.png")
    message = _refused(SMOKE, *argv, cwd=tmp_path)
    assert [word for word in words if word not in message] == [], message


def test_sampling_does_not_need_the_training_images(tmp_path: Path) -> None:
    config = f"--config={ROOT / 'experiments' / 'cifar10.py'}"
    message = _refused(config, "--mode=sample", cwd=tmp_path)
    assert message.startswith("workdir='runs/cifar10' ")


def test_a_batch_that_is_not_divisible_by_the_devices_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def with_devices(*args: object, **kwargs: object) -> subprocess.Popen[str]:
        kwargs["env"] = {**kwargs["env"], "JAX_NUM_CPU_DEVICES": "3"}  # type: ignore
        return start(*args, **kwargs)  # type: ignore

    monkeypatch.setattr(subprocess, "Popen", with_devices)
    message = _refused(SMOKE, cwd=tmp_path)
    assert "train.batch_size=8" in message
    assert "mesh.devices" in message


def test_a_dry_run_describes_the_run_and_writes_nothing(tmp_path: Path) -> None:
    answer = _launch(SMOKE, "--dry_run", cwd=tmp_path)
    assert answer.code == 0, answer
    assert "GFLOP per image" in answer.out
    assert tiny_runs.tree_of(tmp_path) == {}
