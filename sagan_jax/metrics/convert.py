"""Converts Inception weights: python -m sagan_jax.metrics.convert WEIGHTS.pth.

The result is a safetensors file: a header and plain numbers, without a pickle.
"""

import argparse
import sys
from collections.abc import Sequence

from sagan_jax.errors import UserError, naming
from sagan_jax.extractors import inception_weights as weights_lib
from sagan_jax.files import paths, terminal


def main(argv: Sequence[str] | None = None) -> None:
    """Converts the file in the arguments, and prints the taps that it covers."""
    terminal.keep_going()
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.metrics.convert",
        description="Converts the Inception weights of pytorch-fid or torch-fidelity "
        "to a safetensors file. Needs no PyTorch, and never executes a pickle.",
    )
    parser.add_argument("weights", metavar="WEIGHTS.pth", help=weights_lib.NAMES[0])
    parser.add_argument(
        "out",
        metavar="OUT.safetensors",
        nargs="?",
        help="the file to write (default for the public weights: the cache directory, "
        "where evaluations look for them)",
    )
    arguments = parser.parse_args(argv)
    print(convert(arguments.weights, arguments.out))


def convert(source: str, out: str | None = None) -> str:
    """Returns one line that describes the written file.

    Raises:
      UserError: the source is unreadable or another network, the output is not
        writable, or the source is not the public file and no output is given.
    """
    weights = weights_lib.read(source)
    # Other weights in the cache would silently change what FID means.
    if out is None and not weights.is_public:
        raise UserError(
            f"weights={source!r} is not the public file (sha256 "
            f"{weights_lib.SHA256[:12]}...), so it is not stored in its place; pass "
            "OUT.safetensors."
        )
    with naming("out", out):
        place = paths.local(out) if out else weights_lib.converted_file()
    if place.suffix != ".safetensors":
        raise UserError(
            f"out={out!r} does not end in .safetensors; choose a name that does."
        )
    weights_lib.save(weights, place)
    kind = "the public weights" if weights.is_public else "weights of unknown origin"
    return f"wrote {place}: {kind}, taps {', '.join(weights.taps)}"


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        sys.exit(f"error: {problem}")
