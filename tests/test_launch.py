"""The command line as a user meets it: real processes, killed and wronged."""

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

from sagan_jax.workdir import checkpoint

ROOT = Path(__file__).resolve().parents[1]
QUICKSTART = f"--config={ROOT / 'experiments' / 'quickstart.py'}"
SMOKE = f"{QUICKSTART}:smoke"
# Long enough to be killed and stopped on the way.
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
    """Returns the one sentence of a command that must fail and leave no trace."""
    before = tiny_runs.tree_of(cwd)
    answer = _launch(*argv, cwd=cwd)
    assert answer.code == 1, answer
    assert re.fullmatch(r"error: [^\n]+\n", answer.err), answer.err
    assert tiny_runs.tree_of(cwd) == before
    return answer.err.removeprefix("error: ").rstrip("\n")


# One run without and one with accidents.


class Story(NamedTuple):
    """A whole run; the same killed, gone on with, stopped, gone on with."""

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
    killed_at = checkpoint.steps(run)
    later = saved / str(killed_at[-1] + 20)
    stopped = _send(signal.SIGINT, _start(*command, cwd=folder), later)
    typed = shlex.split(stopped.out.partition("go on with: ")[2])
    resumed = _launch(*typed[2:], cwd=folder)
    return Story(folder, whole, killed, killed_at, stopped, resumed)


def test_a_run_ends_with_code_0_and_its_scores(story: Story) -> None:
    assert story.whole.code == 0
    first, second, third = story.whole.out.splitlines()
    assert first == "workdir: whole"
    assert second == "100 steps done; pictures in whole/samples"
    assert third.startswith("far pairs, 32 images: disagreement S = ")


def test_the_bar_tells_step_losses_and_speed(story: Story) -> None:
    last = story.whole.err.split("\r")[-1]
    assert re.search(r"100/100 .*step.*, D -?\d.* G -?\d.* images/s", last)


def test_nothing_but_the_bar_is_on_standard_error(story: Story) -> None:
    lines = [line for line in re.split(r"[\r\n]", story.whole.err) if line]
    assert [line for line in lines if "/100 [" not in line] == []


def test_a_killed_run_keeps_its_first_checkpoint(story: Story) -> None:
    assert story.killed.code == -signal.SIGKILL
    assert 20 in story.killed_at
    assert 100 not in story.killed_at


def test_the_same_command_goes_on_after_a_kill(story: Story) -> None:
    assert f"resumed at step {story.killed_at[-1]}\n" in story.stopped.out


def test_sigint_ends_with_code_0_and_the_command_that_goes_on(story: Story) -> None:
    assert story.stopped.code == 0
    command = shlex.join([str(ROOT / "launch.py"), *LONG, "--workdir=run"])
    assert re.search(
        rf"stopped and saved at step \d+; go on with: python\S* {re.escape(command)}\n",
        story.stopped.out,
    )
    assert "Traceback" not in story.stopped.err


def test_that_command_goes_on_to_the_end(story: Story) -> None:
    (step,) = re.findall(r"saved at step (\d+)", story.stopped.out)
    assert story.resumed.code == 0
    assert f"resumed at step {step}\n100 steps done;" in story.resumed.out


def test_accidents_change_no_bit_of_the_state(story: Story) -> None:
    tiny_gan.assert_same_bits(
        tiny_runs.read_state(story.folder / "run", 100),
        tiny_runs.read_state(story.folder / "whole", 100),
    )


def test_accidents_change_no_line_of_the_metrics(story: Story) -> None:
    (stop,) = map(int, re.findall(r"saved at step (\d+)", story.stopped.out))
    lines = tiny_runs.read_metrics(story.folder / "run")
    # A stop is logged wherever it falls.
    regular = [line for line in lines if line["step"] != stop or stop % 10 == 0]
    assert regular == tiny_runs.read_metrics(story.folder / "whole")


def test_a_finished_run_says_so_and_ends_with_code_0(story: Story) -> None:
    answer = _launch(*LONG, "--workdir=whole", cwd=story.folder)
    assert answer.code == 0
    sentence = "whole has all of its 100 steps; raise train.steps to go on."
    assert answer.out.splitlines() == ["workdir: whole", sentence]


def test_samples_need_no_config(story: Story) -> None:
    argv = ["--mode=sample", "--workdir=whole", "--step=80", "--labels=1,3"]
    answer = _launch(*argv, cwd=story.folder)
    assert answer.code == 0, answer.err
    path = story.folder / "whole" / "samples" / "sample_00000080_seed1234_standing.png"
    assert answer.out.splitlines()[-1] == f"wrote {path.relative_to(story.folder)}"
    with Image.open(path) as image:
        assert image.size == (4 * 130 + 2, 2 * 130 + 2)


