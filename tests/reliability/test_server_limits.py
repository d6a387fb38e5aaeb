"""Hostile requests are refused at once, with little time and memory, and do not slow down other clients."""

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import charloom
from charloom.inference.model import Model
from charloom.serve.errors import ApiError
from charloom.serve.security.limits import Limits
from charloom.serve.security.request_body import check_json_shape
from support.models import tiny_saved
from support.reliability import counts
from support.server import serve_models
from support.waiting import wait_for

pytestmark = pytest.mark.alone
NUMBERS = [-1, 10**30, 1e300, "1", [], {}, True, "NaN", [1], {"a": 1}]
INVALID_VALUES = {  # by field
    "prompt": [1, 1.5, {}, [], [[]] * 33, [1, "a"], [["a"]], [[[1]]], [None], [True], [-1], [10**9], ["a", [1]],
               "é" * 9, "a" * 100_001, ["a"] * 33, [1.5], "\ud800", "\0"],
    "max_tokens": [*NUMBERS, 1.5, 200_001],
    "temperature": [*NUMBERS[:-4], -0.1, 100.1, "hot", [], True],
    "top_p": [*NUMBERS, 0, 1.1, -0.5],
    "top_k": [*NUMBERS[1:], -2, 1.5, 65_537],
    "min_p": [*NUMBERS, 1.1, -0.1],
    "repetition_penalty": [*NUMBERS, 0, 101, 0.001],
    "presence_penalty": [*NUMBERS[1:], -2.1, 2.1],
    "frequency_penalty": [*NUMBERS[1:], -2.1, 2.1],
    "n": [*NUMBERS[:6], "NaN", 0, 17, 1.5],
    "best_of": [*NUMBERS[:6], 0, 17, 1.5],
    "seed": [*NUMBERS[1:], -2, 2**53, 1.5, -(2**63)],
    "logprobs": [*NUMBERS, 6, 1.5],
    "echo": [0, 1, "true", [], {}],
    "stream": [0, 1, "true", [], {}],
    "stream_options": [True, {"include_usage": 1}, {"x": 1}, [], "usage"],
    "stop": [[""], ["a"] * 17, "a" * 65, 1, [1], {}, ["a", None], True, [["a"]]],
    "logit_bias": [[], 1, "a", {"a": 1}, {"1": "x"}, {"1": 101}, {"1": -101}, {"-1": 1}, {"1.5": 1}, {"99999": 1},
                   {"1": None}, {"1": True}, {str(i): 0 for i in range(1025)}, {"\u0661": 1}, {"": 0}],
    "suffix": ["x", 1, []],
    "user": [1, [], {}, "x" * 257, True],
    "model": ["nobody", "", 1, [], "x" * 257, "../shakespeare", "\0", True],
    "nonsense": [1, False, "x"],
    "messages": [[], [{"role": "user", "content": "hello"}]],
    "file": ["/etc/passwd"],
    "url": ["http://evil.example/"],
}  # fmt: skip
INVALID_BODIES = [  # not JSON, not an object, or beyond a limit
    b"", b" ", b"null", b"1", b'"a"', b"[]", b"[{}]", b"{", b"}", b"{}}", b'{"prompt"}', b'{"prompt":}', b"{'a':1}",
    b'{"prompt":"a",}', b'{"prompt":"a","prompt":"b"}', b'{"temperature":NaN}', b'{"temperature":Infinity}',
    b'{"temperature":-Infinity}', b'{"temperature":1e999}', b'{"max_tokens":' + b"9" * 5000 + b"}", b"\xff\xfe{}",
    b'{"prompt":"\xff"}', b"\xef\xbb\xbf{}", b'{"prompt":"\\x"}', b'{"prompt":"\\ud8"}',
    b'{"a":' * 17 + b"1" + b"}" * 17,
    b"[" * 17 + b"]" * 17, b"[" * 500_000, b"{}" * 200_000, b'"' * 300_000, b"[[]," * 100_000,
    b'{"prompt":[' + b"[]," * 100_000 + b"[]]}", b'{"prompt":[' + b"1," * 400_000 + b"1]}", b"\\" * 100_000,
    b'{"logit_bias":{' + b",".join(b'"%d":1' % i for i in range(60_000)) + b"}}", b"\0" * 1000, b"// {}", b"{} {}",
    b'{"prompt":"a"' + b" " * 1_000_000, b"true", b"-", b"1e5", b"\n",
]  # fmt: skip
OTHER_INVALID_REQUESTS = [  # (method, path, body)
    *(("POST", path, body) for path in ("/tokenize", "/detokenize", "/score", "/guesses") for body in (
        b"", b"[]", b"{}", {"model": "nobody", "prompt": "a", "tokens": [], "text": "abc"}, {"x": 1},
        {"prompt": 1, "text": 1, "tokens": "a"}, {"text": "é" * 9, "prompt": "é", "tokens": [999]},
        {"text": "a" * 100_001, "prompt": "a" * 100_001, "tokens": [0] * 100_001},
    )),
    ("POST", "/score", {"text": "a"}), ("POST", "/score", {"text": ""}), ("POST", "/guesses", {"text": "a", "k": 0}),
    ("POST", "/guesses", {"text": "a", "k": 11}), ("POST", "/guesses", {"text": "a", "k": 1.5}),
    ("POST", "/detokenize", {"tokens": [-1]}), ("POST", "/detokenize", {"tokens": [1.5]}),
    ("POST", "/detokenize", {"tokens": [True]}), ("POST", "/tokenize", {"prompt": "a", "add_special_tokens": 1}),
    ("GET", "/generate?n=0", None), ("GET", "/generate?n=-1", None), ("GET", "/generate?n=1e3", None),
    ("GET", "/generate?n=%D9%A1", None), ("GET", "/generate?length=9", None), ("GET", "/generate?n=99999", None),
    ("GET", "/generate?start_text=%C3%A9", None), ("GET", "/generate?start_text=%FF", None),
    ("GET", "/generate?n=1&n=1", None), ("GET", "/tokenizer_info?model=x", None), ("GET", "/tokenizer_info?a=b", None),
    ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", None), ("GET", "/v1/models/%00", None),
    ("GET", "/../../etc/passwd", None), ("GET", "/playground/../server.py", None),
    ("GET", "/playground/%2e%2e/app.py", None),
    ("GET", "/playground/", None),
    ("GET", "/v1/models", b"{}"), ("GET", "/healthz", b"x"), ("PUT", "/v1/completions", b"{}"), ("DELETE", "/", None),
    ("OPTIONS", "/v1/completions", None), ("TRACE", "/", None), ("PATCH", "/score", b"{}"), ("POST", "/", b"{}"),
    ("POST", "/healthz", b"{}"), ("GET", "/" + "a" * 8000, None), ("GET", "/?" + "a" * 8000 + "=1", None),
    ("POST", "/v1/completions/", b"{}"), ("POST", "/v1/Completions", b"{}"), ("POST", "/v1/embeddings", b"{}"),
    ("CONNECT", "/", None), ("BREW", "/", None),
]  # fmt: skip


