"""Reading all of a directory of prepared images, to see that nothing is damaged."""

import os

from tqdm import tqdm

from sagan_jax.data import prepare_outputs, prepared
from sagan_jax.data.prepared import Description, Shard
from sagan_jax.errors import UserError


def verify(path: str) -> Description:
    """Returns the description of `path`, if all that it says is so.

    Sizes and hashes of the files, the number of records, the pixels and label of each,
    and the number of each class are compared.

    Raises:
      UserError: the first thing that is not so.
    """
    described = prepared.read_description(path, "DIR")
    root = os.path.expanduser(path)
    counts = [0] * len(described.counts)
    with tqdm(total=len(described), desc="verifying", unit="image") as bar:
        for shard in described.shards:
            cause = prepare_outputs.fault(root, shard)
            if not cause:
                cause = _examine(root, shard, described, counts, bar)
            if cause:
                raise UserError(
                    f"DIR: '{path}/{shard.name}' is damaged ({cause}); the command "
                    f"that made it makes it again: {described.command}"
                )
    if not described.complete:
        raise UserError(
            f"DIR={path!r} is not finished: {len(described.shards)} of "
            f"{described.shard_count} files are there, all of them whole; the command "
            f"that began it goes on: {described.command}"
        )
    if counts != described.counts:
        raise UserError(
            f"DIR={path!r}: the images of each class are not as many as "
            f"{prepared.FILE} says; prepare them again into another directory."
        )
    return described


def _examine(
    root: str, shard: Shard, described: Description, counts: list[int], bar: tqdm
) -> str:
    """Returns what is wrong with a file's records, or ''; counts their labels."""
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
