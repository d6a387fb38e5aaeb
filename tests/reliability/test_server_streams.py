"""Streams stop when the client disconnects, and give the same text as an answer in one piece."""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import charloom
from support.reliability import counts
from support.server import serve_models, start_server, wait_for_exit
from support.waiting import wait_for

pytestmark = pytest.mark.alone
PROMPTS = ["ROMEO:", "", "First Citizen:\n", "To be, or not to be", "\n\n", "KING RICHARD III:\nNow", "a", "The "]


@pytest.fixture(scope="module")
def model():
    return charloom.load("shakespeare")


@pytest.fixture(scope="module")
def server(model):
    with serve_models({"shakespeare": model}) as running:
        yield running


def test_streams_equal_complete_responses_and_generate(server, model, report_trials):
    same_texts(server, model, 50, report_trials)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_streams_equal_complete_responses_and_generate(server, model, report_trials):
    same_texts(server, model, 1000, report_trials)


def same_texts(server, model, count, report_trials):
    """Compare streams, complete responses and ``Model.generate``, with four requests at a time."""
    draw = random.Random(count)
    requests = [one_request(draw) for _ in range(count)]
    same = []

    def take():
        while requests:
            body = requests.pop()
            events, done = server.post("/v1/completions", **body, stream=True).events
            streamed = "".join(one["choices"][0]["text"] for one in events)
            whole = server.post("/v1/completions", **body).json["choices"][0]["text"]
            same.append(done and streamed == whole == generated(model, body))
        server.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(same) == count and all(same)
    report_trials(
        "streams",
        "streamed answer, answer in one piece and `charloom generate` with the same seed",
        count,
        "the same text each time",
    )


def one_request(draw):
    body = {"prompt": draw.choice(PROMPTS), "max_tokens": draw.randrange(1, 400), "seed": draw.randrange(2**53)}
    body["temperature"] = draw.choice([0, 0.5, 1, 1.3])
    if draw.random() < 0.3:
        body["top_p"] = draw.choice([0.5, 0.9])
    if draw.random() < 0.3:
        body["top_k"] = draw.randrange(1, 30)
    if draw.random() < 0.2:
        body["repetition_penalty"] = 1.3
    if draw.random() < 0.2:
        body["frequency_penalty"] = 0.4
    if draw.random() < 0.3:
        body["stop"] = draw.choice([["\n\n"], "the", [".", "!"]])
    return body


def generated(model, body):
    options = {key: body[key] for key in body if key not in ("prompt", "max_tokens")}
    return model.generate(body["prompt"], body["max_tokens"], **options)[len(body["prompt"]) :]


def loop_tasks(server):
    """Return the number of tasks on the server's event loop."""
    loop = next(iter(server.app.models)).scheduler._loop
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, len(asyncio.all_tasks(loop))), loop)
    return future.result(5)


@counts(30, 300)
def test_generation_stops_when_the_client_disconnects(server, report_trials, count):
    assert server.get("/healthz").status == 200
    server.close()
    wait_for(lambda: server.tasks == 0)
    tasks, threads = loop_tasks(server), threading.active_count()
    draw, seconds = random.Random(1), []
    for number in range(count):
        seconds.append(leave(server, draw, stream=number % 3 > 0))
    assert np.median(seconds) < 0.1
    assert max(seconds) < 0.25 or count < 100  # the fast tests may run on a busy machine
    wait_for(lambda: server.tasks == 0)
    assert loop_tasks(server) == tasks and threading.active_count() == threads
    result = f"generation stopped within {1000 * max(seconds):.0f} ms; 0 tasks and threads left over"
    report_trials("streams", "clients that disconnect at a random character", count, result)


def leave(server, draw, stream):
    """Request a long text, disconnect after a part of it, and return the time until generation stopped."""
    body = json.dumps({"prompt": draw.choice(PROMPTS), "max_tokens": 200_000, "stream": stream})
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: application/json\r\n"
    before = server.stats.characters
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        remaining = draw.randrange(1, 20_000)
        while stream and remaining > 0:
            remaining -= len(connection.recv(min(remaining, 4096)))
        wait_for(lambda: server.stats.characters > before)
    return wait_for(lambda: server.stats.active == 0 and server.stats.waiting == 0)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_open_streams_with_an_error_event(number, report_trials):
    for _ in range(5):
        seconds = end_by_signal(number)
        if seconds <= 3:  # retry, because a busy machine may take longer
            break
    assert seconds <= 3
    result = f"server stopped within {seconds:.1f} s; each stream reported it and ended cleanly"
    report_trials("streams", f"{number.name} with 32 open streams", 32, result)


def end_by_signal(number):
    """Open 32 streams, send a signal, check the end of each stream, and return the time until the server exited."""
    process, port = start_server()
    streams = [open_stream(port) for _ in range(32)]
    for stream in streams:
        read_some(stream)
    began = time.perf_counter()
    process.send_signal(number)
    rests = [[] for _ in streams]
    readers = [threading.Thread(target=read_out, args=pair) for pair in zip(streams, rests, strict=True)]
    for reader in readers:
        reader.start()
    code, rest = wait_for_exit(process)
    seconds = time.perf_counter() - began
    for reader in readers:
        reader.join()
    assert code == 128 + number and rest == ""
    for stream, parts in zip(streams, rests, strict=True):
        stream.close()
        text = b"".join(parts)
        assert text.endswith(b"0\r\n\r\n") and b'"code":"closing"' in text[-400:], text[-400:]
    return seconds


def open_stream(port, receive_buffer=None):
    body = json.dumps({"prompt": "ROMEO:", "max_tokens": 200_000, "stream": True})
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    connection = socket.socket()
    connection.settimeout(20)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", port))
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    return connection


def read_some(connection):
    """Read until the first event."""
    read = b""
    while b"data: " not in read:
        part = connection.recv(4096)
        assert part
        read += part


def read_out(connection, parts):
    while part := connection.recv(65536):
        parts.append(part)


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_clients_that_do_not_read_neither_delay_shutdown_nor_cause_tracebacks():
    process, port = start_server()
    streams = [open_stream(port, receive_buffer=2048) for _ in range(4)]
    for stream in streams:
        read_some(stream)
    time.sleep(1)  # until the buffers are full and the streams are blocked
    began = time.perf_counter()
    process.terminate()
    assert wait_for_exit(process) == (143, "") and time.perf_counter() - began <= 10  # 3 s on an idle machine
    for stream in streams:
        stream.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_crashed_workers_are_restarted():
    process, port = start_server("--workers", "2")
    wait_for(lambda: len(children(process.pid)) == 2)
    first = children(process.pid)
    for _ in range(6):
        assert health(port) == 200
    time.sleep(2.5)
    os.kill(first[0], signal.SIGKILL)
    wait_for(lambda: len(children(process.pid)) == 2 and first[0] not in children(process.pid))
    for _ in range(6):
        assert health(port) == 200
    left = children(process.pid)
    process.terminate()
    assert wait_for_exit(process)[0] == 143
    assert not any(alive(pid) for pid in left)


def test_workers_exit_when_their_parent_is_killed():
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    process, _ = start_server("--workers", "2")
    wait_for(lambda: len(children(process.pid)) == 2)
    left = children(process.pid)
    time.sleep(1)
    process.kill()
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in left))
    process.stderr.close()


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    if not path.exists():
        pytest.skip("needs /proc")
    return [int(one) for one in path.read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def health(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return int(connection.recv(100).split()[1])
