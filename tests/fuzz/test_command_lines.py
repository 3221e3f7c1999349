"""Random command lines: each is accepted, or refused in one sentence.

SAGAN_JAX_FUZZ=10 python -m pytest tests/fuzz/test_command_lines.py tries ten times as
many, and describes all that are valid.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEED, COUNT, DRY_RUNS = 20, 200, 15
TIMES = int(os.environ.get("SAGAN_JAX_FUZZ", "1"))


def test_command_lines_are_accepted_or_refused_in_one_sentence() -> None:
    count = COUNT * TIMES
    dry_runs = DRY_RUNS if TIMES == 1 else count
    program = ROOT / "tests" / "fuzz" / "command_lines.py"
    answer = subprocess.run(
        [sys.executable, str(program), str(SEED), str(count), str(dry_runs)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=600 + 10 * count * (TIMES > 1),
    )
    assert answer.stderr == ""
    assert answer.returncode == 0
    found = json.loads(answer.stdout)
    faults = [f"{argv}\n{fault}" for argv, fault in found["faults"]]
    assert not faults, "\n\n".join(faults)  # pytest would cut a list short
    assert sum(found["outcomes"].values()) == count
    assert found["outcomes"]["refused"] > count / 5
    assert found["outcomes"]["described"] >= DRY_RUNS
