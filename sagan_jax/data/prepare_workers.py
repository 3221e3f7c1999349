"""Images in, records out, in the same order whatever the number of processes."""

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
_AHEAD = 4  # portions for each process, being made or waiting to be written

_PNG = b"\x89PNG"


class Made(NamedTuple):
    """A record and its label, or why there is none."""

    record: bytes
    label: int
    cause: str


class Maker(NamedTuple):
    """Makes records; a pickle of it does so in another process."""

    reader: Reader
    resolution: int
    channels: int
    crop: str
    num_classes: int

    def make(self, key: Any) -> Made:
        """Returns the record of one image.

        Raises:
          UserError: a label that is none, as those of test sets can be.
        """
        try:
            content, label = self.reader.read(key)
            if content.startswith(_PNG):  # checksums that the decoder passes over
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
                f"label={label} of {self.reader.name(key)} is none of "
                f"{self.num_classes} classes; add --unlabelled."
            )
        return Made(prepared.encode(image, label), label, "")


def make_all(
    maker: Maker, keys: Iterable[Any], processes: int
) -> Generator[Made, None, None]:
    """Yields the record of each key, in order.

    Args:
      maker: of the records.
      keys: for its reader.
      processes: that read and decode beside this one; 0: this one does.

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
            f"--workers={processes}: a process was killed, as happens when memory runs "
            "out; the same command goes on, and fewer workers need less."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_maker: Maker | None = None  # of a process that was started for this


def _start(maker: Maker) -> None:
    global _maker
    _maker = maker
    # Ctrl-C is for the process that writes; when that one is gone, so is the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _make_portion(keys: list[Any]) -> list[Made]:
    assert _maker is not None
    return list(map(_maker.make, keys))
