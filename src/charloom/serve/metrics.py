"""What a server has done since it was started, as Prometheus reads it."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from charloom.serve.models import ModelRegistry
from charloom.serve.security.middleware import SecurityMiddleware

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OF_A_MODEL = (
    ("requests", "counter", "Requests to write."),
    ("characters", "counter", "Characters written."),
    ("prompt_characters", "counter", "Characters of prompts that were read."),
    ("cache_hits", "counter", "Prompts of which a beginning was known."),
    ("active", "gauge", "Texts that are written now."),
    ("waiting", "gauge", "Texts that wait for their turn."),
    ("cached_states", "gauge", "Beginnings of prompts that are known."),
)

_Samples = Iterable[tuple[Mapping[str, str], float]]


def metrics_text(models: ModelRegistry, guard: SecurityMiddleware) -> str:
    """Return the numbers of a server in Prometheus's text format."""
    lines: list[str] = []
    for name, kind, help_ in _OF_A_MODEL:
        samples = [({"model": one.name}, getattr(one.scheduler.stats, name)) for one in models]
        lines += _family(name, kind, help_, samples)
    answers = [({"status": str(status)}, count) for status, count in sorted(guard.answers.items())]
    lines += _family("answers", "counter", "Requests answered, by status.", answers)
    lines += _family("requests_under_way", "gauge", "Requests that are answered now.", [({}, guard.under_way)])
    memory = _resident_bytes()
    if memory is not None:
        lines += _family("resident_memory_bytes", "gauge", "Memory that this process uses.", [({}, memory)])
    return "".join(f"{line}\n" for line in lines)


def _family(name: str, kind: str, help_: str, samples: _Samples) -> Iterator[str]:
    name = f"charloom_{name}" + ("_total" if kind == "counter" else "")
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> int | None:
    """Return how much memory this process uses; None where the system does not say it in Linux's way."""
    if sys.platform != "linux":
        return None
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