def invalid_requests():
    """Yield every invalid request as (method, path, body)."""
    fields = ((name, value) for name, values in INVALID_VALUES.items() for value in values)
    yield from (("POST", "/v1/completions", json.dumps({name: value}).encode()) for name, value in fields)
    yield from (("POST", "/v1/completions", body) for body in INVALID_BODIES)
    yield from OTHER_INVALID_REQUESTS


@pytest.fixture(scope="module")
def server():
    with serve_models({"shakespeare": charloom.load("shakespeare")}) as running:
        yield running


def resident_bytes():
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def send_invalid(server, requests):
    """Send invalid requests, check that each is rejected, and return their wall times and CPU times in seconds, (N, 2).

    Only the page with a query is accepted.
    """
    seconds = []
    for method, path, body in requests:
        started = time.perf_counter(), time.process_time()
        response = server.request(method, path, body)
        seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
        accepted = response.status == 200 and path.startswith("/?")
        details = (method, path, str(body)[:200], response.status, response.body[:300])
        assert accepted or 400 <= response.status < 500, details
        if not accepted and method != "HEAD":
            assert set(response.error) == {"message", "type", "param", "code"}
            assert 5 < len(response.error["message"]) < 3000, response.body
    return np.array(seconds)


@counts(1, 20)
def test_invalid_requests(server, report_trials, count):
    requests = list(invalid_requests())
    assert len(requests) >= 300
    send_invalid(server, requests)  # warm up: lazy imports
    before, generated = resident_bytes(), server.stats.characters
    seconds = send_invalid(server, requests * count)
    grown = resident_bytes() - before
    wall_time, cpu_time = np.quantile(seconds, 0.99, axis=0)
    assert cpu_time <= 0.05 and grown <= 50 << 20
    assert wall_time <= 0.05 or count == 1  # the fast tests may run on a busy machine
    assert server.stats.characters == generated and server.get("/healthz").status == 200
    result = f"0 server errors, 99th percentile {1000 * wall_time:.1f} ms, memory grew by {grown / 2**20:.0f} MB"
    report_trials("hostile_requests", "hand-made invalid requests", len(seconds), result)


def raw(server, data, timeout=5.0):
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        response = b""
        while b"\r\n\r\n" not in response:
            try:
                part = connection.recv(65536)
            except ConnectionError:
                break
            if not part:
                break
            response += part
        return response


