"""The door: who may ask, how much, and for how long; it stands before every route."""

import asyncio
import hmac
from collections import Counter
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charloom.serve.errors import ApiError
from charloom.serve.security.allowed_hosts import AllowedHosts
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
_PAGE = "/"  # the one address that a link on another site may lead to


class SecurityMiddleware:
    """Lets requests through to an application, or answers them itself.

    Args:
        app: What it stands before.
        hosts: Under which names the server may be asked for.
        token: What every request must bear, but those for ``open_paths``; None if none must.
        open_paths: Paths that hold no secret: those of the page.
        limits: What is accepted.

    Attributes:
        answers: How many requests were answered with each status.
        under_way: How many are answered now.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: AllowedHosts, token: str | None, open_paths: Collection[str], limits: Limits
    ) -> None:
        self._app, self._hosts, self._open_paths, self._limits = app, hosts, frozenset(open_paths), limits
        self._token = None if token is None else token.encode()
        self.answers: Counter[int] = Counter()
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            self.under_way += 1
            try:
                await self._answer(scope, receive, _Sender(send, self._limits.unread_seconds, self.answers))
            except ClientDisconnected:
                pass
            finally:
                self.under_way -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: "_Sender") -> None:
        headers = dict(scope["headers"])
        unread = has_body(headers)
        try:
            self._check(scope)
            body = await read_body(receive, headers, self._limits)
            unread = False
            _check_body(scope["method"], body, self._limits)
        except ApiError as problem:
            if unread:
                await _refuse_unread(problem, self._limits, receive, send)
            else:
                await problem.answer()(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._limits.request_seconds) as deadline:
                watch = asyncio.create_task(_watch(receive, send, deadline))
                try:
                    await self._app(scope, _once(body), send)
                finally:
                    watch.cancel()
        except TimeoutError:
            if not send.started and not send.gone:
                message = f"This took longer than {self._limits.request_seconds:g} seconds. Ask for less at once."
                await ApiError(503, message, code="too_slow").answer()(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raise ``ApiError`` unless the request may be answered, whatever it carries."""
        headers: dict[bytes, list[bytes]] = {}
        size = len(scope["path"]) + len(scope["query_string"])
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
            size += len(name) + len(value)
        if size > self._limits.header_bytes:
            message = f"The request's head is too large: at most {self._limits.header_bytes:,} bytes are read."
            raise ApiError(431, message, code="too_large")
        host = _only(headers, b"host")
        if host not in self._hosts:
            raise ApiError(421, "This server is not known by that name. Ask for it by the address that it says.")
        self._check_origin(scope, headers, host)
        if self._token is not None and scope["path"] not in self._open_paths:
            self._check_token(headers.get(b"authorization", []))
        if scope["method"] == "POST":
            _check_type(headers)

    def _check_origin(self, scope: Scope, headers: dict[bytes, list[bytes]], host: str) -> None:
        """Raise ``ApiError`` if another site's page asks."""
        ours = {f"{scheme}://{host}".encode("latin-1") for scheme in ("http", "https")}
        foreign = any(origin.lower() not in ours for origin in headers.get(b"origin", []))
        sites = set(headers.get(b"sec-fetch-site", []))
        follows_link = (
            scope["method"] == "GET" and scope["path"] == _PAGE and headers.get(b"sec-fetch-mode") == [b"navigate"]
        )
        if foreign or not (sites <= {b"same-origin", b"none"} or follows_link):
            raise ApiError(403, "Pages of other sites are not answered.", code="foreign_origin")

    def _check_token(self, given: list[bytes]) -> None:
        assert self._token is not None
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if not hmac.compare_digest(token, self._token) or scheme.lower() != b"bearer":
            message = "This server answers only those who have its token, sent as Authorization: Bearer TOKEN."
            raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def _only(headers: dict[bytes, list[bytes]], name: bytes) -> str:
    """Return a header's value in lower case if it stands there once, else ""."""
    found = headers.get(name, [])
    return found[0].decode("latin-1").lower() if len(found) == 1 else ""


def _check_type(headers: dict[bytes, list[bytes]]) -> None:
    """Raise ``ApiError`` unless a body is said to be JSON: no form of another site can say that."""
    kind = _only(headers, b"content-type").partition(";")[0].strip()
    if kind != "application/json":
        raise ApiError(415, f"Content-Type must be application/json; got {kind!r:.80}.", code="unsupported_type")
    if headers.get(b"content-encoding", [b"identity"]) != [b"identity"]:
        raise ApiError(415, "A body must not be compressed: leave Content-Encoding out.", code="unsupported_type")


def _check_body(method: str, body: bytes, limits: Limits) -> None:
    if method == "POST":
        check_json_shape(body, limits)
    elif body:
        raise ApiError(400, f"A {method} carries no body here. Use POST for what takes one.", code="unexpected_body")


async def _refuse_unread(problem: ApiError, limits: Limits, receive: Receive, send: Send) -> None:
    """Refuse a request at once, though its body is still to come.

    Some of it is taken and thrown away, as a client that is cut off while it sends does not see the answer.
    """
    problem.headers["Connection"] = "close"
    answer = problem.answer()
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    await discard_body(receive, limits)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _once(body: bytes) -> Receive:
    """Return what gives an application its body, and then nothing more: that the client leaves is seen to here."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive


async def _watch(receive: Receive, send: "_Sender", deadline: asyncio.Timeout) -> None:
    """End the answering of a request when its client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not send.finished:
        send.gone = True
        deadline.reschedule(asyncio.get_running_loop().time())


class _Sender:
    """Sends an answer: with the headers that all have, and only as long as the client reads it.

    Args:
        send: Of the request.
        seconds: How long the client may read nothing.
        answers: Counts the statuses.
    """

    def __init__(self, send: Send, seconds: float, answers: Counter[int]) -> None:
        self._send, self._seconds, self._answers = send, seconds, answers
        self.started = self.finished = self.gone = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._answers[message["status"]] += 1
            own = {name for name, _ in message["headers"]}
            added = [header for header in _HEADERS if header[0] not in own]
            message = {**message, "headers": [*message["headers"], *added]}
        async with asyncio.timeout(self._seconds):
            await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.finished = True
