"""The security middleware: checks the host, origin, token and size of each request, and limits slow clients.

Starlette's TrustedHostMiddleware only checks the Host header. This middleware also checks the origin of a request
(Origin, Sec-Fetch-Site).
"""

import asyncio
import hmac
from collections import Counter
from collections.abc import Collection

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charloom.serve.errors import ApiError
from charloom.serve.request_log import RequestLog
from charloom.serve.security.allowed_hosts import AllowedHosts
from charloom.serve.security.allowed_origins import cors_headers, foreign_origin_message, preflight_headers
from charloom.serve.security.limits import Limits
from charloom.serve.security.request_body import ClientDisconnected, check_json_shape, discard_body, has_body, read_body

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = tuple(
    (name.lower().encode(), value.encode())
    for name, value in {
        "Cache-Control": "no-store",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }.items()
)
_LINKABLE_PATH = "/"  # the only path that links on other sites may open


class SecurityMiddleware:
    """ASGI middleware that rejects a request or passes it on to an application.

    Args:
        app: The application.
        hosts: Accepted values of the Host header.
        token: Bearer token that requests must send, except for ``open_paths``; None disables authentication.
        open_paths: Paths that require no token: those of the web page.
        limits: The request limits.
        origins: Origins of other sites whose pages may send requests; see ``parse_origin``.
        log: Whether to write a line for each request to stderr.

    Attributes:
        response_counts: Number of responses by status.
        active_requests: Number of requests in progress.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: AllowedHosts,
        token: str | None,
        open_paths: Collection[str],
        limits: Limits,
        origins: Collection[str] = (),
        log: bool = False,
    ) -> None:
        self._app, self._hosts, self._open_paths, self._limits = app, hosts, frozenset(open_paths), limits
        self._origins, self._log = frozenset(origin.encode() for origin in origins), log
        self._token = None if token is None else token.encode()
        self.response_counts: Counter[int] = Counter()
        self.active_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            self.active_requests += 1
            line = RequestLog(scope)
            added = cors_headers(self._allowed_origin(scope)) if self._origins else []
            sender = _ResponseSender(send, self._limits.max_unread_seconds, self.response_counts, added)
            try:
                await self._handle(scope, receive, sender)
            except ClientDisconnected:
                pass
            finally:
                self.active_requests -= 1
                if self._log:
                    line.write(sender.status, sender.finished)

    async def _handle(self, scope: Scope, receive: Receive, send: "_ResponseSender") -> None:
        headers = dict(scope["headers"])
        unread = has_body(headers)
        try:
            self._check(scope)
            body = await read_body(receive, headers, self._limits)
            unread = False
            _check_body(scope["method"], body, self._limits)
            if _is_preflight(scope) and self._allowed_origin(scope) is not None:
                await Response(status_code=204, headers=preflight_headers(_headers(scope)))(scope, receive, send)
                return
        except ApiError as error:
            if unread:
                await _reject_unread(error, self._limits, receive, send)
            else:
                await error.response()(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._limits.max_request_seconds) as deadline:
                watcher = asyncio.create_task(_cancel_on_disconnect(receive, send, deadline))
                try:
                    await self._app(scope, _receive_body(body), send)
                finally:
                    watcher.cancel()
        except TimeoutError:
            if send.status is None and not send.is_disconnected:
                seconds = f"{self._limits.max_request_seconds:g} seconds"
                message = f"The request took longer than {seconds}. Request less text at once."
                await ApiError(503, message, code="too_slow").response()(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raise ``ApiError`` unless the request line and headers pass all checks."""
        headers = _headers(scope)
        size = len(scope["path"]) + len(scope["query_string"])
        size += sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._limits.max_header_bytes:
            message = f"The request headers are too large. The maximum is {self._limits.max_header_bytes:,} bytes."
            raise ApiError(431, message, code="too_large")
        host = _single_value(headers, b"host")
        if host not in self._hosts:
            message = "Unknown host name. Use the URL that the server printed at startup, or start it with --name."
            raise ApiError(421, message)
        self._check_origin(scope, headers, host)
        is_preflight = _is_preflight(scope) and self._allowed_origin(scope) is not None  # browsers omit the token
        if self._token is not None and scope["path"] not in self._open_paths and not is_preflight:
            self._check_token(headers.get(b"authorization", []))
        if scope["method"] == "POST":
            _check_content_type(headers)

    def _check_origin(self, scope: Scope, headers: dict[bytes, list[bytes]], host: str) -> None:
        """Raise ``ApiError`` if the request comes from a page of another site that is not allowed."""
        if self._allowed_origin(scope) is not None:
            return
        ours = {f"{scheme}://{host}".encode("latin-1") for scheme in ("http", "https")}
        is_foreign = any(origin.lower() not in ours for origin in headers.get(b"origin", []))
        sites = set(headers.get(b"sec-fetch-site", []))
        follows_link = (
            scope["method"] == "GET"
            and scope["path"] == _LINKABLE_PATH
            and headers.get(b"sec-fetch-mode") == [b"navigate"]
        )
        if is_foreign or not (sites <= {b"same-origin", b"none"} or follows_link):
            raise ApiError(403, foreign_origin_message(headers.get(b"origin", [])), code="foreign_origin")

    def _allowed_origin(self, scope: Scope) -> bytes | None:
        """Return the origin of the request if it is one of the allowed origins, else None."""
        sent = [value for name, value in scope["headers"] if name == b"origin"]
        return sent[0] if len(sent) == 1 and sent[0] in self._origins else None

    def _check_token(self, authorization: list[bytes]) -> None:
        assert self._token is not None
        scheme, _, token = authorization[0].partition(b" ") if len(authorization) == 1 else (b"", b"", b"")
        if not hmac.compare_digest(token, self._token) or scheme.lower() != b"bearer":
            message = "Missing or invalid token. Send the server's token in the header Authorization: Bearer TOKEN."
            raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def _headers(scope: Scope) -> dict[bytes, list[bytes]]:
    """Return the values of each header."""
    headers: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name, []).append(value)
    return headers


