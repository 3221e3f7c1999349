"""One of two processes that train together. See test_processes.py."""

import sys
from pathlib import Path

import jax

port, rank, workdir = sys.argv[1:]
jax.distributed.initialize(
    f"127.0.0.1:{port}",
    2,
    int(rank),
    initialization_timeout=120,
    heartbeat_timeout_seconds=60,
)

import tiny_runs  # noqa: E402
from test_processes import CHANGES  # noqa: E402

tiny_runs.train(tiny_runs.config(**CHANGES), Path(workdir))
