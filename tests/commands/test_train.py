"""Whole runs in this process: the files they write, how they stop and resume."""

import functools
import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
import tiny_runs
from PIL import Image

from sagan_jax import config as config_lib
from sagan_jax.commands import train
from sagan_jax.config import Config
from sagan_jax.data import pipeline, sources
from sagan_jax.data import source as source_lib
from sagan_jax.errors import UserError
from sagan_jax.evaluation import attention, sampling
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.files import lock, manifest
from sagan_jax.metrics import attention_distance
from sagan_jax.pictures import sheets
from sagan_jax.runtime import stop as stop_lib
from sagan_jax.training import collapse
from sagan_jax.workdir import checkpoint, telemetry
from sagan_jax.workdir import run as run_lib


def _copy(run: tiny_runs.Run, to: Path) -> Path:
    return Path(shutil.copytree(run.workdir, to / "run"))


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# A run from its first step to its last.


def test_the_step_is_compiled_once() -> None:
    assert tiny_runs.whole().traces == 1


def test_every_step_is_logged_once() -> None:
    lines = tiny_runs.read_metrics(tiny_runs.whole().workdir)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_a_logged_step_has_all_metrics() -> None:
    line = tiny_runs.read_lines(tiny_runs.whole().workdir / "metrics.jsonl")[-1]
    both = ("generator", "discriminator")
    assert {
        *(f"loss/{name}" for name in both),
        *(f"gradient_norm/{name}" for name in both),
        *(f"parameter_norm/{name}" for name in both),
        *(f"largest_sigma/{name}" for name in both),
        *(f"gamma/{name}/attention16" for name in both),
        *("logits/real", "logits/fake", "positive/real", "positive/fake"),
        *("step", "time", "skipped", "images_per_second"),
        *("collapse_signs", "images_replaced"),
    } == set(line)


def test_sheets_are_drawn_before_training_and_every_third_step() -> None:
    assert sorted(
        p.name for p in (tiny_runs.whole().workdir / "samples").iterdir()
    ) == [
        "real.png",
        "step_00000000.png",
        "step_00000003.png",
        "step_00000006.png",
    ]


def test_each_sheet_is_logged_with_the_reach_of_attention() -> None:
    run = tiny_runs.whole()
    lines = tiny_runs.read_lines(run.workdir / "attention.jsonl")
    assert [line["step"] for line in lines] == [0, 3, 6]
    generator, variables, config, _ = generator_lib.load(run_lib.open_run(run.workdir))
    # The sheet has four classes by row, and two columns.
    z = sampling.latents(config.evaluation.seed, range(8), generator)
    labels = np.repeat(range(4), 2)
    images, (layer,) = attention.of_generator(generator, variables, z, labels)
    found = attention_distance.reach(layer.weights, layer.queries, layer.keys)
    (crossing,) = attention.crossings(config, images, [layer])
    last = lines[-1]
    del last["time"]
    # After six steps no image may have both glyphs.
    assert last.pop("cross_mass/attention16", None) == pytest.approx(crossing)
    assert last == {
        "step": 6,
        "distance_ratio/attention16": pytest.approx(found.distance_ratio, rel=1e-4),
        "entropy/attention16": pytest.approx(found.entropy, rel=1e-4),
        "gamma/attention16": pytest.approx(layer.gamma),
    }


def test_a_resumed_run_logs_the_same_reach_of_attention() -> None:
    _, after = tiny_runs.interrupted()
    logs = []
    for workdir in (after.workdir, tiny_runs.whole().workdir):
        lines = tiny_runs.read_lines(workdir / "attention.jsonl")
        logs.append([{**line, "time": 0} for line in lines])
    assert logs[0] == logs[1]


def test_sheets_change_as_the_generator_learns() -> None:
    samples = tiny_runs.whole().workdir / "samples"
    first = _pixels(samples / "step_00000000.png")
    assert (first != _pixels(samples / "step_00000006.png")).any()


def test_the_sheet_of_real_images_has_the_size_of_the_others() -> None:
    samples = tiny_runs.whole().workdir / "samples"
    real, fake = (_pixels(samples / f"{n}.png") for n in ("real", "step_00000000"))
    assert real.shape == fake.shape == (4 * 130 + 2, 2 * 130 + 2, 3)


