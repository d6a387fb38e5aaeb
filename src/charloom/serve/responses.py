"""JSON responses and server-sent events."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

DONE = b"data: [DONE]\n\n"


def json_bytes(value: object) -> bytes:
    """Encode JSON as UTF-8, or as ASCII with escapes if it contains a lone surrogate, which UTF-8 cannot encode."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def server_sent_event(value: object) -> bytes:
    """Encode a JSON value as a server-sent event."""
    return b"data: %b\n\n" % json_bytes(value)


class JsonResponse(Response):
    """A response whose body is a JSON value."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encode the body."""
        return json_bytes(content)


class EventStreamResponse(Response):
    """A response that streams server-sent events.

    Args:
        events: Yields the encoded events.
        on_end: Function that is called once when the stream ends, for any reason.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], on_end: Callable[[], object]) -> None:
        self._events, self._on_end = events, on_end
        self.status_code, self.background = 200, None
        self.init_headers({"X-Accel-Buffering": "no"})  # disables buffering in nginx

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for data in self._events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._on_end()
