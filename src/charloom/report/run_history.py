"""Read the history of a training run from its run folder: metrics, samples, events."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charloom.model.file.run_folder import SAMPLES, read_metrics
from charloom.training.events import PLAN_CHANGED

_SAMPLE = re.compile(r"^--- step (\d+)\n", re.MULTILINE)


@dataclass(frozen=True)
class RunHistory:
    """The history of a training run.

    Attributes:
        evaluations: The evaluations in ``metrics.jsonl``.
        events: The events in ``metrics.jsonl``, such as a divergence: step and message.
        samples: The generated samples: step and text.
    """

    evaluations: list[dict[str, Any]]
    events: list[dict[str, Any]]
    samples: list[tuple[int, str]]

    def data(self) -> dict[str, Any]:
        """Return the history as JSON data."""
        samples = [{"step": step, "text": text} for step, text in self.samples]
        return {"evaluations": self.evaluations, "events": self.events, "samples": samples}


def read_history(run: Path) -> RunHistory:
    """Read the history of a run.

    Raises:
        RunError: If ``metrics.jsonl`` is damaged.
    """
    lines, samples = read_metrics(run), run / SAMPLES
    text = samples.read_text(encoding="utf-8", errors="replace") if samples.is_file() else ""
    parts = _SAMPLE.split(text)
    numbered = [(int(step), sample.removesuffix("\n\n")) for step, sample in zip(parts[1::2], parts[2::2], strict=True)]
    evaluations = [line for line in lines if line.get("event") is None]
    events = [line for line in lines if line.get("event") not in (None, PLAN_CHANGED)]  # those are many and harmless
    return RunHistory(evaluations, events, numbered)