def test_a_row_of_the_sheet_of_real_images_is_one_class(tmp_path: Path) -> None:
    class Source(source_lib.Source):
        """Twelve plain images, with the class times 10 as the grey level."""

        num_classes, class_names = 4, tuple("abcd")

        def __len__(self) -> int:
            return 12

        def read(self, index: int, place: float = 0.5) -> source_lib.Record:
            label = np.int32(index % 4)
            return {"image": np.full((32, 32, 3), 10 * label, np.uint8), "label": label}

    picture = _pixels(sheets.save_real(tiny_runs.config(), Source(), tmp_path))
    # The centres of 4 rows and 2 columns of 128 pixels each, with gaps of 2.
    assert picture[66::130, 66::130, 0].tolist() == [[10 * i] * 2 for i in range(4)]


def test_images_of_other_classes_are_not_read_if_labels_are_known(
    tmp_path: Path,
) -> None:
    class Source(source_lib.Source):
        """Images of eight classes; the sheet shows 0, 2, 5 and 7."""

        num_classes, class_names = 8, tuple("abcdefgh")
        labels = np.arange(64, dtype=np.int32) % 8
        seen: list[int] = []  # noqa: RUF012

        def __len__(self) -> int:
            return 64

        def read(self, index: int, place: float = 0.5) -> source_lib.Record:
            self.seen.append(int(self.labels[index]))
            image = np.zeros((32, 32, 3), np.uint8)
            return {"image": image, "label": self.labels[index]}

    config = tiny_runs.config(model__num_classes=8)
    sheets.save_real(config, Source(), tmp_path)
    assert sorted(Source.seen) == [0, 0, 2, 2, 5, 5, 7, 7]


def test_a_class_without_enough_images_leaves_white_cells(tmp_path: Path) -> None:
    class Source(source_lib.Source):
        num_classes, class_names = 4, tuple("abcd")

        def __len__(self) -> int:
            return 1

        def read(self, index: int, place: float = 0.5) -> source_lib.Record:
            return {"image": np.zeros((32, 32, 3), np.uint8), "label": np.int32(2)}

    picture = _pixels(sheets.save_real(tiny_runs.config(), Source(), tmp_path))
    expected = [[255, 255], [255, 255], [0, 255], [255, 255]]
    assert picture[66::130, 66::130, 0].tolist() == expected


def test_scores_are_one_line_with_their_protocol() -> None:
    (line,) = tiny_runs.read_lines(tiny_runs.whole().workdir / "results.jsonl")
    assert {"score", "raw", "missing", "den", "class_correctness"} <= set(line)
    assert line["protocol"] == "far_pairs_full_16"
    assert (line["step"], line["n"], line["seed"]) == (6, 16, 1234)
    assert (line["ema"], line["statistics"]) == (True, "running")


def test_the_end_of_a_run_reports_pictures_and_scores() -> None:
    run = tiny_runs.whole()
    first, second = run.output.splitlines()
    assert re.match(rf"6 steps .* {run.workdir / 'samples'}$", first)
    assert re.search(r"\b16 images.* S = \d\.\d{3} ", second)


def test_no_temporary_file_is_left() -> None:
    names = [path.name for path in tiny_runs.whole().workdir.rglob("*")]
    assert not [name for name in names if "tmp" in name]


def test_signal_handlers_are_restored_after_a_run() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    tiny_runs.whole()
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


# Stopping and resuming.


def test_an_interrupted_run_equals_an_uninterrupted_one_bit_for_bit() -> None:
    _, after = tiny_runs.interrupted()
    tiny_gan.assert_same_bits(
        tiny_runs.read_state(tiny_runs.whole().workdir, 6),
        tiny_runs.read_state(after.workdir, 6),
    )


def test_the_compared_state_is_complete() -> None:
    state = tiny_runs.read_state(tiny_runs.whole().workdir, 6)
    assert set(state) == {"step", "skipped", "generator", "discriminator", "ema"}
    assert (int(state["step"]), int(state["skipped"])) == (6, 0)
    collections = {"params", "batch_stats", "spectral", "opt_state"}
    assert set(state["generator"]) == set(state["discriminator"]) == collections


def test_state_of_different_steps_differs() -> None:
    workdir = tiny_runs.whole().workdir
    with pytest.raises(AssertionError):
        tiny_gan.assert_same_bits(
            tiny_runs.read_state(workdir, 4), tiny_runs.read_state(workdir, 6)
        )