def test_samples_become_files_as_asked(story: Story) -> None:
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
    ("argv", "sentence"),
    [
        (
            ["--step=best"],
            "step='best': workdir='whole' has no evaluations; train with "
            "--config.evaluation.every=STEPS, or give a step.",
        ),
        (
            ["--truncations=a"],
            "truncations='a' is not a list of numbers; write --truncations 0.5,1.",
        ),
        (
            ["--evaluation.metrics=fit"],
            "metrics: 'fit' is not known; choose among fid, is, kid, "
            "precision_recall, density_coverage, intra_fid, fid_infinity.",
        ),
        (
            ["--evaluation.metrics=fid", "--evaluation.weights=none.pth"],
            "weights='none.pth' does not exist; name a .safetensors or .pth file, or "
            "none to use the cache directory's.",
        ),
    ],
    ids=["best", "truncations", "metric", "weights"],
)
def test_evaluations_that_cannot_be_are_refused(
    argv: list[str], sentence: str, story: Story
) -> None:
    given = ["--mode=evaluate", "--workdir=whole", *argv]
    assert _refused(*given, cwd=story.folder) == sentence


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ["--labels=0,99"],
            "labels=99 is out of range; this generator has 4 classes, 0 to 3.",
        ),
        (
            ["--labels=-1"],
            "labels=-1 is out of range; this generator has 4 classes, 0 to 3.",
        ),
        (["--labels=a"], "labels='a' is not a list of classes; write --labels 0,1."),
        (
            ["--evaluation.sed=3"],
            "evaluation.sed is not a field; did you mean evaluation.seed or "
            "evaluation.seeds or evaluation.ema?",
        ),
        (
            ["--evaluation.truncation=x"],
            "evaluation.truncation='x' has the wrong type; it takes a finite number.",
        ),
        (
            [SMOKE, "--config.evaluation.seed=3"],
            "--config.evaluation.seed is for --mode train; --mode sample takes the "
            "run's own settings, and of these --evaluation.seed=VALUE may differ.",
        ),
        (
            ["--step=7"],
            "step=7 has no checkpoint in 'whole'; choose among 20, 40, 60, 80, 100.",
        ),
    ],
    ids=["label", "negative label", "text", "field", "type", "config", "step"],
)
def test_samples_that_cannot_be_are_refused(
    argv: list[str], sentence: str, story: Story
) -> None:
    given = ["--mode=sample", "--workdir=whole", *argv]
    assert _refused(*given, cwd=story.folder) == sentence


def test_the_workdir_of_another_model_is_refused(story: Story) -> None:
    argv = [*LONG, "--workdir=whole", "--config.model.latent_dim=8"]
    assert _refused(*argv, cwd=story.folder) == (
        "workdir='whole' holds another run (model.latent_dim: 16 there, 8 asked for); "
        "give another --workdir, or its own settings."
    )


def test_a_full_disk_ends_with_a_sentence(story: Story, tmp_path: Path) -> None:
    # The bar's own device says that it is full; the checkpoints before are whole.
    shutil.copytree(story.folder / "whole", tmp_path / "run")
    (tmp_path / "run" / "results.jsonl").unlink()
    (tmp_path / "run" / "results.jsonl").symlink_to("/dev/full")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "100")
    answer = _launch(*LONG, "--workdir=run", cwd=tmp_path)
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert answer.err.splitlines()[-1] == (
        "error: the disk takes no more (No space left on device); make room, and the "
        "same command goes on from the newest whole checkpoint."
    )


def test_an_interrupt_ends_at_once_without_a_traceback(tmp_path: Path) -> None:
    # As a second SIGINT does, or one before the first step.
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
    assert answer.stderr == "error: interrupted; the same command goes on.\n"


