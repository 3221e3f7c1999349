"""Converts an encoder's weights: python -m sagan_jax.metrics.convert WEIGHTS.pth.

The result is a safetensors file: a header and plain numbers, without a pickle.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sagan_jax.errors import UserError, naming
from sagan_jax.extractors import dinov2_layers, dinov2_weights
from sagan_jax.extractors import inception_weights as weights_lib
from sagan_jax.files import paths, terminal

_INCEPTION = "inception"  # encoders.INCEPTION; that module imports jax


def main(argv: Sequence[str] | None = None) -> None:
    """Converts the file in the arguments, and prints the taps that it covers."""
    terminal.keep_going()
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.metrics.convert",
        description="Converts the Inception weights of pytorch-fid or torch-fidelity, "
        "or those of DINOv2, to a safetensors file. Needs no PyTorch, and never "
        "executes a pickle.",
    )
    parser.add_argument(
        "weights",
        metavar="WEIGHTS.pth",
        help=f"such as {weights_lib.NAMES[0]} or dinov2_vitl14_pretrain.pth",
    )
    parser.add_argument(
        "out",
        metavar="OUT.safetensors",
        nargs="?",
        help="the file to write (default for the public weights: the cache directory, "
        "where evaluations look for them)",
    )
    parser.add_argument(
        "--encoder",
        choices=[_INCEPTION, *dinov2_layers.SIZES],
        default=_INCEPTION,
        help="the network (default: inception)",
    )
    arguments = parser.parse_args(argv)
    print(convert(arguments.weights, arguments.out, arguments.encoder))


def convert(source: str, out: str | None = None, encoder: str = _INCEPTION) -> str:
    """Returns one line that describes the written file.

    Raises:
      UserError: the source is unreadable or another network, the output is not
        writable, or the source is not the public file and no output is given.
    """
    if encoder != _INCEPTION:
        return _convert_dinov2(source, out, encoder)
    weights = weights_lib.read(source)
    # Other weights in the cache would silently change what FID means.
    if out is None and not weights.is_public:
        raise UserError(
            f"weights={source!r} is not the public file (sha256 "
            f"{weights_lib.SHA256[:12]}...), so it is not stored in its place; pass "
            "OUT.safetensors."
        )
    place = _place(out) if out else weights_lib.converted_file()
    weights_lib.save(weights, place)
    return _said(place, weights)


def _convert_dinov2(source: str, out: str | None, encoder: str) -> str:
    weights = dinov2_weights.read(encoder, source)
    if out is None and not weights.is_public:
        raise UserError(
            f"weights={source!r} is not the public file (sha256 "
            f"{dinov2_weights.PUBLIC[encoder].sha256[:12]}...), so it is not stored in "
            "its place; pass OUT.safetensors."
        )
    place = _place(out) if out else dinov2_weights.converted_file(encoder)
    dinov2_weights.save(weights, place)
    return _said(place, weights)


def _place(out: str) -> Path:
    with naming("out", out):
        place = paths.local(out)
    if place.suffix != ".safetensors":
        raise UserError(
            f"out={out!r} does not end in .safetensors; choose a name that does."
        )
    return place


def _said(place: Path, weights: weights_lib.Weights | dinov2_weights.Weights) -> str:
    kind = "the public weights" if weights.is_public else "weights of unknown origin"
    return f"wrote {place}: {kind}, taps {', '.join(weights.taps)}"


if __name__ == "__main__":
    try:
        main()
    except UserError as problem:
        sys.exit(f"error: {problem}")
