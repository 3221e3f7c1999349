"""Event files, read back as TensorBoard reads them."""

import io
import math
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tiny_runs
from PIL import Image
from tensorboardX import event_file_writer
from tensorboardX.proto import event_pb2

from sagan_jax.pictures import grid
from sagan_jax.workdir.tensorboard import EventFile


def _events(path: Path) -> list[Any]:
    """Returns the events of a file; a record is length, CRC, content, CRC."""
    events, content = [], path.read_bytes()
    while content:
        (size,) = struct.unpack("Q", content[:8])
        events.append(event_pb2.Event.FromString(content[12 : 12 + size]))
        content = content[16 + size :]
    return events


def _shown(directory: Path) -> list[tuple[int, Any]]:
    """Returns (step, value) as TensorBoard shows them; a start purges later values."""
    shown: list[tuple[int, Any]] = []
    for path in sorted(directory.iterdir()):
        for event in _events(path):
            if event.session_log.status == event_pb2.SessionLog.START:
                shown = [(step, value) for step, value in shown if step < event.step]
            shown += [(event.step, value) for value in event.summary.value]
    return shown


def _scalars(directory: Path) -> list[tuple[int, str, float]]:
    return [
        (step, value.tag, value.simple_value)
        for step, value in _shown(directory)
        if value.WhichOneof("value") == "simple_value"
    ]


def _write(directory: Path, start: int, *steps: int) -> None:
    events = EventFile(directory, start=start)
    for step in steps:
        events.scalars(step, {"loss/generator": 0.5 * step, "skipped": 0.0})
    events.close()


def test_scalars_are_read_back_with_names_and_steps(tmp_path: Path) -> None:
    _write(tmp_path, 0, 10, 20)
    assert _scalars(tmp_path) == [
        (10, "loss/generator", 5.0),
        (10, "skipped", 0.0),
        (20, "loss/generator", 10.0),
        (20, "skipped", 0.0),
    ]


def test_a_file_starts_with_its_version_and_records_times(tmp_path: Path) -> None:
    before = time.time()
    _write(tmp_path, 0, 1)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("events.out.tfevents.")
    assert _events(path)[0].file_version == "brain.Event:2"
    assert all(before <= e.wall_time <= time.time() for e in _events(path))


def test_numbers_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    events = EventFile(tmp_path, start=0)
    events.scalars(1, {"nan": math.nan, "inf": math.inf})
    events.close()
    (_, _, nan), (_, _, inf) = _scalars(tmp_path)
    assert math.isnan(nan)
    assert inf == math.inf


def test_events_are_in_the_file_at_once(tmp_path: Path) -> None:
    events = EventFile(tmp_path, start=0)
    events.scalars(1, {"a": 1.0})
    assert _scalars(tmp_path) == [(1, "a", 1.0)]
    events.close()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_has_the_content_of_its_file(tmp_path: Path, channels: int) -> None:
    picture = np.arange(4 * 6 * channels, dtype=np.uint8).reshape(4, 6, channels)
    grid.save_png(picture, tmp_path / "a.png")
    events = EventFile(tmp_path / "events", start=0)
    events.picture(3, "samples", tmp_path / "a.png")
    events.close()
    ((step, value),) = _shown(tmp_path / "events")
    assert (step, value.tag) == (3, "samples")
    image = value.image
    assert (image.height, image.width, image.colorspace) == (4, 6, channels)
    with Image.open(io.BytesIO(image.encoded_image_string)) as opened:
        np.testing.assert_array_equal(np.asarray(opened), picture.squeeze())


def test_each_step_is_shown_once_after_a_resume(tmp_path: Path) -> None:
    _write(tmp_path, 0, 0, 1, 2, 3, 4)
    _write(tmp_path, 2, 3, 4, 5)  # resumed from the checkpoint of step 2
    assert [step for step, tag, _ in _scalars(tmp_path) if tag == "skipped"] == [
        *range(6)
    ]


def test_a_run_restarted_at_step_0_shows_each_step_once(tmp_path: Path) -> None:
    _write(tmp_path, 0, 0, 1)
    time.sleep(1.01)  # the names of event files contain the second
    _write(tmp_path, 0, 0)
    assert len(list(tmp_path.iterdir())) == 2
    assert [step for step, tag, _ in _scalars(tmp_path) if tag == "skipped"] == [0]


def test_a_full_disk_raises(tmp_path: Path) -> None:
    events = EventFile(tmp_path, start=0)
    full = OSError(28, "No space left on device")
    with (
        mock.patch.object(event_file_writer.EventsWriter, "flush", side_effect=full),
        pytest.raises(OSError, match="No space left on device"),
    ):
        events.scalars(1, {"a": 1.0})
    events.close()


def test_tensorboardx_is_imported_only_when_needed() -> None:
    program = (
        "import sys, sagan_jax.workdir.tensorboard, sagan_jax.workdir.telemetry\n"
        "assert 'tensorboardX' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_events_of_a_run_equal_its_metrics_and_sheets() -> None:
    workdir = tiny_runs.whole().workdir
    values: dict[int, dict[str, float]] = {}
    reach: dict[tuple[int, str], float] = {}
    for step, tag, value in _scalars(workdir / "tensorboard"):
        if tag.startswith("attention/"):
            reach[step, tag] = value
            continue
        assert tag not in values.setdefault(step, {})
        values[step][tag] = value
    for line in tiny_runs.read_lines(workdir / "metrics.jsonl"):
        del line["time"]
        shown = values.pop(line.pop("step"))
        assert shown == {tag: np.float32(value) for tag, value in line.items()}
    for line in tiny_runs.read_lines(workdir / "attention.jsonl"):
        del line["time"]
        step = line.pop("step")
        for tag, value in line.items():
            assert reach.pop((step, f"attention/{tag}")) == np.float32(value)
    assert not values
    assert not reach
    pictures = {
        (step, value.tag): value.image.encoded_image_string
        for step, value in _shown(workdir / "tensorboard")
        if value.HasField("image")
    }
    samples = workdir / "samples"
    assert pictures == {
        (0, "real"): (samples / "real.png").read_bytes(),
        (0, "samples"): (samples / "step_00000000.png").read_bytes(),
        (3, "samples"): (samples / "step_00000003.png").read_bytes(),
        (6, "samples"): (samples / "step_00000006.png").read_bytes(),
    }


def test_a_resumed_run_shows_the_same_events_as_an_uninterrupted_one() -> None:
    def steps(run: tiny_runs.Run) -> list[tuple[int, str]]:
        return [(step, v.tag) for step, v in _shown(run.workdir / "tensorboard")]

    _, after = tiny_runs.interrupted()
    assert steps(after) == steps(tiny_runs.whole())
    assert len(list((after.workdir / "tensorboard").iterdir())) == 2
