"""A training as events for TensorBoard, in a folder of its run."""

from pathlib import Path
from typing import Any

from charloom._util.extras import require_extra
from charloom.training.events import EvaluationRecord, FinishRecord, PlanRecord, Record, SampleRecord, StepRecord

FOLDER = "tensorboard"


def require_tensorboard() -> None:
    """Raise ``MissingExtraError``, saying how to get it, unless TensorBoard is installed."""
    require_extra("--tensorboard", "tensorboard", "tensorboard")


class TensorBoardLog:
    """Writes the records of a training: losses, speed, samples; the training loss of every step."""

    def __init__(self) -> None:
        self._writer: Any = None

    def take(self, record: Record) -> None:
        """Write what has just happened."""
        if isinstance(record, PlanRecord):
            from torch.utils.tensorboard import SummaryWriter

            folder = Path(record.run) / FOLDER
            self._writer = SummaryWriter(folder, purge_step=record.step + 1)
        elif isinstance(record, StepRecord):
            self._numbers(record.step, {"loss/step": record.loss, "gradient norm": record.grad_norm})
            self._numbers(record.step, {"learning rate": record.learning_rate})
        elif isinstance(record, EvaluationRecord):
            losses = {"loss/held out": record.val_loss, "loss/training": record.train_loss}
            self._numbers(record.step, {**losses, "characters a second": record.chars_per_second})
            self._writer.flush()
        elif isinstance(record, SampleRecord):
            self._writer.add_text("sample", "\n".join(f"    {line}" for line in record.text.split("\n")), record.step)
        elif isinstance(record, FinishRecord):
            self._writer.close()

    def _numbers(self, step: int, numbers: dict[str, float | None]) -> None:
        for name, value in numbers.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)
