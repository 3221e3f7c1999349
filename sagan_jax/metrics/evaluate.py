"""Compares two sets of images: python -m sagan_jax.metrics.evaluate REAL FAKE."""

import argparse
import json
import sys
from collections.abc import Sequence

from sagan_jax.errors import UserError
from sagan_jax.extractors import encoders, imagenet_inputs, inception_layers
from sagan_jax.files import names, terminal
from sagan_jax.metrics import comparison, kid, protocols, scores
from sagan_jax.metrics.comparison import Line
from sagan_jax.metrics.plan import Request
from sagan_jax.runtime import devices


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; a UserError is printed as one line and gives 1."""
    terminal.keep_going()
    request = Request(**vars(_parser().parse_args(argv)))
    try:
        for remark in devices.start():
            print(remark, file=sys.stderr)
        line = comparison.compare(request)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted.", file=sys.stderr)
        return 130
    print(f"{table(line)}\n\n{json.dumps(line)}")
    return 0


def table(line: Line) -> str:
    """Returns the scores of a line as a table for people."""
    kind = "the public weights" if line["weights_public"] else "weights"
    by = f"{line['protocol']}, encoder {line['encoder']}, {line['pipeline']}"
    count = line["real_images"]
    rows = [
        ("REAL", line["real"], f"{count or 'unknown number of'} images"),
        ("FAKE", line["fake"], f"{line['fake_images']} images"),
        ("by", by, line["protocol_differs"]),
        ("at", f"tap {line['tap']}", f"{kind} {line['weights'][:12]}"),
    ]
    for name, value in line.items():
        if isinstance(value, float) and name != "time" and not name.endswith("_std"):
            deviation = line.get(f"{name}_std")
            rows.append(
                (name, f"{value:.6g}", f"std {deviation:.3g}" if deviation else "")
            )
    rows += [("left out", name, why) for name, why in line["left_out"].items()]
    cells = [tuple(map(names.shown, row)) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in (0, 1)]
    text = [
        f"{first:<{widths[0]}}  {second:<{widths[1]}}  {third}".rstrip()
        for first, second, third in cells
    ]
    return "\n".join(text + _notes(line))


def _notes(line: Line) -> list[str]:
    """Returns caveats that apply to the scores."""
    notes = []
    width = line["features"]
    fewest = min(line["real_images"] or line["fake_images"], line["fake_images"])
    if fewest <= width:
        notes.append(
            f"note: with {fewest} images and {width} features, distances are mostly "
            "bias; compare them only at equal counts."
        )
    for side in ("real", "fake"):
        if lossy := line.get(f"{side}_lossy"):
            notes.append(
                f"note: {lossy} of {line[f'{side}_images']} images of "
                f"{side.upper()} are JPEGs; lossy compression changes the distance."
            )
    return notes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.metrics.evaluate",
        description=_HELP,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("real", metavar="REAL", help="the reference; see below")
    parser.add_argument("fake", metavar="FAKE", help="the generated images; see below")
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
        help="treat statistics without provenance, such as those of pytorch-fid, as "
        "measured in the same way as FAKE",
    )
    return parser


_OPTIONS: tuple[tuple[str, type, str, str], ...] = (
    (
        "metrics",
        str,
        "A,B",
        f"comma-separated metrics from {', '.join(scores.METRICS)} (default: "
        f"{', '.join(scores.USUAL)}, without those that the inputs do not allow)",
    ),
    (
        "protocol",
        str,
        "NAME",
        f"evaluator to match: {', '.join(protocols.PROTOCOLS)} (default: "
        "torch-fidelity)",
    ),
    (
        "encoder",
        str,
        "NAME",
        f"network whose features are compared: {', '.join(encoders.ENCODERS)}, or "
        "module:function, a function of your own from uint8 images [N, H, W, 3] to "
        "features [N, d] (default: inception)",
    ),
    (
        "pipeline",
        str,
        "NAME",
        "resize for the DINOv2 encoders: "
        f"{', '.join(imagenet_inputs.PIPELINES)} (default: the first)",
    ),
    (
        "weights",
        str,
        "FILE",
        ".safetensors or .pth file (default: the public weights; those of inception "
        "are downloaded once)",
    ),
    (
        "tap",
        str,
        "TAP",
        f"layer to take features from: {', '.join(inception_layers.TAPS)} (default: "
        "the last one that the weights cover, up to 2048)",
    ),
    (
        "kid_kernel",
        str,
        "NAME",
        f"kernel of kid: {', '.join(kid.KERNELS)} (default: poly, which is KID)",
    ),
    (
        "batch_size",
        int,
        "N",
        "images per pass on each device (default: 4 on a CPU, 128 on accelerators)",
    ),
    ("json", str, "FILE", "append the line of JSON to FILE"),
    (
        "save_statistics",
        str,
        "FILE.npz",
        "write the mean and covariance of REAL; this command and pytorch-fid can read "
        "the file",
    ),
)

_HELP = """\
Compares two sets of images by features of the Inception network of 2015-12-05, of
DINOv2, or of your own encoder.
Prints a table, then one line of JSON with the scores and all that they depend on."""

_MORE = """\
REAL and FAKE are each one of:
  a folder or a .zip    all images in it, nested or not, sorted by name;
                        with intra_fid, each sub-folder is a class, or
                        dataset.json gives the labels
  an .npz               uint8 `images` [N, H, W, 3], or a single array of any name;
                        with intra_fid, also `labels` [N]; or `arr_0` and `arr_1`,
                        images and labels as diffusion code saves them
REAL can also be an .npz of statistics (mu, sigma) for fid, is and fid_infinity.

Images are converted to RGB without alpha, and resized: to 299 x 299 by the protocol's
filter for inception, to 224 x 224 for DINOv2. They are not cropped.

Errors are reported in one sentence, with exit code 1."""


if __name__ == "__main__":
    sys.exit(main())
