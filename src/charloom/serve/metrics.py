"""Metrics in the Prometheus text format."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from charloom.serve.models import ModelRegistry
from charloom.serve.security.middleware import SecurityMiddleware

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_MODEL_METRICS = (
    ("requests", "counter", "Generation requests."),
    ("characters", "counter", "Generated characters."),
    ("prompt_characters", "counter", "Prompt characters read."),
    ("cache_hits", "counter", "Prompts with a prefix in the cache."),
    ("active", "gauge", "Texts being generated."),
    ("waiting", "gauge", "Texts waiting to be generated."),
    ("cached_states", "gauge", "Prompt prefixes in the cache."),
)

_Samples = Iterable[tuple[Mapping[str, str], float]]


def metrics_text(models: ModelRegistry, middleware: SecurityMiddleware) -> str:
    """Return the metrics of a server."""
    lines: list[str] = []
    for name, kind, help_ in _MODEL_METRICS:
        samples = [({"model": served.name}, getattr(served.scheduler.stats, name)) for served in models]
        lines += _family(name, kind, help_, samples)
    responses = [({"status": str(status)}, count) for status, count in sorted(middleware.response_counts.items())]
    lines += _family("answers", "counter", "Responses, by HTTP status.", responses)
    lines += _family("requests_under_way", "gauge", "Requests in progress.", [({}, middleware.active_requests)])
    memory = _resident_bytes()
    if memory is not None:
        lines += _family("resident_memory_bytes", "gauge", "Resident memory of this process.", [({}, memory)])
    return "".join(f"{line}\n" for line in lines)


def _family(name: str, kind: str, help_: str, samples: _Samples) -> Iterator[str]:
    """Yield the lines of one metric and its samples."""
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
