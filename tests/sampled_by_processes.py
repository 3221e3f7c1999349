"""One of two processes that sample a run together. See test_processes.py."""

import sys
from pathlib import Path

import jax

port, rank, workdir, out = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(rank), initialization_timeout=60)

import tiny_gan  # noqa: E402

from sagan_jax.commands import sample  # noqa: E402
from sagan_jax.workdir import run as run_lib  # noqa: E402

with tiny_gan.quick_compiles():  # as in the process that this is compared with
    run = run_lib.open_run(workdir)
    sample.save(run, kind="npz", count=37, out=Path(out, "samples.npz"))
    sample.save(run, kind="images", count=5, out=Path(out, "images"))
    sample.save(run, out=Path(out, "sheet.png"))
    sample.save(run, kind="neighbours", count=7, out=Path(out, "neighbours.png"))
