"""Show the progress of a training run: a live view on a terminal, plain lines elsewhere."""

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
from charloom.inference.segments import MIN_SEGMENT
from charloom.report.verdict import Course, loss_summary, verdict
from charloom.terminal.messages import (
    USUAL,
    USUAL_MEANS,
    count_passes,
    format_duration,
    format_percent,
    is_terminal,
)
from charloom.training.events import (
    EvaluationRecord,
    EventRecord,
    FinishRecord,
    NoveltyRecord,
    PlanChangeRecord,
    PlanRecord,
    Record,
    SampleRecord,
    StepRecord,
)

_REFRESH_HZ = 4
_GAP = "   "  # between two metrics
_LINE_SECONDS = 15.0  # minimum time between two plain lines


class View(Protocol):
    """Shows the records of a training run. A context manager."""

    def __enter__(self) -> Self:
        """Start the display."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display and restore the terminal."""
        ...

    def show(self, record: Record) -> None:
        """Update the display with a record."""
        ...


def make_view(quiet: bool) -> View:
    """Create the view for stderr: live on a terminal, plain lines otherwise, nothing if ``quiet``."""
    if quiet:
        return _SilentView()
    # rich must not interpret markup such as ":smile:" or "[b]" in samples, nor draw widgets in a notebook
    console = RaisingConsole(stderr=True, highlight=False, markup=False, emoji=False, force_jupyter=False)
    is_live = console.is_terminal and is_terminal(sys.stderr) and not console.is_dumb_terminal
    return _FaultTolerantView(_LiveView(console) if is_live else _LineView(console))


class RaisingConsole(Console):
    """A rich console that raises ``BrokenPipeError`` for a closed pipe. By default rich exits the process."""

    def on_broken_pipe(self) -> None:
        """Raise the error that rich caught."""
        raise BrokenPipeError


class _FaultTolerantView:
    """A view that turns silent when stderr can no longer be written, so that the training continues."""

    def __init__(self, view: View) -> None:
        self._view = view

    def __enter__(self) -> Self:
        self._view.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        with suppress(OSError):
            self._view.__exit__(*details)

    def show(self, record: Record) -> None:
        """Show a record; after an error, show nothing from now on."""
        try:
            self._view.show(record)
        except OSError:  # the terminal or the pipe was closed
            self._view = _SilentView()


class _SilentView:
    """A view that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: Record) -> None:
        """Do nothing."""


class _LineView:
    """A view for files and pipes: prints a line at every evaluation, and every 15 seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = TrainingProgress()
        self._last = -math.inf

    def __enter__(self) -> Self:
        self._print(_WAITING)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: Record) -> None:
        """Print the lines for a record, if any are due."""
        message = self._progress.take(record)
        if message is not None:
            self._print(f"note: {message}")
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
        step = self._progress.step
        count = f"step {step.step if step else 0:,}/{self._progress.steps:,}"
        return "  ".join([count, *(f"{name} {value}".strip() for name, value in self._progress.metrics())])

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


