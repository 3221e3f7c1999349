"""The public weight file, made ours once: python -m sagan_jax.metrics.convert FILE.pth.

The result is a safetensors file: a header and plain numbers, no pickle.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_weights as weights_lib


def main(argv: Sequence[str] | None = None) -> None:
    """Converts the file that the arguments name, and prints what it covers."""
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.metrics.convert",
        description="Converts Inception weights, as pytorch-fid and torch-fidelity "
        "publish them, to a safetensors file; neither PyTorch nor a pickle is run.",
    )
    parser.add_argument("weights", metavar="WEIGHTS.pth", help=weights_lib.NAMES[0])
    parser.add_argument(
        "out",
        metavar="OUT.safetensors",
        nargs="?",
        help="default, for the public file: where evaluations look for it",
    )
    arguments = parser.parse_args(argv)
    print(convert(arguments.weights, arguments.out))


def convert(source: str, out: str | None = None) -> str:
    """Returns one line about the file written.

    Raises:
      UserError: the source cannot be read or is another network; no place to write; or
        it is not the public file, and no place is named.
    """
    weights = weights_lib.read(source)
    if out is None and not weights.is_public:
        raise UserError(
            f"weights={source!r} is not the public file (sha256 "
            f"{weights_lib.SHA256[:12]}...), so it cannot take its place; name an "
            "OUT.safetensors."
        )
    place = Path(out) if out else weights_lib.cache_dir() / weights_lib.CONVERTED
    if place.suffix != ".safetensors":
        raise UserError(
            f"out={out!r} would be taken for another kind; let it end in .safetensors."
        )
    weights_lib.save(weights, place)
    kind = "the public weights" if weights.is_public else "weights of unknown origin"
    return f"wrote {place}: {kind}, taps {', '.join(weights.taps)}"


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        sys.exit(f"error: {problem}")
