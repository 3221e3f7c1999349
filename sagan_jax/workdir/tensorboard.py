"""What a run shows in TensorBoard: one event file for each start of it.

tensorboardX encodes the records, without TensorFlow. They are written by the caller's
own thread, so that a full disk is heard of, and flushed, so that a kill loses none.
"""

import time
from pathlib import Path
from typing import Any

from PIL import Image


class EventFile:
    """Writes scalars and pictures for TensorBoard into a directory.

    TensorBoard is told first to forget what it was shown beyond `start`: a resumed run
    makes those steps again.
    """

    def __init__(self, directory: Path, *, start: int):
        # Imported on use: it takes longer than the rest of telemetry.
        from tensorboardX import event_file_writer
        from tensorboardX.proto import event_pb2, summary_pb2

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        directory.mkdir(parents=True, exist_ok=True)
        # A name has the time in seconds. The suffix keeps two quick starts apart.
        self._file = event_file_writer.EventsWriter(
            str(directory / "events"), f".{start:08d}"
        )
        session = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(start + 1 if start else 0, session_log=session)

    def scalars(self, step: int, scalars: dict[str, float]) -> None:
        """Writes the numbers of a step."""
        value = self._summary.Value
        values = [value(tag=tag, simple_value=x) for tag, x in scalars.items()]
        self._write(step, summary=self._summary(value=values))

    def picture(self, step: int, tag: str, path: Path) -> None:
        """Writes a picture as it stands in a file."""
        with Image.open(path) as opened:
            (width, height), channels = opened.size, len(opened.getbands())
        image = self._summary.Image(
            height=height,
            width=width,
            colorspace=channels,
            encoded_image_string=path.read_bytes(),
        )
        values = [self._summary.Value(tag=tag, image=image)]
        self._write(step, summary=self._summary(value=values))

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        self._file.write_event(self._event(step=step, wall_time=time.time(), **content))
        self._file.flush()
