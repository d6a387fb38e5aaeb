"""The request log (``--log``): one line per request, without texts."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import Scope

from charloom._util.printable import printable


@dataclass
class Usage:
    """The tokens of a request; a token is a character, or a byte if the model has a byte vocabulary.

    Attributes:
        prompt_tokens: Tokens read: prompts, or a text to score.
        completion_tokens: Tokens generated so far.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0


def usage_of(request: Request) -> Usage:
    """Return the usage of a request, which its handler updates."""
    usage = request.state.usage
    assert isinstance(usage, Usage)
    return usage


@dataclass
class RequestLog:
    """The line of one request, written to stderr when the request has ended.

    Attributes:
        scope: The ASGI scope; ``request.state.usage`` becomes available in it.
        usage: Tokens, counted by the handler of the request.
    """

    scope: Scope
    usage: Usage = field(default_factory=Usage)
    _started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.scope["state"] = {**self.scope.get("state", {}), "usage": self.usage}

    def write(self, status: int | None, is_complete: bool) -> None:
        """Write the line.

        Args:
            status: Status of the response; None if none was sent.
            is_complete: Whether the response was sent completely.
        """
        print_line(self.line(status, is_complete))

    def line(self, status: int | None, is_complete: bool) -> str:
        """Return the line: UTC time, method, path without query, status, tokens, seconds, and the word aborted."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # as sent: the decoded path can contain spaces and control characters
        path = (self.scope.get("raw_path") or self.scope["path"].encode()).decode("latin-1")
        request = printable(f"{self.scope['method']} {path}")
        seconds = time.perf_counter() - self._started
        return (
            f"{now} {request} {status or '-'} prompt_tokens={self.usage.prompt_tokens} "
            f"completion_tokens={self.usage.completion_tokens} seconds={seconds:.3f}"
            + ("" if is_complete else " aborted")
        )


def print_line(line: str) -> None:
    """Write a line to stderr at once. A log that nobody reads must not fail a request."""
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
