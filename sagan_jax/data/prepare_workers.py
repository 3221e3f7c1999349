"""Turns images into records, in order, with any number of processes."""

import io
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from sagan_jax.data import prepared, readable, transforms
from sagan_jax.data.prepare_inputs import Reader
from sagan_jax.errors import UserError

_PORTION = 16  # images given to a process at once
_AHEAD = 4  # portions per process that are being made or wait to be written

_PNG = b"\x89PNG"


class Made(NamedTuple):
    """A record and its label, or the cause why there is none."""

    record: bytes
    label: int
    cause: str


class Maker(NamedTuple):
    """Makes records; it can be pickled and used in another process."""

    reader: Reader
    resolution: int
    channels: int
    crop: str
    num_classes: int

    def make(self, key: Any) -> Made:
        """Returns the record of one image.

        Raises:
          UserError: the label is out of range, as it can be in test sets.
        """
        try:
            content, label = self.reader.read(key)
            if content.startswith(_PNG):  # its checksums, which the decoder ignores
                transforms.check(io.BytesIO(content))
            image = transforms.decode(io.BytesIO(content))
        # Pillow's decoders raise nearly anything on damaged files.
        except Exception as error:
            return Made(b"", 0, readable.cause_of(error))
        fit = transforms.fit if self.crop == "center" else transforms.fit_shorter
        image = fit(image, self.resolution, self.channels)
        if self.num_classes == 0:
            label = 0
        elif not 0 <= label < self.num_classes:
            raise UserError(
                f"label={label} of {self.reader.name(key)} is out of range for "
                f"{self.num_classes} classes; add --unlabelled to ignore labels."
            )
        return Made(prepared.encode(image, label), label, "")


def make_all(
    maker: Maker, keys: Iterable[Any], processes: int
) -> Generator[Made, None, None]:
    """Yields the record of each key, in order.

    Args:
      maker: maker of the records.
      keys: keys of the images, for its reader.
      processes: number of processes that read and decode; 0 uses this one.

    Raises:
      UserError: a process was killed.
    """
    if processes == 0:
        yield from map(maker.make, keys)
        return
    keys = iter(keys)
    # Spawned: a fork would copy locks that other threads hold.
    pool = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(maker,),
    )
    waiting: deque[Future[list[Made]]] = deque()
    try:
        while True:
            while len(waiting) < _AHEAD * processes:
                portion = list(itertools.islice(keys, _PORTION))
                if not portion:
                    break
                waiting.append(pool.submit(_make_portion, portion))
            if not waiting:
                return
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            f"--workers={processes}: a process was killed, probably because memory ran "
            "out; run the same command with fewer workers to resume."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_maker: Maker | None = None  # set in worker processes


def _start(maker: Maker) -> None:
    global _maker
    _maker = maker
    # Only the writing process handles Ctrl-C; workers end when it does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _make_portion(keys: list[Any]) -> list[Made]:
    assert _maker is not None
    return list(map(_maker.make, keys))
