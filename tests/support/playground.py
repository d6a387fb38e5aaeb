"""For tests of the playground: a stub of its server, and the page in a tab, what is done and seen there.

The stub writes what a test tells it to: it knows no model and reads no text.
"""

import json
import re
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
LETTERS = "\n !&',-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
MODELS = [
    {"id": "shakespeare", "object": "model", "charloom": {"characters": len(LETTERS), "unit": "char",
     "parameters": 858_000, "bits_per_char": 2.0911, "vocabulary": LETTERS, "corpus": "shakespeare"}},
    {"id": "anything", "object": "model", "charloom": {"characters": 256, "unit": "byte", "parameters": 12_340_000,
     "bits_per_char": None, "vocabulary": "", "corpus": None}},
]  # fmt: skip
GUESSES = [("e", 0.412), (" ", 0.2), ("\n", 0.1), ("<", 0.0123), ("😀", 0.0004)]


def woven(seed, length):
    """What the stub writes of itself: it depends on the seed alone."""
    return "".join(LETTERS[11 + (seed * 31 + seed // 52 * i + i * i) % 52] if i % 6 else " " for i in range(length))


def bits(text):
    """What the stub says that characters cost: something between 0 and 9 bits, by their number."""
    return [None, *(ord(character) % 9 + 0.25 for character in text[1:])]


class Stub:
    """The server.

    Attributes:
        asked: What has been asked for: (path, JSON body) each, the page's own files left out.
        write: From a completion's request to the pieces of text it is answered with.
        pause: Seconds between two pieces.
        refusals: Answers for the next requests of a path, instead of what they ask for: {path: [(status, error)]}.
        token: What a request must bring, if anything.
        cut: How many completions the page did not read to their end.
    """

    def __init__(self):
        self.asked, self.refusals, self.cut, self.pause, self.token = [], {}, 0, 0.0, None
        self.write = lambda request: _in_pieces(woven(request["seed"], request["max_tokens"]))
        self.port = 0
        self.open()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def open(self):
        """Begin to answer, at the address of before if there was one."""
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def last(self, path):
        """The body of the last request of a path."""
        return [body for where, body in self.asked if where == path][-1]

    def count(self, path):
        return sum(where == path for where, _ in self.asked)


def _in_pieces(text, size=9):
    return [text[i : i + size] for i in range(0, len(text), size)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, stub):
        super().__init__(("127.0.0.1", stub.port), _Handler)
        self.stub, self.pages = stub, playground_files()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path in self.server.pages:
            self._answer(200, *self.server.pages[self.path])
        elif self._may():
            self._json(200, {"object": "list", "data": MODELS})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Content-Type"] == "application/json"
        if not self._may(body):
            return
        if self.path == "/v1/completions":
            self._stream(body)
        elif self.path == "/score":
            self._json(200, {"characters": len(body["text"]), "bits_per_char": 3.21, "surprisals": bits(body["text"])})
        elif self.path == "/guesses":
            found = [{"text": text, "probability": share} for text, share in GUESSES[: body["k"]]]
            self._json(200, {"guesses": found})

    def _may(self, body=None):
        """Return whether it is to be answered as asked; otherwise it has been answered."""
        stub = self.server.stub
        stub.asked.append((self.path, body))
        if stub.token and self.headers["Authorization"] != f"Bearer {stub.token}":
            self._json(401, {"error": {"message": "A token is wanted.", "code": "invalid_api_key"}})
            return False
        if stub.refusals.get(self.path):
            status, error = stub.refusals[self.path].pop(0)
            self._json(status, {"error": error}, {"Retry-After": "2"} if status == 429 else {})
            return False
        return True

    def _stream(self, body):
        stub = self.server.stub
        pieces = stub.write(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for i, piece in enumerate(pieces):
                self._event(piece, "length" if i == len(pieces) - 1 else None)
                time.sleep(stub.pause)
            self.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            stub.cut += 1

    def _event(self, piece, reason):
        if piece is None:  # the server breaks off
            raise BrokenPipeError
        choice = {"index": 0, "text": piece, "logprobs": None, "finish_reason": reason}
        event = piece if isinstance(piece, dict) else {"object": "text_completion", "choices": [choice]}
        line = f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        for half in (line[: len(line) // 2], line[len(line) // 2 :]):  # the network cuts where it likes
            self.wfile.write(half)
            self.wfile.flush()

    def _json(self, status, found, headers=None):
        self._answer(status, "application/json", json.dumps(found).encode("ascii"), headers or {})

    def _answer(self, status, kind, content, headers=()):
        self.send_response(status)
        own = {"Content-Type": kind, "Content-Length": str(len(content)), "Content-Security-Policy": POLICY}
        for name, value in {**own, "X-Content-Type-Options": "nosniff", **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # what is not wanted any more is not waited for
            self.wfile.write(content)

    def log_message(self, format, *args):
        pass


@contextmanager
def page(browser, stub, **options):
    with opened(browser, stub.address, **options) as tab:
        tab.locator("#model option").first.wait_for(state="attached")
        yield tab


def written(tab):
    return tab.locator("#text").input_value()


def wait_for(tab, selector, text):
    tab.locator(selector, has_text=text).wait_for()


def until(tab, holds):
    """Wait for something to hold while the page goes on."""
    for _ in range(800):
        if holds():
            return
        tab.wait_for_timeout(50)
    raise AssertionError("it never came")


def goes_on(tab, key="Tab"):
    """Let the model write, and wait until it has."""
    tab.keyboard.press(key)
    wait_for(tab, "#status", re.compile(r"seed \d+|versions"))


def marked(tab, name="model"):
    """The stretches of text that are highlighted, in their order."""
    script = """name => [...CSS.highlights.get(name)].map(r => [r.startContainer, r.startOffset, r.endOffset])
      .sort(([a, i], [b, j]) => a === b ? i - j : a.compareDocumentPosition(b) & 4 ? -1 : 1)
      .map(([node, start, end]) => node.data.slice(start, end))"""
    return tab.evaluate(script, name)


def costing(level, text, costs):
    """The characters of a text that cost so many whole bits, line ends left out: they have no colour."""
    pairs = zip(text, costs, strict=True)
    return "".join(c for c, cost in pairs if c != "\n" and min(7, int(cost or 0)) == level)
