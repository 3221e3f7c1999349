"""Writing prepared images: whole shards, in order, from wherever it was left."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator

from array_record.python import array_record_module
from tqdm import tqdm

from sagan_jax.data import prepare_outputs, prepare_workers, prepared
from sagan_jax.data.prepare_inputs import Input
from sagan_jax.data.prepare_workers import Made, Maker
from sagan_jax.data.prepared import Description, Shard
from sagan_jax.errors import UserError


def write(
    images: Input,
    out: str,
    wanted: Description,
    *,
    processes: int = 0,
    max_unreadable: int = 0,
) -> Description:
    """Returns the description of `out`, once all shards are there.

    Shards that are there and have their checksum are left alone. Whatever stops it,
    whole shards stay, and the same call goes on with the others.

    Args:
      images: to be written.
      out: a directory that is `claimed`.
      wanted: what `describe` returned for them.
      processes: that read and decode beside this one.
      max_unreadable: how many images may be left out.

    Raises:
      UserError: other images or another form there, too many that cannot be read, a
        disk that is full.
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
            # The span first: zip must not take a record that it has no index for.
            made = zip(span, all_made, strict=False)
            shard = _write_shard(out, number, described, batch.records(made, bar))
            _take_down(out, number, shard, described, batch)
    if not len(described):
        raise UserError(
            f"IN={images.origin!r}: none of {wanted.total} images can be read; replace "
            "them."
        )
    described.complete = True
    prepared.write_description(out, described)
    return described


class _Batch:
    """What is seen while the images of one shard are made."""

    def __init__(self, images: Input, described: Description, allowed: int) -> None:
        self._images = images
        # A shard that is made again leaves out what it left out the first time.
        self._known = {name for name, _ in described.unreadable}
        self._allowed = allowed - len(self._known)
        self.counts = [0] * len(described.counts)
        self.unreadable: list[list[str]] = []

    def records(self, made: Iterable[tuple[int, Made]], bar: tqdm) -> Iterator[bytes]:
        """Yields the records, and keeps count."""
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
                "N to leave out so many, and the same command goes on, or mend it and "
                "begin in a new directory."
            )
        tqdm.write(f"warning: {name!r} is left out ({cause}).", file=sys.stderr)


def _write_shard(
    out: str, number: int, described: Description, records: Iterator[bytes]
) -> Shard:
    """Returns what was written: beside, then renamed."""
    name = prepared.shard_name(number, described.shard_count)
    beside = os.path.join(out, name + prepare_outputs.BESIDE)
    count = 0
    try:
        writer = array_record_module.ArrayRecordWriter(beside, prepared.WRITER_OPTIONS)
        with contextlib.closing(writer):
            for record in records:
                writer.write(record)
                count += 1
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        shard = Shard(
            name, count, os.path.getsize(beside), prepare_outputs.sha256(beside)
        )
        os.replace(beside, os.path.join(out, name))
    # The library's own for a disk that is full, found when the file is closed.
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"OUT={out!r} cannot be written to ({_cause(error)}); make room, and the "
            "same command goes on."
        ) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)
    return shard


def _take_down(
    out: str, number: int, shard: Shard, described: Description, batch: _Batch
) -> None:
    """Enters a shard into the description on the disk."""
    if number < len(described.shards):
        if shard.sha256 != described.shards[number].sha256:
            raise UserError(
                f"OUT={out!r}: {shard.name!r} could not be made again as it was (by "
                f"{described.made_by}; this is {prepared.libraries()}); remove the "
                "directory to begin anew."
            )
        return
    described.shards.append(shard)
    described.unreadable += batch.unreadable
    for label, count in enumerate(batch.counts):
        described.counts[label] += count
    prepared.write_description(out, described)


def _span(described: Description, number: int) -> range:
    """Returns the indices of a shard's images."""
    return range(described.total)[
        number * described.per_shard : (number + 1) * described.per_shard
    ]


def _cause(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error).split(";")[0].removeprefix("write() failed: ")
