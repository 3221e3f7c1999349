"""The command that prepares images for fast reading.

python -m sagan_jax.data.prepare IN OUT --resolution 64
python -m sagan_jax.data.prepare --verify OUT
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from sagan_jax.data import archive as archives
from sagan_jax.data import class_counts, prepare_outputs, prepare_shards
from sagan_jax.data.prepare_inputs import open_input
from sagan_jax.data.prepare_verify import verify
from sagan_jax.data.prepared import Description
from sagan_jax.errors import UserError, naming
from sagan_jax.files import names, paths, terminal

_HELP = """\
Prepare images for training: decode, crop and resize each image once, and write the
result to files that --config.data.source=array_record reads many times faster.
"""

_MORE = """\
IN is one of
  a folder or .zip with one sub-folder of images per class, or with dataset.json, the
    labels as the data tools of StyleGAN and EDM write them;
  an LMDB directory of LSUN, such as church_outdoor_train_lmdb, or a directory that
    contains one per class (needs: pip install lmdb);
  tfds:NAME[:SPLIT], a data set of tensorflow-datasets that is prepared as array_record,
    such as tfds:imagenet2012 or tfds:cifar10:test; the default split is train.

The result depends only on IN and the settings, not on the number of workers. If the
command is stopped, run it again to resume: finished files are kept. On a complete
directory, the command verifies the checksums and repairs damaged files.

examples
  python -m sagan_jax.data.prepare photos.zip photos64 --resolution 64
  python -m sagan_jax.data.prepare tfds:imagenet2012 imagenet128 --resolution 128
  python -m sagan_jax.data.prepare faces faces128 --resolution 128 --unlabelled
  python -m sagan_jax.data.prepare --verify photos64
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1, with one sentence, for errors that the user can fix."""
    terminal.keep_going()
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.verify:
            if arguments.images or arguments.out:
                parser.error("--verify does not take IN and OUT")
            found = _summary(verify(arguments.verify))
            print(f"{names.shown(arguments.verify)}: no damage found; {found}")
            return 0
        if not arguments.out or not arguments.resolution:
            parser.error("IN, OUT and --resolution are required, or --verify DIR")
        _check(arguments)
        return _prepare(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; run the same command to resume.", file=sys.stderr)
        return 130


_MODULE = "sagan_jax.data.prepare"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_MODULE}",
        description=_HELP,
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("images", nargs="?", metavar="IN", help="see below")
    parser.add_argument(
        "out", nargs="?", metavar="OUT", help="new directory, or one to resume"
    )
    parser.add_argument(
        "--resolution",
        type=int,
        metavar="R",
        help="shorter side of the images in pixels, the maximum for training",
    )
    parser.add_argument(
        "--channels",
        type=int,
        default=3,
        choices=(1, 2, 3, 4),
        help="1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha (default: 3)",
    )
    parser.add_argument(
        "--unlabelled",
        action="store_true",
        help="ignore classes; use every image, in sub-folders or not",
    )
    parser.add_argument(
        "--crop",
        default="center",
        choices=("center", "none"),
        help="center: keep the central square; none: keep the longer side too, for "
        "data.random_crop (default: center)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        default=_cores(),
        help="number of processes that decode; 0 decodes in this process (default: one "
        "per core, here %(default)s)",
    )
    parser.add_argument(
        "--max_unreadable",
        type=int,
        metavar="N",
        default=0,
        help="number of unreadable images that may be left out; each is reported "
        "(default: 0)",
    )
    parser.add_argument(
        "--data_dir",
        default="",
        metavar="DIR",
        help="directory of the data sets of tensorflow-datasets, for IN=tfds:NAME "
        "(default: ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--verify",
        metavar="DIR",
        help="only verify prepared images: sizes, hashes, every record, counts",
    )
    return parser


def _cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(arguments: argparse.Namespace) -> None:
    for name, low, high in (
        ("resolution", 4, 4096),
        ("workers", 0, 1024),
        ("max_unreadable", 0, 10**8),
    ):
        value = getattr(arguments, name)
        if not low <= value <= high:
            raise UserError(
                f"--{name}={value} is out of range; choose a value from {low} to "
                f"{high}."
            )


def _prepare(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    with naming("OUT", arguments.out):
        out = os.path.abspath(paths.local(arguments.out))
    source = arguments.images
    if not source.startswith("tfds:"):
        with naming("IN", source):
            source = str(paths.local(source))
    # Before the listing, in which an earlier OUT would be a class without images.
    _check_apart(arguments, os.path.isdir(source) and archives.encloses(source, out))
    images = open_input(
        arguments.images,
        labelled=not arguments.unlabelled,
        data_dir=arguments.data_dir,
    )
    _check_apart(arguments, images.encloses(out))
    wanted = prepare_outputs.describe(
        images,
        resolution=arguments.resolution,
        channels=arguments.channels,
        crop=arguments.crop,
        command=_command(arguments, out),
    )
    with prepare_outputs.claimed(out):
        described = prepare_shards.write(
            images,
            out,
            wanted,
            processes=arguments.workers,
            max_unreadable=arguments.max_unreadable,
        )
    seconds = time.monotonic() - started
    print(f"{names.shown(out)}: {_summary(described)}, in {seconds:.1f} s")
    for line in class_counts.warnings(described.class_names, described.counts):
        print(line)
    print(f"train on it: {_launch(out, described)}")
    return 0


def _check_apart(arguments: argparse.Namespace, inside: bool) -> None:
    if inside:
        raise UserError(
            f"OUT={arguments.out!r} lies in IN={arguments.images!r}, where its files "
            "would be taken for a part of the images; choose a directory outside."
        )


def _command(arguments: argparse.Namespace, out: str) -> str:
    """Returns the command that resumes, which works from any directory."""
    images = arguments.images
    if not images.startswith("tfds:"):
        images = os.path.abspath(paths.local(images))
    words = ["python", "-m", _MODULE, images, out]
    for name in ("resolution", "channels", "crop", "max_unreadable", "data_dir"):
        value = getattr(arguments, name)
        if value != _parser().get_default(name):
            words += [f"--{name}", str(value)]
    return names.command(words + ["--unlabelled"] * arguments.unlabelled)


def _summary(described: Description) -> str:
    contents = class_counts.summary(described.class_names, described.counts)
    files = class_counts.plural(len(described.shards), "file")
    size = prepare_outputs.size(sum(shard.bytes for shard in described.shards))
    left_out = len(described.unreadable)
    rest = f" ({left_out} unreadable images left out)" if left_out else ""
    return f"{contents}{rest}; {files} of {size}"


def _launch(out: str, described: Description) -> str:
    recipe = "cifar10" if described.resolution <= 48 else "imagenet128"
    flags = {
        "data.source": "array_record",
        "data.path": out,
        "model.resolution": described.resolution,
        "model.num_classes": len(described.class_names),
    }
    if described.channels != 3:
        flags["model.channels"] = described.channels
    words = ["python", "launch.py", "--config", f"experiments/{recipe}.py"]
    words += [f"--config.{name}={value}" for name, value in flags.items()]
    return names.command(words)


if __name__ == "__main__":
    sys.exit(main())
