"""Metrics in the format of Prometheus."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from charloom.serve.models import ModelRegistry
from charloom.serve.security.middleware import SecurityMiddleware

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MODEL_METRICS = (
    ("requests", "counter", "Requests to write."),
    ("characters", "counter", "Characters written."),
    ("prompt_characters", "counter", "Characters of prompts that were read."),
    ("cache_hits", "counter", "Prompts of which a beginning was known."),
    ("active", "gauge", "Texts that are written now."),
    ("waiting", "gauge", "Texts that wait for their turn."),
    ("cached_states", "gauge", "Beginnings of prompts that are known."),
)

_Samples = Iterable[tuple[Mapping[str, str], float]]


def metrics_text(models: ModelRegistry, middleware: SecurityMiddleware) -> str:
    """Return the metrics of a server."""
    lines: list[str] = []
    for name, kind, help_ in _MODEL_METRICS:
        samples = [({"model": one.name}, getattr(one.scheduler.stats, name)) for one in models]
        lines += _family(name, kind, help_, samples)
    responses = [({"status": str(status)}, count) for status, count in sorted(middleware.response_counts.items())]
    lines += _family("answers", "counter", "Requests answered, by status.", responses)
    lines += _family(
        "requests_under_way", "gauge", "Requests that are answered now.", [({}, middleware.active_requests)]
    )
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
    """Return the resident memory of this process; None on systems other than Linux."""
    if sys.platform != "linux":
        return None
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
