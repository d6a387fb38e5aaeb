"""`charloom serve` in a process of its own, as its clients meet it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(*arguments, **environment):
    """Serve while this lasts: yields the address, which ends in the port."""
    port = free_port()
    command = [sys.executable, "-m", "charloom", "serve", *map(str, arguments), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    address = f"http://127.0.0.1:{port}"
    try:
        assert answers(process, address), process.stderr.read()
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=60)


def answers(process, address):
    """Wait until the server answers, with whatever status; return whether it does before it ends."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
        except urllib.error.HTTPError as refused:
            refused.close()
        except OSError:
            time.sleep(0.05)
            continue
        return True
    return False
