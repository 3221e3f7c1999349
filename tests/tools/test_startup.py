"""The arithmetic of benchmarks/startup.py, with a command that trains nothing."""

import argparse
import json
import signal

import pytest
from scripts import ROOT, load

QUICKSTART = str(ROOT / "experiments" / "quickstart.py")
# Logs the step after the last one, a fixed time after it was started, and waits.
COMMAND = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--workdir") + 1])
folder.mkdir(exist_ok=True)
log = folder / "metrics.jsonl"
step = len(log.read_text().splitlines()) + 1 if log.exists() else 1
with log.open("a") as file:
    file.write(json.dumps({"step": step, "time": time.time() + 7}) + "\\n")
    file.write(json.dumps({"step": step + 1, "time": 0})[:5])
time.sleep(60)
"""


@pytest.fixture
def startup(tmp_path, monkeypatch):
    module = load("benchmarks/startup.py")
    (tmp_path / "launch.py").write_text(COMMAND)
    monkeypatch.setattr(module, "LAUNCH", tmp_path / "launch.py")
    return module


def test_a_summary_has_the_median_and_the_extremes(startup):
    assert startup.summary([3.0, 1.004, 2.0, 9.0, 2.5]) == {
        "median_seconds": 2.5,
        "min_seconds": 1.0,
        "max_seconds": 9.0,
        "runs": [3.0, 1.0, 2.0, 9.0, 2.5],
    }


def test_seconds_end_at_the_time_in_the_log(startup, tmp_path):
    options = argparse.Namespace(config="x", overrides=[])
    found = startup.first_step(options, tmp_path / "run", {}, signal.SIGKILL)
    assert 7.0 < found < 12.0


def test_only_a_new_step_counts(startup, tmp_path):
    (tmp_path / "run").mkdir()
    line = json.dumps({"step": 1, "time": 0.0})
    (tmp_path / "run" / "metrics.jsonl").write_text(f"{line}\n")
    options = argparse.Namespace(config="x", overrides=[])
    found = startup.first_step(options, tmp_path / "run", {}, signal.SIGKILL)
    assert 7.0 < found < 12.0


def test_a_command_that_fails_is_reported(startup, tmp_path):
    startup.LAUNCH.write_text("raise SystemExit('error: no such field')")
    options = argparse.Namespace(config="x", overrides=[])
    with pytest.raises(RuntimeError, match="no such field"):
        startup.first_step(options, tmp_path / "run", {}, signal.SIGKILL)


def test_overrides_set_fields_of_every_type(startup):
    config = startup.overridden(
        QUICKSTART,
        [
            "train.batch_size=8",
            "data.source=synthetic",
            "model.attention_resolutions=(8,)",
        ],
    )
    assert config.train.batch_size == 8
    assert config.data.source == "synthetic"
    assert config.model.attention_resolutions == (8,)


def test_each_kind_gives_a_line(startup, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(startup, "_worker", lambda *_: 4.0)
    out = tmp_path / "out.jsonl"
    startup.main(["x", f"--out={out}", "--runs=1", "--what", "compile", "cold", "warm"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines] == ["compile", "cold", "warm"]
    assert lines == [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[0]["median_seconds"] == 4.0
    assert all(7.0 < line["median_seconds"] < 12.0 for line in lines[1:])
