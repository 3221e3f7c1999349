"""What lies in a folder or zip besides images, in words."""

import collections
import os

from sagan_jax.data.archive import Listing
from sagan_jax.data.class_counts import plural
from sagan_jax.data.formats import SUFFIXES
from sagan_jax.errors import UserError

_KINDS = 6  # kinds of files in a sentence

_REMEDIES = {
    ".mdb": "convert the LMDB with python -m sagan_jax.data.prepare",
    ".array_record": "set --config.data.source=array_record if they were prepared here",
    ".parquet": "write the images in the Parquet files to a folder",
    ".arrow": "write the images in the Arrow files to a folder",
    ".npz": "write the arrays as image files",
    ".npy": "write the arrays as image files",
    ".tfrecord": "write the images in the TFRecord files to a folder",
    ".zip": "pass a single .zip of images, or unpack them",
    ".tar": "unpack the .tar files",
    ".tgz": "unpack the .tgz files",
    ".gz": "unpack the .gz files",
    ".7z": "unpack the .7z files",
    ".rar": "unpack the .rar files",
    ".heic": "convert the .heic photos to .jpg or .png",
    ".heif": "convert the .heif photos to .jpg or .png",
    ".avif": "install Pillow 11.3 or later, which reads .avif",
    ".jp2": "convert the .jp2 images to .png",
    ".jxl": "convert the .jxl images to .png",
    ".dng": "convert the raw photos to .jpg or .png",
    ".mp4": "extract frames from the videos",
}
_SAME = {".tar.gz": ".tar", ".tfrecords": ".tfrecord", ".lmdb": ".mdb", ".mov": ".mp4"}


def no_images(path: str, listing: Listing, remedy: str = "") -> UserError:
    """Returns the error for a path without a single image.

    Args:
      path: the path, as the user gave it.
      listing: its files.
      remedy: what to choose instead; by default, class folders of images.
    """
    remedy = remedy or (
        "choose a directory or .zip file with one sub-folder of images per class"
    )
    found = _kinds(listing.others)
    if listing.system:
        found = f"{found}{' and ' if found else ''}{system(listing)}"
    also = special(listing.others)
    return UserError(
        f"{path!r} contains no images ({', '.join(SUFFIXES)})"
        + (f", but {found}" if found else "")
        + f"; {also + ', or ' if also else ''}{remedy}."
    )


def special(names: list[str]) -> str:
    """Returns the remedy for the commonest kind of file that holds images, or ''."""
    kinds = [kind for kind, _ in _counted(names) if kind in _REMEDIES]
    return _REMEDIES[kinds[0]] if kinds else ""


def system(listing: Listing) -> str:
    """Returns a phrase such as '2 folders of the system, such as '@eaDir''."""
    count = plural(len(listing.system), "folder")
    return f"{count} of the system, such as {min(listing.system)!r}"


def _kinds(names: list[str]) -> str:
    """Returns a phrase such as '3 files (2 .parquet, 1 .md)'; '' without files."""
    if not names:
        return ""
    kinds = _counted(names)
    shown = [f"{count} {_shown(kind)}" for kind, count in kinds[:_KINDS]]
    if rest := sum(count for _, count in kinds[_KINDS:]):
        shown.append(f"{rest} more")
    return f"{plural(len(names), 'file')} ({', '.join(shown)})"


def _shown(kind: str) -> str:
    # A suffix is a part of a name, and can hold anything.
    return ascii(kind)[1:-1] if kind else "without a suffix"


def _counted(names: list[str]) -> list[tuple[str, int]]:
    """Returns each kind of file and its number, the commonest first."""
    counts = collections.Counter(map(_kind, names))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _kind(name: str) -> str:
    lower = os.path.basename(name).lower()
    for end, kind in _SAME.items():
        if lower.endswith(end):
            return kind
    suffix = os.path.splitext(lower)[1]
    return suffix if len(suffix) <= 16 else ""
