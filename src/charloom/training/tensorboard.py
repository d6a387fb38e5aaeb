"""Write the records of a training run as TensorBoard event files."""

import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata  # type: ignore[import-untyped]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[import-untyped]
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # type: ignore[import-untyped]
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData  # type: ignore[import-untyped]
from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

from charloom.training.events import EvaluationRecord, FinishRecord, PlanRecord, Record, SampleRecord, StepRecord

FOLDER = "tensorboard"


class TensorBoardLog:
    """Writes the loss of every step, and the losses, speed and sample of every evaluation."""

    def __init__(self) -> None:
        self._writer: Any = None

    def take(self, record: Record) -> None:
        """Write one record."""
        if isinstance(record, PlanRecord):
            self._open(Path(record.run) / FOLDER, record.step + 1)
        elif isinstance(record, StepRecord):
            self._add_scalars(record.step, {"loss/step": record.loss, "gradient norm": record.grad_norm})
            self._add_scalars(record.step, {"learning rate": record.learning_rate})
        elif isinstance(record, EvaluationRecord):
            losses = {"loss/held out": record.val_loss, "loss/training": record.train_loss}
            self._add_scalars(record.step, {**losses, "characters a second": record.chars_per_second})
            self._writer.flush()
        elif isinstance(record, SampleRecord):
            self._add_text(record.step, "sample", "\n".join(f"    {line}" for line in record.text.split("\n")))
        elif isinstance(record, FinishRecord):
            self._writer.close()

    def _open(self, folder: Path, step: int) -> None:
        """Start an event file; from ``step`` on, TensorBoard hides the events of earlier files."""
        self._writer = EventFileWriter(str(folder))
        self._add(step, file_version="brain.Event:2")
        self._add(step, session_log=SessionLog(status=SessionLog.START))

    def _add_scalars(self, step: int, scalars: dict[str, float | None]) -> None:
        for tag, value in scalars.items():
            if value is not None:
                self._add(step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))

    def _add_text(self, step: int, tag: str, text: str) -> None:
        """Add a text in the format of TensorBoard's text plugin: a string tensor with one element."""
        plugin = SummaryMetadata.PluginData(plugin_name="text", content=TextPluginData(version=0).SerializeToString())
        tensor = TensorProto(
            dtype="DT_STRING",
            string_val=[text.encode("utf-8", "replace")],
            tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
        )
        metadata = SummaryMetadata(plugin_data=plugin)
        value = Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)
        self._add(step, summary=Summary(value=[value]))

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(Event(wall_time=time.time(), step=step, **content))
