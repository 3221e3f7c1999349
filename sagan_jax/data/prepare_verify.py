"""Verifies a directory of prepared images by reading all of it."""

import os

from tqdm import tqdm

from sagan_jax.data import prepare_outputs, prepared
from sagan_jax.data.prepared import Description, Shard
from sagan_jax.errors import UserError, naming
from sagan_jax.files import paths


def verify(path: str) -> Description:
    """Returns the description of `path` if the files agree with it.

    The checks cover the size and hash of each file, the number of records, the pixels
    and label of each record, and the number of images in each class.

    Raises:
      UserError: the first disagreement.
    """
    with naming("DIR", path):
        described = prepared.read_description(path)
    root = str(paths.local(path))
    counts = [0] * len(described.counts)
    with tqdm(total=len(described), desc="verifying", unit="image") as bar:
        for shard in described.shards:
            cause = prepare_outputs.fault(root, shard)
            if not cause:
                cause = _examine(root, shard, described, counts, bar)
            if cause:
                raise UserError(
                    f"DIR: {f'{path}/{shard.name}'!r} is damaged ({cause}); repair it "
                    f"with: {described.command}"
                )
    if not described.complete:
        raise UserError(
            f"DIR={path!r} is incomplete: {len(described.shards)} of "
            f"{described.shard_count} files have been written, none of them damaged; "
            f"resume with: {described.command}"
        )
    if counts != described.counts:
        raise UserError(
            f"DIR={path!r}: the number of images in each class differs from "
            f"{prepared.FILE}; prepare them again in another directory."
        )
    return described


def _examine(
    root: str, shard: Shard, described: Description, counts: list[int], bar: tqdm
) -> str:
    """Returns what is wrong with the records of a file, or ''; counts their labels."""
    reader = prepared.open_shard(os.path.join(root, shard.name))
    if reader.num_records() != shard.records:
        return f"{reader.num_records()} records instead of {shard.records}"
    for position in range(shard.records):
        try:
            (record,) = reader.read([position])
            image, label = prepared.decode(record, described.channels)
        except Exception as error:  # as in array_record.py
            return f"record {position}: {' '.join(str(error).split())}"
        sides = sorted(image.shape[:2])
        square = sides[0] == sides[1] or described.crop == "none"
        if sides[0] != described.resolution or not square:
            return (
                f"record {position}: it has {image.shape[0]} x {image.shape[1]} pixels"
            )
        if not 0 <= label < len(counts):
            return f"record {position}: its label is {label}"
        counts[label] += 1
        bar.update()
    return ""
