"""Two sets of images compared: python -m sagan_jax.metrics.evaluate REAL FAKE."""

import argparse
import json
import sys
from collections.abc import Sequence

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_layers
from sagan_jax.metrics import comparison, plan, protocols, report, scores
from sagan_jax.metrics.request import Request


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; what a user can mend is one sentence and 1."""
    request = Request(**vars(_parser().parse_args(argv)))
    try:
        line = comparison.compare(request)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted.", file=sys.stderr)
        return 130
    print(f"{report.table(line)}\n\n{json.dumps(line)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.metrics.evaluate",
        description=_HELP,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("real", metavar="REAL", help="the reference; see below")
    parser.add_argument("fake", metavar="FAKE", help="generated images; see below")
    for name, kind, metavar, text in _OPTIONS:
        parser.add_argument(
            f"--{name}",
            type=kind,
            metavar=metavar,
            default=getattr(Request(real="", fake=""), name),
            help=text,
        )
    parser.add_argument(
        "--assume_alike",
        action="store_true",
        help="believe that statistics which do not say how they were measured, such as "
        "pytorch-fid's, were measured as FAKE will be",
    )
    return parser


_OPTIONS: tuple[tuple[str, type, str, str], ...] = (
    (
        "metrics",
        str,
        "A,B",
        f"of {', '.join(scores.METRICS)}; default: those of "
        f"{', '.join(plan.USUAL)} that sets and weights allow",
    ),
    (
        "protocol",
        str,
        "NAME",
        f"of {', '.join(protocols.PROTOCOLS)} (default: torch-fidelity)",
    ),
    (
        "weights",
        str,
        "FILE",
        ".safetensors or .pth (default: the public file, which is downloaded once)",
    ),
    (
        "tap",
        str,
        "TAP",
        f"layer of the features, of {', '.join(inception_layers.TAPS)} (default: the "
        "last that the weights cover, at most 2048)",
    ),
    (
        "batch_size",
        int,
        "N",
        "images in a pass on each device (default: 4 on a CPU, 128 on others)",
    ),
    ("json", str, "FILE", "append the line with all facts to it"),
    (
        "save_statistics",
        str,
        "FILE.npz",
        "write mean and covariance of REAL, which this command and pytorch-fid read",
    ),
)

_HELP = """\
Compares two sets of images by what the Inception network of 2015-12-05 sees in them.
Prints a table, and then one line of JSON with all that the numbers depend on."""

_MORE = """\
REAL and FAKE are each one of:
  a folder or a .zip    images below it, nested or not, in the order of their names;
                        with intra_fid, each sub-folder is a class
  an .npz               uint8 `images` [N, H, W, 3], or one array of any name;
                        with intra_fid, `labels` [N] too
REAL may also be an .npz of statistics (mu, sigma) for fid, is and fid_infinity.

Images are read as RGB, without alpha, and stretched to 299 x 299 by the protocol's
resize; nothing is cropped.

What cannot be is said in one sentence, and the exit code is 1."""


if __name__ == "__main__":
    sys.exit(main())
