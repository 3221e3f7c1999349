"""Exports a generator: python -m sagan_jax.interop export MODEL --to FILE."""

import argparse
from collections.abc import Sequence

from sagan_jax.errors import UserError, naming
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.files import names, paths, whole
from sagan_jax.interop import artifact
from sagan_jax.workdir import models


def main(argv: Sequence[str]) -> None:
    """Writes the generator of a run as one program, and prints what it takes."""
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.interop export",
        description="Writes a generator as a StableHLO program with its weights, for "
        "CPU, CUDA and TPU. jax alone runs it; see docs/weights.md.",
    )
    parser.add_argument("model", metavar="MODEL", help="a workdir or a model folder")
    parser.add_argument("--to", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--step", help="a step; default: the newest")
    parser.add_argument(
        "--live", action="store_true", help="the generator before averaging"
    )
    given = parser.parse_args(argv)
    with naming("to", given.to):
        place = paths.local(given.to)
        whole.check_writable(place)
    run = models.open_model(given.model)
    changes = {"ema": False} if given.live else {}
    generator, variables, _, step = generator_lib.load(run, given.step, changes)
    program = artifact.make(generator, variables)
    try:
        whole.write_bytes(place, program)
    except OSError as error:
        raise UserError(
            f"to={given.to!r} cannot be written ({error.strerror}); choose another "
            "place."
        ) from None
    side = generator.resolution
    labels = ", labels [n] int32" if generator.num_classes else ""
    print(f"wrote {names.shown(place)}: {len(program):,} bytes, step {step}")
    print(
        f"takes z [n, {generator.latent_dim}]{labels}; returns images "
        f"[n, {side}, {side}, {generator.channels}] in [-1, 1]"
    )