# Commands that are wrong before jax is imported.


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "--config is missing; try --config experiments/quickstart.py."),
        (
            ["--mode=sample"],
            "--config is missing; try --config experiments/quickstart.py.",
        ),
        (
            ["--config=no.py"],
            "config='no.py' is not a file; try experiments/quickstart.py.",
        ),
        (
            [f"{QUICKSTART}:big"],
            "config argument 'big' is not known; try :smoke.",
        ),
        (
            [SMOKE, "--config.train.step=3"],
            "config.train.step is not a field; did you mean train.steps or "
            "train.d_steps or train.seed?",
        ),
        (
            [SMOKE, "--evaluation.seed=3"],
            "--evaluation.seed is for other modes than train; write "
            "--config.evaluation.seed.",
        ),
        (
            [SMOKE, "--config.model.width=2.5"],
            "model.width='2.5' has the wrong type; it takes a whole number.",
        ),
        (
            [SMOKE, "--config.optim.generator_lr=None"],
            "optim.generator_lr='None' has the wrong type; it takes a finite number.",
        ),
        (
            [SMOKE, "--config.model.attention_resolutions=4.5"],
            "model.attention_resolutions=(4.5,) has the wrong type; it takes a tuple "
            "of integers, such as 16,32.",
        ),
        (
            [SMOKE, "--config.model.width=0"],
            "model.width=0 is out of range; choose a value from 1 to 4096.",
        ),
        (
            [SMOKE, "--config.train.seed=4294967296"],
            "train.seed=4294967296 is out of range; choose a value from 0 to "
            "4294967295.",
        ),
        (
            [SMOKE, "--config.train.loss=wgan"],
            "train.loss='wgan' is not known; choose among hinge, non_saturating.",
        ),
        (
            [SMOKE, "--config.data.source=folder"],
            "data.path='' names no folder; set --config.data.path=DIR to a directory "
            "with one sub-folder of images for each class.",
        ),
        (
            [SMOKE, "--mode=fly"],
            "flag --mode=fly: value should be one of <train|sample|evaluate>; see "
            "--help.",
        ),
        ([SMOKE, "--bogus=1"], "Unknown command line flag 'bogus'; see --help."),
        ([SMOKE, "extra"], "'extra' is not a flag; see --help."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_is_answered_in_one_sentence(
    argv: list[str], sentence: str, tmp_path: Path
) -> None:
    assert _refused(*argv, cwd=tmp_path) == sentence


def test_a_wrong_command_is_answered_without_jax(tmp_path: Path) -> None:
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
    assert answer.stderr.startswith("error: train.seed=-1 is out of range;")


# Commands that are wrong in what the networks, the data or the disk would have to be.


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ["--config.model.attention_resolutions=24"],
            "attention_resolutions=(24,): a 32 px generator has feature maps at 8, 16, "
            "32; choose among those.",
        ),
        (
            ["--config.model.width=12"],
            "width=12 gives the generator 12 channels at 16x16, and attention there "
            "needs a multiple of 8; choose another width or another of "
            "attention_resolutions.",
        ),
        (
            ["--config.model.resolution=48"],
            "resolution=48 cannot be; choose among 32, 64, 128, 256.",
        ),
        (
            ["--config.mesh.devices=2"],
            "mesh.devices=2, but there are 1; choose at most that many, or 0 for all.",
        ),
        (
            ["--mode=sample", "--workdir=run"],
            "workdir='run' holds no run (config.json is missing); train one with "
            "--mode train, or give its --workdir.",
        ),
        (
            ["--workdir=file"],
            "workdir='file' is a file; give a directory, or a new name.",
        ),
        (
            ["--workdir=file/run"],
            "workdir='file/run' cannot be written (Not a directory); give another with "
            "--workdir.",
        ),
        (
            ["--config.data.source=folder", "--config.data.path=nowhere"],
            "data.path='nowhere' does not exist; set --config.data.path=DIR to a "
            "directory of images.",
        ),
        (
            [
                "--config.evaluation.metrics=fid",
                "--config.evaluation.weights=none.pth",
            ],
            "weights='none.pth' does not exist; name a .safetensors or .pth file, or "
            "none to use the cache directory's.",
        ),
        (
            ["--config.data.source=tfds", "--config.data.dataset=imagenet2021"],
            "data.dataset='imagenet2021': 'imagenet2021' is no name that "
            "tensorflow-datasets knows; did you mean imagenet2012 or imagenet_v2 or "
            "imagenet2012_real or imagenette?",
        ),
        (
            ["--config.data.source=folder", "--config.data.path=empty"],
            "data.path='empty' holds no images (.bmp, .gif, .jpeg, .jpg, .png, .tif, "
            ".tiff, .webp); set --config.data.path=DIR to a directory with one "
            "sub-folder of images for each class.",
        ),
        (
            ["--config.data.source=folder", "--config.data.path=two"],
            "model.num_classes=4, but data.path='two' holds 2 classes (cat, dog); set "
            "--config.model.num_classes=2.",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    argv: list[str], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "two" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "two" / name / "0.png")
    assert _refused(SMOKE, *argv, cwd=tmp_path) == sentence


def test_sampling_asks_for_no_images(tmp_path: Path) -> None:
    config = f"--config={ROOT / 'experiments' / 'cifar10.py'}"
    sentence = _refused(config, "--mode=sample", cwd=tmp_path)
    assert sentence.startswith("workdir='runs/cifar10' holds no run ")


def test_a_batch_that_devices_do_not_divide_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = subprocess.Popen

    def with_devices(*args: object, **kwargs: object) -> subprocess.Popen[str]:
        kwargs["env"] = {**kwargs["env"], "JAX_NUM_CPU_DEVICES": "3"}  # type: ignore
        return start(*args, **kwargs)  # type: ignore

    monkeypatch.setattr(subprocess, "Popen", with_devices)
    assert _refused(SMOKE, cwd=tmp_path) == (
        "train.batch_size=8 cannot be split over 3 devices; choose a multiple, or set "
        "mesh.devices."
    )


def test_a_dry_run_describes_and_makes_nothing(tmp_path: Path) -> None:
    answer = _launch(SMOKE, "--dry_run", cwd=tmp_path)
    assert answer.code == 0, answer
    assert "GFLOP per image" in answer.out
    assert tiny_runs.tree_of(tmp_path) == {}