def test_body_size_limit_does_not_trust_content_length(server):
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
    assert b" 413 " in raw(server, f"{head}Content-Length: {1 << 40}\r\n\r\n".encode())
    assert b" 413 " in raw(server, f"{head}Content-Length: {(1 << 20) + 1}\r\n\r\n".encode())
    whole = head + f"Content-Length: {8 << 20}\r\n\r\n"
    assert b" 413 " in raw(server, whole.encode() + b" " * (8 << 20))  # the client can read the response
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert b" 413 " in raw(server, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 40)
    for wrong in ("-1", "x", "1, 2", "1e3"):
        assert b" 400 " in raw(server, f"{head}Content-Length: {wrong}\r\n\r\n{{}}".encode())
    assert b" 431 " in raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n")
    assert b" 400 " in raw(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n")
    assert server.get("/healthz").status == 200


def test_json_shape_is_checked_before_parsing():
    limits = Limits()
    check_json_shape(b'{"prompt": "[[[[[[[[[[[[[[[[[[[[[[ \\" {{{{{{{{{{{{{{{{{{{{{"}', limits)
    check_json_shape(b"[" * 16 + b"]" * 16, limits)
    for wrong in (b"[" * 17, b"[]" * 5000, b'"",' * 5000, b'{"a":[' * 9):
        with pytest.raises(ApiError):
            check_json_shape(wrong, limits)
    started = time.process_time()
    for large in (b"1," * 500_000, b'"' + b"\\n" * 500_000 + b'"', b" " * (1 << 20), b'"' + b"[" * 500_000):
        check_json_shape(large, limits)
    assert time.process_time() - started < 0.2


def test_overload_is_rejected_with_429():
    limits = Limits(max_active_texts=2, max_waiting_texts=2)
    with serve_models({"tiny": Model(tiny_saved())}, limits=limits) as running:
        open_ones = [open_stream(running, max_tokens=200_000) for _ in range(4)]
        response = running.complete("a")
        assert response.status == 429 and response.headers["Retry-After"] == "1"
        assert response.error["type"] == "rate_limit_error" and response.error["code"] == "too_many_requests"
        for connection in open_ones:
            connection.close()
        wait_for(lambda: running.complete("a").status == 200)


def open_stream(server, **body):
    """Start a stream, read only its status line, and return the connection."""
    body = json.dumps({"prompt": "a", "stream": True, **body})
    data = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"{data}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def test_unread_stream_pauses(server):
    before = server.stats.characters
    connection = open_stream(server, max_tokens=200_000)
    wait_for(lambda: server.stats.characters > before)
    last = -1
    while server.stats.characters != last:
        last = server.stats.characters
        time.sleep(0.3)
    assert last - before < 120_000 and server.get("/healthz").status == 200
    connection.close()
    wait_for(lambda: server.tasks == 0)


def test_client_that_does_not_read_is_disconnected():
    with serve_models({"tiny": Model(tiny_saved())}, limits=Limits(max_unread_seconds=0.3)) as running:
        connection = open_stream(running, max_tokens=200_000)
        wait_for(lambda: running.tasks == 0)
        connection.close()


def test_slow_clients_do_not_block_others(server, report_trials):
    """200 connections send only a part of a request."""
    half = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 100\r\n".encode()
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    for i, connection in enumerate(slow):
        connection.sendall(half[: 1 + i % len(half)])
    seconds = [time_valid_request(server) for _ in range(50)]
    for connection in slow:
        connection.close()
    assert np.median(seconds) < 0.5 and max(seconds) < 10
    report_trials(
        "hostile_requests",
        "connections that send their request byte by byte",
        200,
        "other clients are answered meanwhile",
    )


def time_valid_request(server):
    started = time.perf_counter()
    assert server.complete("ROMEO:", max_tokens=20).status == 200
    return time.perf_counter() - started


@pytest.mark.slow
def test_health_check_under_load(server, report_trials):
    stop = threading.Event()

    def write():
        while not stop.is_set():
            assert server.complete("ROMEO:", max_tokens=20_000, stream=True).status == 200
        server.close()

    writers = [threading.Thread(target=write) for _ in range(32)]
    for writer in writers:
        writer.start()
    seconds = []
    for _ in itertools.repeat(None, 300):
        started = time.perf_counter()
        assert server.get("/healthz").status == 200
        seconds.append(time.perf_counter() - started)
        time.sleep(0.02)
    stop.set()
    for writer in writers:
        writer.join()
    milliseconds = 1000 * np.quantile(seconds, 0.99)
    report_trials(
        "hostile_requests",
        "requests to /healthz while 32 streams are generated",
        len(seconds),
        f"answered, 99th percentile {milliseconds:.0f} ms",
    )
    assert milliseconds <= 100