def test_a_resumed_run_logs_the_metrics_of_an_uninterrupted_one() -> None:
    _, after = tiny_runs.interrupted()
    whole = tiny_runs.read_metrics(tiny_runs.whole().workdir)
    assert tiny_runs.read_metrics(after.workdir) == whole


def test_a_resumed_run_ends_with_the_same_scores_and_sheets() -> None:
    one, other = tiny_runs.whole().workdir, tiny_runs.interrupted()[1].workdir
    (first,), (second,) = (
        tiny_runs.read_lines(workdir / "results.jsonl") for workdir in (one, other)
    )
    # The time, and a digest of files that contain the time.
    for name in ("time", "checkpoint"):
        assert first.pop(name) != second.pop(name)
    for line in (first, second):
        del line["revision"]  # the code may be edited while the tests run
    assert first == second
    for name in ("samples/real.png", "samples/step_00000006.png"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_sigint_saves_and_prints_the_command_to_resume() -> None:
    before, _ = tiny_runs.interrupted()
    assert re.fullmatch(r"stopped .*step 3\b.*resume.*COMMAND\n", before.output)


def test_a_resumed_run_reports_its_step() -> None:
    _, after = tiny_runs.interrupted()
    assert after.output.startswith("resumed at step 3\n6 steps ")


def test_sigterm_saves_and_prints_the_command_to_resume(tmp_path: Path) -> None:
    with tiny_runs.stopped_by(signal.SIGTERM, step=1):
        run = tiny_runs.train(tiny_runs.config(), tmp_path / "run")
    assert re.fullmatch(r"stopped .*step 1\b.*resume.*COMMAND\n", run.output)
    assert tiny_runs.steps(run.workdir) == [1]


def test_a_second_sigint_stops_at_once() -> None:
    with stop_lib.StopRequest() as request:
        signal.raise_signal(signal.SIGINT)
        assert request.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_finished_run_is_reported_and_not_changed(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    before = tiny_runs.tree_of(workdir)
    run = tiny_runs.train(tiny_runs.config(), workdir)
    assert re.match(rf"{workdir} .*\b6 steps", run.output)
    assert "train.steps" in run.output
    assert run.traces == 0
    assert tiny_runs.tree_of(workdir) == before


def test_a_finished_run_keeps_its_config_whatever_the_command(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    before = tiny_runs.tree_of(workdir)
    fewer = tiny_runs.config(train__steps=4, evaluation__seed=99)
    run = tiny_runs.train(fewer, workdir)
    assert f"{workdir} has all of its 6 steps" in run.output
    assert tiny_runs.tree_of(workdir) == before


def test_a_run_killed_before_its_final_scores_computes_them_later(
    tmp_path: Path,
) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    (before,) = tiny_runs.read_lines(workdir / "results.jsonl")
    (workdir / "results.jsonl").unlink()
    run = tiny_runs.train(tiny_runs.config(), workdir)
    assert run.output.startswith("resumed at step 6\n6 steps ")
    assert run.traces == 0
    (after,) = tiny_runs.read_lines(workdir / "results.jsonl")
    same = {"time": 0, "revision": ""}
    assert before | same == after | same


def test_a_finished_run_resumes_if_train_steps_is_raised(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    run = tiny_runs.train(tiny_runs.config(train__steps=7), workdir)
    change = r"train\.steps\b\D*6 .*7 .*"
    assert re.match(rf"resumed at step 6\n{change}\n7 steps ", run.output)
    steps = [line["step"] for line in tiny_runs.read_metrics(workdir)]
    assert steps == [1, 2, 3, 4, 5, 6, 7]


def test_lines_of_repeated_steps_are_dropped(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    shutil.rmtree(workdir / "checkpoints" / "6")
    with (workdir / "metrics.jsonl").open("ab") as file:
        file.write(b'\xff\x00\n3\n{"step": 7, "lo')  # what a crash may leave
    tiny_runs.train(tiny_runs.config(), workdir)
    whole = tiny_runs.read_metrics(tiny_runs.whole().workdir)
    assert tiny_runs.read_metrics(workdir) == whole


def test_an_unfinished_checkpoint_is_written_again(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    checkpoints = workdir / "checkpoints"
    (checkpoints / "6").rename(checkpoints / "6.orbax-checkpoint-tmp")
    run = tiny_runs.train(tiny_runs.config(), workdir)
    assert run.output.startswith("resumed at step 4\n")
    tiny_gan.assert_same_bits(
        tiny_runs.read_state(workdir, 6),
        tiny_runs.read_state(tiny_runs.whole().workdir, 6),
    )


def _cut_short(folder: Path) -> None:
    path = max(folder.rglob("d/*"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-100])


def _assert_equals_uninterrupted_run(workdir: Path) -> None:
    whole = tiny_runs.whole().workdir
    tiny_gan.assert_same_bits(
        tiny_runs.read_state(workdir, 6), tiny_runs.read_state(whole, 6)
    )
    assert tiny_runs.read_metrics(workdir) == tiny_runs.read_metrics(whole)
    name = "samples/step_00000006.png"
    assert (workdir / name).read_bytes() == (whole / name).read_bytes()


def test_a_run_resumes_from_the_newest_undamaged_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    checkpoints = workdir / "checkpoints"
    _cut_short(checkpoints / "6")
    (checkpoints / "4" / "default" / "manifest.ocdbt").unlink()
    run = tiny_runs.train(tiny_runs.config(), workdir)
    assert run.output.startswith("resumed at step 2\n6 steps ")
    six, four = [x for x in capsys.readouterr().err.splitlines() if "warning" in x]
    assert re.search(r"checkpoint 6 .*default/\S+ .*\d+ bytes", six)
    aside = checkpoints / "4.damaged"
    assert re.search(rf"checkpoint 4 .*manifest\.ocdbt .*missing.* {aside}\b", four)
    assert tiny_runs.steps(workdir) == [2, 4, 6]
    assert (checkpoints / "6.damaged").is_dir()
    _assert_equals_uninterrupted_run(workdir)


def test_a_kill_before_the_manifest_does_not_change_the_result(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    checkpoints = workdir / "checkpoints"
    (checkpoints / "6").rename(checkpoints / "6.orbax-checkpoint-tmp")
    (checkpoints / "4" / "manifest.json").unlink()
    run = tiny_runs.train(tiny_runs.config(), workdir)
    assert run.output.startswith("resumed at step 4\n")
    _assert_equals_uninterrupted_run(workdir)


def test_a_run_with_only_damaged_checkpoints_is_refused(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    for step in (2, 4, 6):
        _cut_short(workdir / "checkpoints" / str(step))
    before = tiny_runs.tree_of(workdir)
    with pytest.raises(UserError, match=r"damaged .*backup"):
        tiny_runs.train(tiny_runs.config(), workdir)
    assert tiny_runs.tree_of(workdir) == before


def test_every_checkpoint_of_a_run_has_its_manifest() -> None:
    for step in (2, 4, 6):
        folder = tiny_runs.whole().workdir / "checkpoints" / str(step)
        assert (folder / "manifest.json").exists()
        assert manifest.damage(folder) == ""


def test_the_number_of_data_threads_does_not_change_the_state(tmp_path: Path) -> None:
    config = tiny_runs.config(data__threads=0)
    run = tiny_runs.train(config, tmp_path / "run")
    tiny_gan.assert_same_bits(
        tiny_runs.read_state(run.workdir, 6),
        tiny_runs.read_state(tiny_runs.whole().workdir, 6),
    )


# Failures and rollbacks.


def _poisoned(*args: Any) -> Any:
    """Restores a state in which the first kernel of the generator is NaN."""
    state = _restore(*args)
    kernel = state.generator.params["dense"]["kernel"]
    state.generator.params["dense"]["kernel"] = jax.device_put(
        jnp.full_like(kernel, jnp.nan), kernel.sharding
    )
    return state


def _poisoned_once() -> Callable[..., Any]:
    """Returns a stand-in for checkpoint.restore that poisons the first state."""
    calls = iter([_poisoned])
    return lambda *args: next(calls, _restore)(*args)


_restore = checkpoint.restore


def _run_not_finite(workdir: Path) -> str:
    """Resumes from a poisoned step 4, and returns the error."""
    shutil.rmtree(workdir / "checkpoints" / "6")
    with (
        mock.patch.object(checkpoint, "restore", _poisoned),
        pytest.raises(UserError) as caught,
    ):
        tiny_runs.train(tiny_runs.config(), workdir)
    return str(caught.value)


def test_a_run_that_is_not_finite_saves_and_stops_with_an_error(
    tmp_path: Path,
) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    message = _run_not_finite(workdir)
    assert re.match(r"1 step .*not finite.* step 5", message)
    assert str(workdir) in message
    assert "optim.generator_lr" in message
    state = tiny_runs.read_state(workdir, 5)
    assert (int(state["step"]), int(state["skipped"])) == (5, 1)
    last = tiny_runs.read_lines(workdir / "metrics.jsonl")[-1]
    assert (last["step"], last["loss/generator"], last["skipped"]) == (5, None, 1.0)


def _once(sign: collapse.Sign, at: int) -> Callable[[collapse.Watch, int], Any]:
    """Returns a stand-in for Watch.lasting, which gives `sign` once, at step `at`."""
    steps = iter([at])

    def lasting(self: collapse.Watch, step: int) -> collapse.Sign | None:
        return sign if step == at and next(steps, 0) else None

    return lasting


WON = collapse.Sign("won", 4, "step 4: the discriminator has won.")


@functools.cache
def _rolled_back() -> tuple[tiny_runs.Run, Config]:
    """Returns a run that goes back from step 5 to 2, and its config."""
    config = tiny_runs.config(train__checkpoint_every=2, train__rollbacks=1)
    with mock.patch.object(collapse.Watch, "lasting", _once(WON, 5)):
        return tiny_runs.train(config, tiny_runs.folder() / "rolled_back"), config


def test_a_collapse_is_answered_by_a_rollback_which_is_counted() -> None:
    run, _ = _rolled_back()
    assert re.search(r"rollback 1: .*step 5 .*step 2\b", run.output)
    (line,) = tiny_runs.read_lines(run.workdir / "rollbacks.jsonl")
    assert (line["from"], line["to"], line["sign"], line["since"]) == (5, 2, "won", 4)
    assert sorted(p.name for p in (run.workdir / "checkpoints").iterdir()) == [
        "2",
        "4",
        "4.left",
        "6",
    ]
    (result,) = tiny_runs.read_lines(run.workdir / "results.jsonl")
    assert result["rollbacks"] == 1
    starts = tiny_runs.read_lines(run.workdir / "starts.jsonl")
    assert [start["step"] for start in starts] == [0, 2]


def test_after_a_rollback_each_step_is_logged_once_with_new_draws() -> None:
    run, _ = _rolled_back()
    ours, first = (
        tiny_runs.read_metrics(run.workdir),
        tiny_runs.read_metrics(tiny_runs.whole().workdir),
    )
    assert [line["step"] for line in ours] == [1, 2, 3, 4, 5, 6]
    assert ours[:2] == first[:2]
    assert all(a != b for a, b in zip(ours[2:], first[2:], strict=True))


def test_a_kill_after_a_rollback_does_not_change_the_result(tmp_path: Path) -> None:
    run, config = _rolled_back()
    workdir = _copy(run, tmp_path)
    for step in ("4", "6"):
        shutil.rmtree(workdir / "checkpoints" / step)
    (workdir / "results.jsonl").unlink()
    tiny_runs.train(config, workdir)
    assert tiny_runs.read_metrics(workdir) == tiny_runs.read_metrics(run.workdir)
    tiny_gan.assert_same_bits(
        tiny_runs.read_state(workdir, 6), tiny_runs.read_state(run.workdir, 6)
    )


def test_without_rollbacks_left_a_collapse_is_only_reported(tmp_path: Path) -> None:
    def won(self: collapse.Watch, step: int, scalars: Any) -> list[str]:
        return ["step 3: the discriminator has won."] if step == 3 else []

    workdir = _copy(tiny_runs.whole(), tmp_path)
    for step in ("4", "6"):
        shutil.rmtree(workdir / "checkpoints" / step, ignore_errors=True)
    with (
        mock.patch.object(collapse.Watch, "lasting", _once(WON, 5)),
        mock.patch.object(collapse.Watch, "read", won),
    ):
        run = tiny_runs.train(tiny_runs.config(), workdir)
    assert re.search(
        r"warning: step 3: the discriminator has won\. .*train\.rollbacks", run.output
    )
    assert not (workdir / "rollbacks.jsonl").exists()


def test_a_step_that_is_not_finite_is_answered_by_a_rollback(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    shutil.rmtree(workdir / "checkpoints" / "6")
    with mock.patch.object(checkpoint, "restore", _poisoned_once()):
        run = tiny_runs.train(tiny_runs.config(train__rollbacks=1), workdir)
    assert re.search(r"rollback 1: .*step 5 .*step 4\b", run.output)
    (line,) = tiny_runs.read_lines(workdir / "rollbacks.jsonl")
    assert re.match(r"1 step .*not finite.* step 5", line["sentence"])
    assert int(tiny_runs.read_state(workdir, 6)["skipped"]) == 0


def test_a_workdir_in_use_is_refused(tmp_path: Path) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    before = tiny_runs.tree_of(workdir)
    refused = pytest.raises(UserError, match=f"^workdir.*'{workdir}' .*in use")
    with lock.held(workdir), refused:
        tiny_runs.train(tiny_runs.config(train__steps=9), workdir)
    assert tiny_runs.tree_of(workdir) == before


def test_every_start_is_recorded_with_its_settings(
    tmp_path: Path,
) -> None:
    workdir = _copy(tiny_runs.whole(), tmp_path)
    longer = tiny_runs.config(train__steps=7)
    run = tiny_runs.train(longer, workdir, "MORE")
    assert re.search(r"\ntrain\.steps\b\D*6 .*7 .*\n", run.output)
    first, second = tiny_runs.read_lines(workdir / "starts.jsonl")
    assert (first["step"], first["command"], first["changes"]) == (0, "COMMAND", {})
    assert (second["step"], second["command"]) == (6, "MORE")
    assert second["changes"] == {"train.steps": [6, 7]}
    assert config_lib.from_json(json.dumps(second["config"])) == longer
    assert second["packages"]["jax"] == jax.__version__
    assert second["backend"] == "cpu"


def test_a_damaged_image_stops_a_run_and_is_named(tmp_path: Path) -> None:
    for label in "abcd":
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / label / "0.png")
    damaged = tmp_path / "data" / "c" / "1.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\nno more")
    config = tiny_runs.config(data__source="folder", data__path=str(tmp_path / "data"))
    with pytest.raises(UserError, match=f"'{damaged}' .*image"):
        tiny_runs.train(config, tmp_path / "run")


def test_a_run_reports_the_content_of_its_folder_and_unreadable_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for label in "abcd":
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / label / "0.png")
    damaged = tmp_path / "data" / "c" / "1.png"
    damaged.write_bytes(b"")
    where = {"data__path": str(tmp_path / "data"), "data__max_unreadable": 1}
    config = tiny_runs.config(data__source="folder", train__steps=1, **where)
    make_source = sources.make_source

    def lose_one(config: Any) -> source_lib.Source:
        source = make_source(config)
        (tmp_path / "data" / "b" / "0.png").unlink()
        return source

    monkeypatch.setattr(sources, "make_source", lose_one)
    run = tiny_runs.train(config, tmp_path / "run")
    assert re.search(r"/b/0\.png' .*no longer .*image", run.output)
    warning, content, *_ = run.output.splitlines()
    assert re.match(f"warning: '{damaged}' .*empty.*left out", warning)
    assert content.startswith(f"'{tmp_path / 'data'}' ")
    assert "4 images of 4 classes: a 1, b 1, c 1, d 1" in content


def test_data_threads_end_with_the_run() -> None:
    class StoppedError(Exception):
        pass

    def stop(self: Any) -> None:
        raise StoppedError

    closed: list[pipeline.Stream] = []
    close = pipeline.Stream.close
    with (
        mock.patch.object(
            pipeline.Stream, "close", lambda s: closed.append(s) or close(s)
        ),
        mock.patch.object(telemetry.Telemetry, "advance", stop),
        pytest.raises(StoppedError),
    ):
        tiny_runs.train(tiny_runs.config(), tiny_runs.folder() / "broken")
    assert closed


def test_a_run_below_its_own_images_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    for number in range(12):
        pixels = np.full((32, 32, 3), 20 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    config = tiny_runs.config(model__num_classes=0, data__source="folder")
    config.data.path = str(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            train.train(config, tmp_path / "run")
        text = str(caught.value)
        assert f"workdir='{tmp_path}/run' lies in data.path='{tmp_path}'" in text
        assert "--workdir" in text
    assert not (tmp_path / "run").exists()


def test_a_kernel_of_another_platform_is_refused(tmp_path: Path) -> None:
    config = tiny_runs.config(model__attention_kernel="cudnn", model__dtype="bfloat16")
    with pytest.raises(UserError, match=r"attention_kernel='cudnn'.*CPU; choose plain"):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
