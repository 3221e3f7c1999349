"""Writes prepared images as shards, in order, and resumes after the last one."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from array_record.python import array_record_module
from tqdm import tqdm

from sagan_jax.data import prepare_outputs, prepare_workers, prepared
from sagan_jax.data.prepare_inputs import Input
from sagan_jax.data.prepare_workers import Made, Maker
from sagan_jax.data.prepared import Description, Shard
from sagan_jax.errors import UserError
from sagan_jax.files import whole


def write(
    images: Input,
    out: str,
    wanted: Description,
    *,
    processes: int = 0,
    max_unreadable: int = 0,
) -> Description:
    """Returns the description of `out` after writing all missing shards.

    Shards with the right checksum are kept. If the call is interrupted, finished shards
    remain, and the same call writes the rest.

    Args:
      images: images to write.
      out: output directory, `claimed` by the caller.
      wanted: result of `describe` for these images.
      processes: number of processes that read and decode; 0 uses this one.
      max_unreadable: number of unreadable images that may be left out.

    Raises:
      UserError: `out` was started from other images or settings, too many images are
        unreadable, or the disk is full.
    """
    described = prepare_outputs.begin(out, wanted)
    pending = prepare_outputs.pending(out, described)
    spans = [_span(described, number) for number in pending]
    left = sum(map(len, spans))
    prepare_outputs.check_space(out, described, left)
    maker = Maker(
        images.reader,
        wanted.resolution,
        wanted.channels,
        wanted.crop,
        len(wanted.class_names),
    )
    keys = (images.keys[index] for span in spans for index in span)
    all_made = prepare_workers.make_all(maker, keys, processes)
    bar = tqdm(
        desc="preparing",
        unit="image",
        total=wanted.total,
        initial=wanted.total - left,
        disable=not left,
    )
    with contextlib.closing(all_made), bar:
        for number, span in zip(pending, spans, strict=True):
            batch = _Batch(images, described, max_unreadable)
            # The span comes first: zip must not take a record without an index.
            made = zip(span, all_made, strict=False)
            shard = _write_shard(out, number, described, batch.records(made, bar))
            _record_shard(out, number, shard, described, batch)
    if not len(described):
        raise UserError(
            f"IN={images.origin!r}: none of {wanted.total} images can be read; replace "
            "them."
        )
    described.complete = True
    with prepare_outputs.writing(out):
        prepared.write_description(out, described)
    return described


class _Batch:
    """Counts the images of one shard while they are written."""

    def __init__(self, images: Input, described: Description, allowed: int) -> None:
        self._images = images
        # A repaired shard leaves out the same images as the first time.
        self._known = {name for name, _ in described.unreadable}
        self._allowed = allowed - len(self._known)
        self.counts = [0] * len(described.counts)
        self.unreadable: list[list[str]] = []

    def records(self, made: Iterable[tuple[int, Made]], bar: tqdm) -> Iterator[bytes]:
        """Yields the records and counts them."""
        for index, one in made:
            bar.update()
            if not one.cause:
                self.counts[one.label] += 1
                yield one.record
            elif (name := self._images.name(index)) not in self._known:
                self._leave_out(name, one.cause)

    def _leave_out(self, name: str, cause: str) -> None:
        self.unreadable.append([name, cause])
        if len(self.unreadable) > self._allowed:
            raise UserError(
                f"{name!r} cannot be read as an image ({cause}); add --max_unreadable "
                "N to resume and leave out up to N such images, or fix it and start in "
                "a new directory."
            )
        tqdm.write(f"warning: {name!r} is left out ({cause}).", file=sys.stderr)


def _write_shard(
    out: str, number: int, described: Description, records: Iterator[bytes]
) -> Shard:
    """Writes a shard and returns its entry for the description."""
    name = prepared.shard_name(number, described.shard_count)
    count = 0
    with (
        prepare_outputs.writing(out),
        whole.replacing(Path(out, name)) as temporary,
    ):
        writer = array_record_module.ArrayRecordWriter(
            os.fsencode(temporary), prepared.WRITER_OPTIONS
        )
        with contextlib.closing(writer):
            for record in records:
                writer.write(record)
                count += 1
        # Before the rename: a shard under its final name has the recorded hash.
        size, digest = temporary.stat().st_size, prepare_outputs.sha256(str(temporary))
    return Shard(name, count, size, digest)


def _record_shard(
    out: str, number: int, shard: Shard, described: Description, batch: _Batch
) -> None:
    """Adds a shard to the description on the disk."""
    if number < len(described.shards):
        if shard.sha256 != described.shards[number].sha256:
            raise UserError(
                f"OUT={out!r}: {shard.name!r} was damaged and could not be reproduced "
                f"(made by {described.made_by}; this is {prepared.libraries()}); "
                "delete the directory to start again."
            )
        return
    described.shards.append(shard)
    described.unreadable += batch.unreadable
    for label, count in enumerate(batch.counts):
        described.counts[label] += count
    with prepare_outputs.writing(out):
        prepared.write_description(out, described)


def _span(described: Description, number: int) -> range:
    """Returns the indices of the images of a shard."""
    return range(described.total)[
        number * described.per_shard : (number + 1) * described.per_shard
    ]
