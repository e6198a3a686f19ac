"""TensorBoard: one event file, a pure function of the journal.

When the sink starts, the file's bytes are made again from the first line on and compared with those that are there;
only what is missing is written, a torn or foreign tail is replaced. So nothing is missing and nothing doubled whatever
was killed, and a TensorBoard that has the file open goes on reading.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from racing.tracking.sinks.journal_sink import JournalSink, numbers

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


class TensorBoardSink(JournalSink):
    """Writes <run>/tensorboard/; see it with `tensorboard --logdir outputs/runs`."""

    name = "tensorboard"

    def _begin(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        folder = self.run.paths.sink(self.name)
        folder.mkdir(exist_ok=True)
        self._tables = 0
        self._file = _RepairedFile(folder / f"events.out.tfevents.{self.run.started // 1000:010d}.{self.run.name}")
        self._add(Event(wall_time=self.run.started / 1000, file_version="brain.Event:2"))

    def _take(self, record: dict[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if point := numbers(record):
            step, time, values = point
            scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._add(Event(wall_time=time, step=step, summary=Summary(value=scalars)))
        elif record.get("kind") == "params":
            time = record["ts"] / 1000
            self._add(Event(wall_time=time, step=self._tables, summary=_table(record["values"])))
            self._tables += 1

    def _settle(self) -> None:
        self._file.settle()

    def _add(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        frame = io.BytesIO()
        RecordWriter(frame).write(event.SerializeToString(deterministic=True))
        self._file.write(frame.getvalue())


class _RepairedFile:
    """A file that is written from its beginning, where only bytes that differ from those there are written."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")
        self._agrees = True
        self._size = 0

    def write(self, data: bytes) -> None:
        if self._agrees:
            self._agrees = self._file.read(len(data)) == data
            if not self._agrees:
                self._file.seek(self._size)
                self._file.truncate()
        if not self._agrees:
            self._file.write(data)
        self._size += len(data)

    def settle(self) -> None:
        """Flush; what stands behind the last byte written is cut off."""
        if self._agrees:
            self._file.seek(self._size)
            self._file.truncate()
        self._file.flush()


def _table(values: dict[str, str]) -> Summary:
    """Show parameters as a table of TensorBoard's text page."""
    from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    rows = "".join(f"| {name} | {str(value).replace('|', '&#124;')} |\n" for name, value in values.items())
    text = TensorProto(dtype=DT_STRING, string_val=[f"| name | value |\n|---|---|\n{rows}".encode()])
    plugin = SummaryMetadata(plugin_data={"plugin_name": "text"}, data_class=DATA_CLASS_TENSOR)
    return Summary(value=[Summary.Value(tag="params", metadata=plugin, tensor=text)])
