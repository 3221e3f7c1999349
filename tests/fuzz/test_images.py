"""Mutated images, EXIF blocks and zip files: read, or refused, and nothing else.

Each kind has a seed and a count. Ten times as many:

    SAGAN_JAX_FUZZ=10 python -m pytest tests/fuzz/test_images.py
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 16
COUNTS = {"images": 300, "exif": 300, "zips": 200}
TIMES = int(os.environ.get("SAGAN_JAX_FUZZ", "1"))
MEGABYTES = 600  # beyond the start


@pytest.mark.parametrize("kind", COUNTS)
def test_no_input_is_a_fault(kind):
    count = COUNTS[kind] * TIMES
    done = subprocess.run(
        [sys.executable, "tests/fuzz/images.py", kind, str(SEED), str(count)],
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
    assert sum(found["outcomes"].values()) == count
    assert found["memory"] < MEGABYTES
