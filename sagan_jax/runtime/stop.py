"""Stop requests: a signal becomes a flag that the training loop checks."""

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class StopRequest:
    """Turns the first SIGINT or SIGTERM into a request; a second one acts as usual.

    Attributes:
      requested: whether a signal has arrived.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request)
        return self

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()
