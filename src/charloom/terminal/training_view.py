"""Show a training: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import shlex
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from charloom.inference.memorization import LONG
from charloom.report.verdict import verdict
from charloom.terminal.messages import clock, percent
from charloom.training.events import (
    EvaluationRecord,
    EventRecord,
    FinishRecord,
    NoveltyRecord,
    PlanRecord,
    Record,
    SampleRecord,
    StepRecord,
)

_REFRESH_HZ = 4
_GAP = "   "  # between two figures
_LINE_SECONDS = 15.0  # between two plain lines


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
    # a sample is shown as it was written, whatever rich would make of ":smile:" or "[b]"; in a notebook plain lines
    console = PatientConsole(stderr=True, highlight=False, markup=False, emoji=False, force_jupyter=False)
    alive = console.is_terminal and sys.stderr.isatty() and not console.is_dumb_terminal
    return _Forgiving(_LiveView(console) if alive else _Lines(console))


class PatientConsole(Console):
    """A console that reports a reader who left as any other error, where rich would end the process."""

    def on_broken_pipe(self) -> None:
        """Raise what rich caught."""
        raise BrokenPipeError


class _Forgiving:
    """A view that goes silent when nobody can see it any more: a training is worth more than its picture."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __enter__(self) -> Self:
        self._view.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        with suppress(OSError):
            self._view.__exit__(*details)

    def show(self, record: Record) -> None:
        """Show a record, or stop showing for good."""
        try:
            self._view.show(record)
        except OSError:  # the terminal was closed, or the reader of the pipe has left
            self._view = _Silent()


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
        self._progress = TrainingProgress()
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
        elif isinstance(record, EventRecord):
            self._print(f"warning: {record.message}")
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
        self._console.print(text, soft_wrap=True)


class _LiveView:
    """A bar, the figures of the moment and the newest sample, redrawn a few times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = TrainingProgress()
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=_REFRESH_HZ,
            vertical_overflow="crop",
            redirect_stdout=sys.stdout.isatty(),
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
                self._console.print(f"note: {notice}")
        elif isinstance(record, EventRecord):
            self._console.print(f"warning: {record.message}")
        elif isinstance(record, FinishRecord):
            self._live.stop()
            for line in self._progress.closing(record):
                self._console.print(line, soft_wrap=line.startswith(" "))  # a command stays in one piece

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
        rows: list[Text] = [figures[0]]
        for figure in figures[1:]:  # a figure is never torn over two rows
            if rows[-1].cell_len + len(_GAP) + figure.cell_len <= self._console.width:
                rows[-1] = Text.assemble(rows[-1], _GAP, figure)
            else:
                rows.append(figure)
        return Group(*rows)


_SMOOTHING = 0.95  # share of the past in the loss and the step time shown


class TrainingProgress:
    """Takes the records of a training and says where it stands."""

    def __init__(self) -> None:
        self.plan: PlanRecord | None = None
        self.step: StepRecord | None = None
        self.evaluations: list[EvaluationRecord] = []
        self.sample: SampleRecord | None = None
        self.novelty: NoveltyRecord | None = None
        self.loss = math.nan
        self.step_seconds = math.nan
        self._began = time.perf_counter()

    def take(self, record: Record) -> None:
        """Remember what has just happened."""
        if isinstance(record, PlanRecord):
            self.plan = record
            self._began = time.perf_counter()
        elif isinstance(record, StepRecord):
            self.step = record
            if record.loss is not None:
                self.loss = _smooth(self.loss, record.loss)
            self.step_seconds = _smooth(self.step_seconds, record.seconds)
        elif isinstance(record, EvaluationRecord):
            self.evaluations.append(record)
        elif isinstance(record, SampleRecord):
            self.sample = record
        elif isinstance(record, NoveltyRecord):
            self.novelty = record

    @property
    def seconds_left(self) -> float:
        """Seconds to go at the pace so far, evaluations included."""
        assert self.plan is not None
        if self.step is None:
            return math.nan
        a_step = (time.perf_counter() - self._began) / (self.step.step - self.plan.step)
        return a_step * (self.plan.plan.steps - self.step.step)

    @property
    def best(self) -> EvaluationRecord | None:
        """The evaluation whose model is kept."""
        return next((e for e in reversed(self.evaluations) if e.is_best), None)

    def heading(self) -> str:
        """Return four lines on what is trained, on what, and where."""
        assert self.plan is not None
        p = self.plan
        held_out = f", {p.validation_chars:,} held out" if p.validation_chars else ", nothing held out"
        going_on = f", going on after step {p.step:,}" if p.step else ""
        planned = f"{p.plan.steps / p.plan.steps_per_epoch:.3g} passes"
        if p.plan.seconds is not None:
            planned += f" in {clock(p.plan.seconds)}"
        if p.plan.expected_bits is not None:
            low, high = p.plan.expected_bits
            planned += f", to end between {low:.2f} and {high:.2f} bits per held-out character"
        return (
            f"{p.run}: {p.architecture.in_words}, {p.architecture.num_parameters:,} parameters{going_on}\n"
            f"{p.training_chars:,} characters to learn from{held_out}\n"
            f"planned: {planned}\n"
            f"{p.device}"
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
        shown.append(("left", clock(self.seconds_left)))
        return shown

    def closing(self, finish: FinishRecord) -> list[str]:
        """Return the sentences that end a training."""
        assert self.plan is not None
        done = "Stopped" if finish.interrupted else "Done"
        run = shlex.quote(finish.run)
        speed = f", at {finish.chars_per_second:,.0f} characters a second" if finish.chars_per_second else ""
        return [
            f"{done} after {finish.steps:,} steps in {clock(finish.seconds)}{speed}.",
            *verdict(self.evaluations, self.plan.baselines),
            *([] if self.novelty is None else [_copied(self.novelty, self.plan.training_chars)]),
            f"Saved in {finish.run}. To write with it:",
            f"  charloom generate {run}",
            *([f"  charloom generate {run}@last    (as it was when it was stopped)"] if finish.interrupted else []),
            *(["To go on:", f"  charloom train --resume {run}"] if finish.interrupted else []),
        ]


def _copied(novelty: NoveltyRecord, characters: int) -> str:
    where = "its text" if novelty.searched >= characters else f"the first {novelty.searched:,} characters of its text"
    if novelty.lines:
        assert novelty.copied_lines is not None
        return (
            f"Of {novelty.lines:,} lines it writes, {percent(1 - novelty.copied_lines / novelty.lines)} are new, and "
            f"{percent(novelty.copied_lines / novelty.lines)} are lines of {where}."
        )
    said = (
        f"Of {novelty.characters:,} characters it writes, {percent(novelty.copied)} lie in copies of more than {LONG} "
        f"characters from {where}, the longest {novelty.longest}"
    )
    if novelty.held_out_copied is None:
        return f"{said}."
    held_out = f"{percent(novelty.held_out_copied)}, the longest {novelty.held_out_longest}"
    return f"{said}; of the held-out text it is {held_out}."


def _smooth(before: float, value: float) -> float:
    return value if math.isnan(before) else _SMOOTHING * before + (1 - _SMOOTHING) * value


def _nats_and_bits(loss: float) -> str:
    return f"{loss:.4f} ({loss / math.log(2):.3f} bits/char)"
