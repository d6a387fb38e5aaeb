"""What a person sees of a training: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import shlex
import time
from types import TracebackType
from typing import Protocol, Self

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charloom.report.verdict import verdict
from charloom.training.records import (
    EvaluationRecord,
    FinishRecord,
    PlanRecord,
    Record,
    SampleRecord,
    StepRecord,
)

_REFRESH_HZ = 4
_LINE_SECONDS = 15.0  # between two plain lines
_SMOOTHING = 0.95  # share of the past in the loss shown


class View(Protocol):
    """Shows the records of a training; used as a context."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen as it should stay."""
        ...

    def show(self, record: Record) -> None:
        """Show what has just happened."""
        ...


def make_view(quiet: bool) -> View:
    """Return the view that suits where stderr goes."""
    if quiet:
        return _Silent()
    console = Console(stderr=True, highlight=False)
    return _LiveView(console) if console.is_terminal else _Lines(console)


class _Progress:
    """What is known about a training so far; it is no view itself."""

    def __init__(self) -> None:
        self.plan: PlanRecord | None = None
        self.step: StepRecord | None = None
        self.evaluations: list[EvaluationRecord] = []
        self.sample: SampleRecord | None = None
        self.loss = math.nan
        self.step_seconds = math.nan
        self._began = time.perf_counter()

    def take(self, record: Record) -> None:
        if isinstance(record, PlanRecord):
            self.plan = record
            self._began = time.perf_counter()
        elif isinstance(record, StepRecord):
            self.step = record
            self.loss = _smooth(self.loss, record.loss)
            self.step_seconds = _smooth(self.step_seconds, record.seconds)
        elif isinstance(record, EvaluationRecord):
            self.evaluations.append(record)
        elif isinstance(record, SampleRecord):
            self.sample = record

    @property
    def seconds_left(self) -> float:
        """Seconds to go at the pace so far, evaluations included."""
        assert self.plan is not None
        if self.step is None:
            return math.nan
        return (time.perf_counter() - self._began) / self.step.step * (self.plan.plan.steps - self.step.step)

    @property
    def best(self) -> EvaluationRecord | None:
        held_out = [e for e in self.evaluations if e.val_loss is not None and e.step > 0]
        return min(held_out, key=lambda e: e.val_loss or math.inf, default=None)

    def heading(self) -> str:
        assert self.plan is not None
        p = self.plan
        held_out = f", {p.validation_chars:,} held out" if p.validation_chars else ", nothing held out"
        return (
            f"{p.run}: {p.architecture.num_parameters:,} parameters ({_size(p)}); {p.device}\n"
            f"{p.training_chars:,} characters to learn from{held_out}"
        )

    def figures(self) -> list[tuple[str, str]]:
        """Return the figures of this moment as name and value."""
        assert self.plan is not None
        settings = self.plan.plan.settings
        if self.step is None:
            return [("", "first step ...")]
        shown = [
            ("epoch", f"{self.step.epoch:.2f}"),
            ("step", f"{self.step_seconds * 1000:.0f} ms"),
            ("speed", f"{settings.batch_size * settings.seq_length / self.step_seconds:,.0f} chars/s"),
            ("loss", _nats_and_bits(self.loss)),
        ]
        held_out = [e for e in self.evaluations if e.val_loss is not None]
        if held_out and held_out[-1].val_loss is not None:
            shown.append(("held out", _nats_and_bits(held_out[-1].val_loss)))
        if self.best is not None and self.best.val_loss is not None:
            shown.append(("best", f"{self.best.val_loss:.4f} at step {self.best.step:,}"))
        shown.append(("left", _clock(self.seconds_left)))
        return shown

    def closing(self, finish: FinishRecord) -> list[str]:
        """Return the sentences that end a training."""
        assert self.plan is not None
        done = "Stopped" if finish.interrupted else "Done"
        run = shlex.quote(finish.run)
        return [
            f"{done} after {finish.steps:,} steps in {_clock(finish.seconds)}, at {finish.chars_per_second:,.0f} "
            "characters a second.",
            *verdict(self.evaluations, self.plan.baselines),
            f"Saved in {finish.run}. To write with it:",
            f"  charloom generate {run}",
        ]


class _Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: Record) -> None:
        """Show nothing."""


class _Lines:
    """One plain line every few seconds and at every evaluation, for files and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = _Progress()
        self._last = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: Record) -> None:
        """Print a line where it is time for one."""
        self._progress.take(record)
        if isinstance(record, PlanRecord):
            self._print(self._progress.heading())
            for notice in record.plan.notices:
                self._print(f"note: {notice}")
        elif isinstance(record, SampleRecord):
            self._print(f"--- sample at step {record.step:,}\n{record.text}\n---")
        elif isinstance(record, FinishRecord):
            for line in self._progress.closing(record):
                self._print(line)
        elif isinstance(record, EvaluationRecord) or time.perf_counter() - self._last > _LINE_SECONDS:
            self._last = time.perf_counter()
            self._print(self._line())

    def _line(self) -> str:
        plan, step = self._progress.plan, self._progress.step
        assert plan is not None
        count = f"step {step.step if step else 0:,}/{plan.plan.steps:,}"
        return "  ".join([count, *(f"{name} {value}".strip() for name, value in self._progress.figures())])

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class _LiveView:
    """A bar, the figures of the moment and the newest sample, redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = _Progress()
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=_REFRESH_HZ,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, record: Record) -> None:
        """Remember what happened: the screen redraws itself. Sentences to keep are printed above or below it."""
        self._progress.take(record)
        if isinstance(record, PlanRecord):
            for notice in record.plan.notices:
                self._console.print(f"note: {notice}", markup=False)
        elif isinstance(record, FinishRecord):
            self._live.stop()
            for line in self._progress.closing(record):
                self._console.print(escape(line))

    def _draw(self) -> RenderableType:
        p = self._progress
        if p.plan is None:
            return Text("looking at the text and measuring this machine ...", style="dim")
        parts: list[RenderableType] = [Text(p.heading(), style="dim"), self._bar(), self._figures()]
        if p.sample is not None:
            title = f"written at step {p.sample.step:,}"
            parts.append(Panel(Text(p.sample.text), title=title, title_align="left", border_style="dim"))
        return Group(*parts)

    def _bar(self) -> RenderableType:
        plan, step = self._progress.plan, self._progress.step
        assert plan is not None
        done = step.step if step else 0
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        row.add_row(ProgressBar(total=plan.plan.steps, completed=done), f"{done:,}/{plan.plan.steps:,} steps")
        return row

    def _figures(self) -> RenderableType:
        figures = [
            Text.assemble((f"{name} ", "dim"), (value, "bold" if name in ("loss", "held out") else ""))
            for name, value in self._progress.figures()
        ]
        return Columns(figures, padding=(0, 3))


def _smooth(before: float, value: float) -> float:
    return value if math.isnan(before) else _SMOOTHING * before + (1 - _SMOOTHING) * value


def _nats_and_bits(loss: float) -> str:
    return f"{loss:.4f} ({loss / math.log(2):.3f} bits/char)"


def _clock(seconds: float) -> str:
    if math.isnan(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _size(plan: PlanRecord) -> str:
    a = plan.architecture
    return f"{a.cell.upper()}, {a.num_layers} x {a.hidden_size}"
