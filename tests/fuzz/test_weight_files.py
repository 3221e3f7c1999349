"""Mutated weight files: converted, or refused in a sentence, and nothing else.

SEED and COUNT name the short form. The long one has more than 500 files:

    SAGAN_JAX_FUZZ=10 python -m pytest tests/fuzz/test_weight_files.py
"""

import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 19
COUNT = 60 * int(os.environ.get("SAGAN_JAX_FUZZ", "1"))
MEGABYTES = 400  # beyond the start


def test_no_weight_file_is_a_fault() -> None:
    done = subprocess.run(
        [sys.executable, "tests/fuzz/weight_files.py", str(SEED), str(COUNT)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), f"{ROOT}/tests"])},
        capture_output=True,
        text=True,
        check=False,
    )
    # A signal, a hang, a raw warning or a traceback.
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    print(found)
    assert not found["faults"], "\n".join(found["faults"])
    assert sum(found["outcomes"].values()) == COUNT
    # Both must happen, or nothing is tried.
    assert min(found["outcomes"]["read"], found["outcomes"]["refused"]) > COUNT / 20
    assert found["memory"] < MEGABYTES