def _is_preflight(scope: Scope) -> bool:
    """Return whether a browser asks whether a page may send a request (CORS)."""
    return scope["method"] == "OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in scope["headers"]
    )


def _single_value(headers: dict[bytes, list[bytes]], name: bytes) -> str:
    """Return the value of a header in lower case; "" if the header is missing or repeated."""
    values = headers.get(name, [])
    return values[0].decode("latin-1").lower() if len(values) == 1 else ""


def _check_content_type(headers: dict[bytes, list[bytes]]) -> None:
    """Raise ``ApiError`` unless the content type is JSON, which HTML forms of other sites cannot send."""
    kind = _single_value(headers, b"content-type").partition(";")[0].strip()
    if kind != "application/json":
        raise ApiError(415, f"Content-Type must be application/json, got {kind!r:.80}.", code="unsupported_type")
    if headers.get(b"content-encoding", [b"identity"]) != [b"identity"]:
        raise ApiError(415, "Compressed bodies (Content-Encoding) are not supported.", code="unsupported_type")


def _check_body(method: str, body: bytes, limits: Limits) -> None:
    if method == "POST":
        check_json_shape(body, limits)
    elif body:
        raise ApiError(400, f"{method} requests must not have a body.", code="unexpected_body")


async def _reject_unread(error: ApiError, limits: Limits, receive: Receive, send: Send) -> None:
    """Reject a request before its body has arrived.

    Part of the body is read and discarded, because a client may miss the response if it is disconnected while it sends.
    """
    error.headers["Connection"] = "close"
    response = error.response()
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    await discard_body(receive, limits)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _receive_body(body: bytes) -> Receive:
    """Return a receive function for a body that was already read. ``_cancel_on_disconnect`` handles disconnects."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive


async def _cancel_on_disconnect(receive: Receive, send: "_ResponseSender", deadline: asyncio.Timeout) -> None:
    """Cancel the handling of a request when its client disconnects, by expiring its deadline."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not send.finished:
        send.is_disconnected = True
        deadline.reschedule(asyncio.get_running_loop().time())


class _ResponseSender:
    """Sends a response with the security headers, and raises ``TimeoutError`` if the client stops reading.

    Args:
        send: The ASGI send function.
        seconds: Time after which a client that does not read is disconnected.
        response_counts: Counter of responses by status, to update.
        added: Additional headers.

    Attributes:
        status: Status of the response; None before it has started.
        finished: Whether the response was sent completely.
        is_disconnected: Whether the client disconnected before.
    """

    def __init__(
        self, send: Send, seconds: float, response_counts: Counter[int], added: Collection[tuple[bytes, bytes]]
    ) -> None:
        self._send, self._seconds, self._response_counts, self._added = send, seconds, response_counts, added
        self.status: int | None = None
        self.finished = self.is_disconnected = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._response_counts[message["status"]] += 1
            existing = {name for name, _ in message["headers"]}
            added = [header for header in (*_HEADERS, *self._added) if header[0] not in existing]
            message = {**message, "headers": [*message["headers"], *added]}
        async with asyncio.timeout(self._seconds):
            await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.finished = True
