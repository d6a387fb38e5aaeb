"""A stub of the playground's server, and helpers that operate and inspect the page in a browser tab.

The stub generates what a test defines. It has no model.
"""

import json
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from charloom.web.playground import playground_files
from support.browser import opened

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
VOCABULARY = "\n !&',-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MODELS = [
    {"id": "shakespeare", "object": "model", "charloom": {"characters": len(VOCABULARY), "unit": "char",
     "parameters": 858_000, "bits_per_char": 2.0911, "vocabulary": VOCABULARY, "corpus": "shakespeare"}},
    {"id": "anything", "object": "model", "charloom": {"characters": 256, "unit": "byte", "parameters": 12_340_000,
     "bits_per_char": None, "vocabulary": "", "corpus": None}},
]  # fmt: skip
PREDICTIONS = [("e", 0.412), (" ", 0.2), ("\n", 0.1), ("<", 0.0123), ("😀", 0.0004)]


def stub_text(seed, length):
    """The text that the stub generates by default; it depends only on the seed."""
    letters = VOCABULARY[11:]
    return "".join(letters[(seed * 31 + seed // 52 * i + i * i) % 52] if i % 6 else " " for i in range(length))


def stub_surprisals(text):
    """The surprisals that the stub returns: between 0 and 9 bits, derived from the code points."""
    return [None, *(ord(character) % 9 + 0.25 for character in text[1:])]


class Stub:
    """A server for the playground.

    Attributes:
        requests: The received requests, (path, JSON body) each, without those for the page's files.
        generate: Function from a completion request to the pieces of text to send.
        delay: Seconds between two pieces.
        errors: Errors to return for the next requests of a path: {path: [(status, error)]}.
        token: The access token that requests must have, if any.
        aborted: The number of completions that the page did not read to the end.
    """

    def __init__(self):
        self.requests, self.errors, self.aborted, self.delay, self.token = [], {}, 0, 0.0, None
        self.generate = lambda request: _split(stub_text(request["seed"], request["max_tokens"]))
        self.port = 0
        self.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start the server, at the previous port if it was stopped."""
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def last_request(self, path):
        """The body of the last request of a path."""
        return [body for requested, body in self.requests if requested == path][-1]

    def request_count(self, path):
        return sum(requested == path for requested, _ in self.requests)


def _split(text, size=9):
    return [text[i : i + size] for i in range(0, len(text), size)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, stub):
        super().__init__(("127.0.0.1", stub.port), _Handler)
        self.stub, self.files = stub, playground_files()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path in self.server.files:
            self._send(200, *self.server.files[self.path])
        elif not self._send_error():
            self._send_json(200, {"object": "list", "data": MODELS})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Content-Type"] == "application/json"
        if self._send_error(body):
            return
        if self.path == "/v1/completions":
            self._stream(body)
        elif self.path == "/score":
            surprisals = stub_surprisals(body["text"])
            self._send_json(200, {"characters": len(body["text"]), "bits_per_char": 3.21, "surprisals": surprisals})
        elif self.path == "/guesses":
            predictions = [{"text": text, "probability": p} for text, p in PREDICTIONS[: body["k"]]]
            self._send_json(200, {"guesses": predictions})

    def _send_error(self, body=None):
        """Record the request, and send an error if the token is wrong or an error is planned; return whether."""
        stub = self.server.stub
        stub.requests.append((self.path, body))
        if stub.token and self.headers["Authorization"] != f"Bearer {stub.token}":
            self._send_json(401, {"error": {"message": "Token required.", "code": "invalid_api_key"}})
            return True
        if stub.errors.get(self.path):
            status, error = stub.errors[self.path].pop(0)
            self._send_json(status, {"error": error}, {"Retry-After": "2"} if status == 429 else {})
            return True
        return False

    def _stream(self, body):
        stub = self.server.stub
        pieces = stub.generate(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for i, piece in enumerate(pieces):
                self._send_event(piece, "length" if i == len(pieces) - 1 else None)
                time.sleep(stub.delay)
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            stub.aborted += 1

    def _send_event(self, piece, reason):
        if piece is None:  # simulates a lost connection
            raise BrokenPipeError
        choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": reason}
        event = piece if isinstance(piece, dict) else {"object": "text_completion", "choices": [choice]}
        line = f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        for half in (line[: len(line) // 2], line[len(line) // 2 :]):  # a network may split events anywhere
            self.wfile.write(half)
            self.wfile.flush()

    def _send_json(self, status, data, headers=None):
        self._send(status, "application/json", json.dumps(data).encode("ascii"), headers or {})

    def _send(self, status, content_type, content, headers=()):
        self.send_response(status)
        own = {"Content-Type": content_type, "Content-Length": str(len(content)), "Content-Security-Policy": POLICY}
        for name, value in {**own, "X-Content-Type-Options": "nosniff", **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # the page has aborted the request
            self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@contextmanager
def playground_page(browser, stub, **options):
    """Open the playground, and wait until it has loaded the models."""
    with opened(browser, stub.address, **options) as tab:
        tab.locator("#model option").first.wait_for(state="attached")
        yield tab


def editor_text(tab):
    return tab.locator("#text").input_value()


def wait_for_text(tab, selector, text):
    tab.locator(selector, has_text=text).wait_for()


def wait_for_status(tab, *states, **data):
    """Wait until the page's status is one of these states, and has these data attributes."""
    attributes = "".join(f'[data-{name}="{value}"]' for name, value in data.items())
    tab.locator(", ".join(f"#status[data-state={state}]{attributes}" for state in states)).wait_for()


def wait_for_notice(tab, kind):
    """Wait for a notice of a kind; return its text."""
    notice = tab.locator(f"#notice[data-kind={kind}]:visible p")
    notice.wait_for()
    return notice.inner_text()


def status_data(tab, name):
    return tab.locator("#status").get_attribute(f"data-{name}")


def wait_until(tab, condition):
    """Wait for a condition while the page keeps running."""
    for _ in range(800):
        if condition():
            return
        tab.wait_for_timeout(50)
    raise AssertionError("the condition did not become true")


def press_and_wait(tab, key="Tab"):
    """Start a generation with a key, and wait until it has ended."""
    tab.keyboard.press(key)
    wait_for_status(tab, "done", "choosing")


def highlighted(tab, name="model"):
    """The pieces of text with a highlight, in document order."""
    script = """name => [...CSS.highlights.get(name)].map(r => [r.startContainer, r.startOffset, r.endOffset])
      .sort(([a, i], [b, j]) => a === b ? i - j : a.compareDocumentPosition(b) & 4 ? -1 : 1)
      .map(([node, start, end]) => node.data.slice(start, end))"""
    return tab.evaluate(script, name)


def characters_at_level(level, text, surprisals):
    """The characters whose surprisal, in whole bits, is ``level``. Line breaks are left out: they have no color."""
    pairs = zip(text, surprisals, strict=True)
    return "".join(c for c, bits in pairs if c != "\n" and min(7, int(bits or 0)) == level)