class _LiveView:
    """A view for terminals: a progress bar, current metrics and the latest sample, redrawn 4 times per second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = TrainingProgress()
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=_REFRESH_HZ,
            vertical_overflow="crop",
            redirect_stdout=is_terminal(sys.stdout),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, record: Record) -> None:
        """Store a record for the next redraw. Notices, warnings and the summary are printed permanently."""
        message = self._progress.take(record)
        if message is not None:
            self._console.print(f"note: {message}")
        if isinstance(record, PlanRecord):
            for notice in record.plan.notices:
                self._console.print(f"note: {notice}")
        elif isinstance(record, EventRecord):
            self._console.print(f"warning: {record.message}")
        elif isinstance(record, FinishRecord):
            self._live.stop()
            for line in self._progress.closing(record):
                self._console.print(line, soft_wrap=line.startswith(" "))  # do not break commands

    def _draw(self) -> RenderableType:
        p = self._progress
        if p.plan is None:
            return Text(_WAITING, style="dim")
        parts: list[RenderableType] = [Text(p.heading(), style="dim"), self._bar(), self._metrics()]
        if p.sample is not None:
            title = f"sample at step {p.sample.step:,}"
            parts.append(Panel(Text(p.sample.text), title=title, title_align="left", border_style="dim"))
        return Group(*parts)

    def _bar(self) -> RenderableType:
        step, steps = self._progress.step, self._progress.steps
        done = step.step if step else 0
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        row.add_row(ProgressBar(total=steps, completed=done), f"{done:,}/{steps:,} steps")
        return row

    def _metrics(self) -> RenderableType:
        metrics = [
            Text.assemble((f"{name} ", "dim"), (value, "bold" if name in ("loss", "held-out loss") else ""))
            for name, value in self._progress.metrics()
        ]
        rows: list[Text] = [metrics[0]]
        for metric in metrics[1:]:  # wrap between metrics, never inside one
            if rows[-1].cell_len + len(_GAP) + metric.cell_len <= self._console.width:
                rows[-1] = Text.assemble(rows[-1], _GAP, metric)
            else:
                rows.append(metric)
        return Group(*rows)


_WAITING = "Analyzing the text and measuring the training speed ..."
_REPORTED_CHANGE = 2.0  # factor by which the number of steps must change to be reported
_SMOOTHING = 0.95  # decay of the moving averages of loss and step time


class TrainingProgress:
    """The state of a training run as text, updated from its records."""

    def __init__(self) -> None:
        self.plan: PlanRecord | None = None
        self.steps = 0
        self.step: StepRecord | None = None
        self.evaluations: list[EvaluationRecord] = []
        self.sample: SampleRecord | None = None
        self.novelty: NoveltyRecord | None = None
        self.loss = math.nan
        self.step_seconds = math.nan
        self._started = self._began = time.perf_counter()  # of this process' part, and of its first step
        self._reported_steps = 0

    def take(self, record: Record) -> str | None:
        """Update the state with a record; return a message about it that should be shown permanently, or None."""
        if isinstance(record, PlanRecord):
            self.plan = record
            self.steps = self._reported_steps = record.plan.steps
            self.evaluations = list(record.earlier)
            self._began = time.perf_counter()
        elif isinstance(record, PlanChangeRecord):
            return self._change_plan(record)
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
        return None

    def _change_plan(self, change: PlanChangeRecord) -> str | None:
        assert self.plan is not None
        before, self.steps = self._reported_steps, change.steps
        limit = self.plan.plan.time_limit
        if limit is None or before / _REPORTED_CHANGE < change.steps < before * _REPORTED_CHANGE:
            return None
        self._reported_steps = change.steps
        speed = "slower" if change.steps < before else "faster"
        return f"The machine is {speed} than expected: {change.steps:,} steps are planned instead of {before:,}."

    @property
    def seconds_left(self) -> float:
        """Estimated remaining time in seconds, including evaluations; NaN before the first step."""
        assert self.plan is not None
        if self.step is None:
            return math.nan
        now, plan = time.perf_counter(), self.plan.plan
        if plan.time_limit is not None and self.steps != plan.max_steps:
            return max(0.0, plan.time_limit - self.plan.seconds - (now - self._started))
        elapsed = now - self._began
        return elapsed / (self.step.step - self.plan.step) * (self.steps - self.step.step)

    @property
    def best(self) -> EvaluationRecord | None:
        """The evaluation of the best model so far."""
        return next((e for e in reversed(self.evaluations) if e.is_best), None)

    def heading(self) -> str:
        """Return four lines: the model, the corpus, the plan and the device."""
        assert self.plan is not None
        p = self.plan
        held_out = f"{p.validation_chars:,} held out" if p.validation_chars else "none held out"
        resumed = f", resumed after step {p.step:,}" if p.step else ""
        steps = p.plan.steps - p.step
        planned = f"{steps:,} steps, {count_passes(steps / p.plan.steps_per_epoch)}"
        seconds = p.plan.seconds if p.plan.time_limit is None or p.plan.max_steps == p.plan.steps else p.plan.time_limit
        if seconds is not None:
            planned += f", about {format_duration(seconds - p.seconds)}"
        if p.plan.expected_bits is not None:
            low, high = p.plan.expected_bits
            planned += f", expected held-out loss {low:.2f} to {high:.2f} bits per character"
        return (
            f"{p.run}: {p.architecture.in_words}, {p.architecture.num_parameters:,} parameters{resumed}\n"
            f"corpus: {p.training_chars:,} training characters, {held_out}\n"
            f"planned: {planned}\n"
            f"device: {p.device}"
        )

    def metrics(self) -> list[tuple[str, str]]:
        """Return the current metrics as pairs of name and value."""
        assert self.plan is not None
        settings = self.plan.plan.settings
        if self.step is None:
            return [("", "first step ...")]
        metrics = [
            ("epoch", f"{self.step.epoch:.2f}"),
            ("step time", f"{self.step_seconds * 1000:.0f} ms"),
            ("speed", f"{settings.batch_size * settings.seq_length / self.step_seconds:,.0f} chars/s"),
            ("loss", _nats_and_bits(self.loss)),
        ]
        held_out = [e for e in self.evaluations if e.val_loss is not None]
        if held_out and held_out[-1].val_loss is not None:
            metrics.append(("held-out loss", _nats_and_bits(held_out[-1].val_loss)))
        if self.best is not None and self.best.val_loss is not None:
            metrics.append(("best", f"{self.best.val_loss:.4f} at step {self.best.step:,}"))
        metrics.append(("remaining", format_duration(self.seconds_left)))
        return metrics

    def closing(self, finish: FinishRecord) -> list[str]:
        """Return the summary at the end of a training run: duration, verdict, memorization and next commands."""
        assert self.plan is not None
        outcome = "Stopped" if finish.interrupted else "Done"
        run = shlex.quote(finish.run)
        speed = f" ({finish.chars_per_second:,.0f} characters per second)" if finish.chars_per_second else ""
        now = f" ({finish.steps - self.plan.step:,} of them now)" if self.plan.step else ""
        total = " in total" if self.plan.step else ""
        course = Course(
            finish.run,
            self.evaluations,
            self.plan.baselines,
            self.plan.training_chars,
            finish.steps,
            self.steps,
            finish.interrupted,
            finish.seconds,
        )
        return [
            f"{outcome} after {finish.steps:,} steps{now} in {format_duration(finish.seconds)}{total}{speed}.",
            *([] if (summary := loss_summary(course)) is None else [summary]),
            *self._expectation(finish),
            verdict(course),
            *([] if self.novelty is None else [_describe_memorization(self.novelty, self.plan.training_chars)]),
            f"Saved to {finish.run}. To generate text:",
            f"  charloom generate {run}",
            *([f"  charloom generate {run}@last    (latest checkpoint)"] if finish.interrupted else []),
        ]

    def _expectation(self, finish: FinishRecord) -> list[str]:
        """Return a line that compares the expected loss with the one that was reached."""
        assert self.plan is not None
        if self.plan.plan.expected_bits is None or finish.interrupted or finish.bits_per_char is None:
            return []
        low, high = self.plan.plan.expected_bits
        planned = self.plan.plan.steps
        changed = not 0.8 * planned < finish.steps < 1.2 * planned
        steps = f" (with {planned:,} steps instead of {finish.steps:,})" if changed else ""
        reached = f"{finish.bits_per_char:.2f}"
        return [f"Expected before the training: {low:.2f} to {high:.2f} bits per character{steps}; reached: {reached}."]


def _describe_memorization(novelty: NoveltyRecord, training_chars: int) -> str:
    """Describe how much of the generated text is copied from the training text, and how much is expected by chance."""
    if novelty.searched >= training_chars:
        training_text = "the training text"
    else:
        training_text = f"the first {novelty.searched:,} characters of the training text"
    if novelty.lines:
        copied = _share(novelty.copied_lines, novelty.lines)
        chance = _by_chance(novelty.held_out_copied_lines, novelty.held_out_lines)
        means = f" {USUAL_MEANS}" if chance else ""
        return f"Memorization: {copied} of {novelty.lines:,} generated lines occur in {training_text}{chance}.{means}"
    share = novelty.held_out_copied
    chance = "" if share is None else f"; {USUAL} {format_percent(share)}"
    sentences = [
        f"Memorization: {format_percent(novelty.copied)} of a generated text of {novelty.characters:,} characters is "
        f"copied from {training_text} in passages of more than {LONG} characters (longest: {novelty.longest}){chance}."
    ]
    if novelty.segments:
        copied = _share(novelty.copied_segments, novelty.segments)
        chance = _by_chance(novelty.held_out_copied_segments, novelty.held_out_segments)
        sentences.append(
            f"{copied} of its {novelty.segments:,} lines or sentences of at least {MIN_SEGMENT} characters occur there "
            f"as a whole{chance}."
        )
    if novelty.records:
        copied = _share(novelty.copied_records, novelty.records)
        chance = _by_chance(novelty.held_out_copied_records, novelty.held_out_records)
        sentences.append(f"{copied} of its {novelty.records:,} complete records occur there as a whole{chance}.")
    if share is not None:
        sentences.append(USUAL_MEANS)
    return " ".join(sentences)


def _by_chance(copied: int | None, total: int | None) -> str:
    return f"; {USUAL} {_share(copied, total)}" if total else ""


def _share(count: int | None, total: int | None) -> str:
    return format_percent((count or 0) / total) if total else "0 %"


def _smooth(average: float, value: float) -> float:
    """Update an exponential moving average; NaN is an empty one."""
    return value if math.isnan(average) else _SMOOTHING * average + (1 - _SMOOTHING) * value


def _nats_and_bits(loss: float) -> str:
    return f"{loss:.4f} ({loss / math.log(2):.3f} bits/char)"
