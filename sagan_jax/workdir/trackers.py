"""Feeds a run's numbers and sheets to trackers, which can neither delay nor stop it.

Each tracker has a thread and a bounded queue. What a slow one has no room for is
dropped, and trouble is reported once: metrics.jsonl, TensorBoard's files and samples/
have everything, whatever becomes of a tracker.
"""

import contextlib
import importlib.util
import math
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sagan_jax.config import Config, fields_of
from sagan_jax.files import json_lines, names, whole
from sagan_jax.workdir.tracker_clients import (
    CLIENTS,
    FINISH_WITHIN,
    Client,
    Entry,
)

QUEUED = 1000
"""Readings and pictures that may wait for a tracker."""

LAST_WAIT = FINISH_WITHIN + 1
"""Seconds that all trackers together have to finish at the end of a run."""

_Item = Callable[[Client], None]


class Trackers:
    """The trackers of a run.

    Args:
      config: the run's config, whose `train.trackers` names them.
      path: a file of the workdir that holds the run's id in the trackers, and nothing
        else; it is made if there are any trackers.
      name: the run's name in the trackers.
    """

    def __init__(self, config: Config, path: Path, name: str) -> None:
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._feeds: list[_Feed] = []
        chosen = list(dict.fromkeys(config.train.trackers))
        if not chosen:
            return
        settings = {key: value for key, value, _ in fields_of(config)}
        entry = Entry(_id_of_run(path), name, settings)
        for tracker in chosen:
            if importlib.util.find_spec(tracker) is None:
                self._messages.put(
                    f"train.trackers: {tracker} is not installed and gets nothing; "
                    f"install it with: pip install {tracker}"
                )
                continue
            self._feeds.append(_Feed(tracker, entry, self._messages.put))

    def scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Queues the numbers of a step; those that are not finite are left out."""
        numbers = {k: v for k, v in scalars.items() if math.isfinite(v)}
        now = time.time()
        self._put(lambda client: client.scalars(step, numbers, now))

    def picture(self, step: int, name: str, path: Path) -> None:
        """Queues a picture file, in the series `name`."""
        self._put(lambda client: client.picture(step, name, path))

    def messages(self) -> Iterable[str]:
        """Yields what should be reported since the last call, in sentences."""
        while not self._messages.empty():
            yield self._messages.get()

    def close(self, *, failed: bool = False) -> None:
        """Lets the trackers finish, for LAST_WAIT seconds at most.

        Args:
          failed: whether the run ended by an error.
        """
        deadline = time.monotonic() + LAST_WAIT
        for feed in self._feeds:
            feed.end(failed)
        for feed in self._feeds:
            feed.wait(deadline)

    def _put(self, item: _Item) -> None:
        for feed in self._feeds:
            feed.put(item)


class _Feed:
    """The thread and the queue of one tracker."""

    def __init__(
        self, tracker: str, entry: Entry, report: Callable[[str], None]
    ) -> None:
        self._tracker, self._report = tracker, report
        self._queue: queue.Queue[_Item | None] = queue.Queue(QUEUED)
        self._in_trouble, self._failed = False, False
        # A daemon: one that hangs does not keep the process alive.
        self._thread = threading.Thread(
            target=self._work, args=(entry,), name=f"tracker {tracker}", daemon=True
        )
        self._thread.start()

    def put(self, item: _Item) -> None:
        """Queues an item if there is room and the tracker could be opened."""
        if not self._thread.is_alive():
            return
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._trouble(f"is more than {QUEUED} readings behind, and misses some")

    def end(self, failed: bool) -> None:
        """Asks the thread to end once its queue is empty."""
        self._failed = failed
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            self._queue.put_nowait(None)  # nobody else puts anything

    def wait(self, deadline: float) -> None:
        """Waits for the end of the thread until `deadline`, a monotonic time."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._trouble(f"did not finish within {LAST_WAIT:.0f} s, and misses some")

    def _work(self, entry: Entry) -> None:
        try:
            client = CLIENTS[self._tracker](entry)
        except Exception as error:
            self._trouble(f"could not be started ({_brief(error)}), and gets nothing")
            return
        self._report(f"{self._tracker}: {_without_passwords(client.place)}")
        while (item := self._queue.get()) is not None:
            self._try(item, client)
        self._try(lambda client: client.finish(failed=self._failed), client)

    def _try(self, item: _Item, client: Client) -> None:
        # Later ones may succeed: a server can come back.
        try:
            item(client)
        except Exception as error:
            self._trouble(f"failed ({_brief(error)}), and misses some")

    def _trouble(self, what: str) -> None:
        """Reports the first trouble of a tracker, and no later one."""
        if not self._in_trouble:
            self._in_trouble = True
            self._report(
                f"warning: the tracker {self._tracker} {what}; metrics.jsonl has all."
            )


def _id_of_run(path: Path) -> str:
    """Returns the id of the run in a workdir's file, which is made if it is missing."""
    for line in json_lines.newest_first(path):
        if isinstance(found := line.get("id"), str) and re.fullmatch(r"\w+", found):
            return found
    made: dict[str, Any] = {"id": secrets.token_hex(8)}
    whole.write_text(path, json_lines.encode(made))
    return str(made["id"])


def _brief(error: Exception) -> str:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return names.shown(_without_passwords(first[:200])).rstrip(".")


def _without_passwords(text: str) -> str:
    """Returns a text with what its URLs hold before an @ left out."""
    return re.sub(r"//[^/@\s]+@", "//", text)
