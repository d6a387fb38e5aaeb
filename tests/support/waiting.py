"""Waiting for what another thread or process does."""

import time


def wait_for(condition, seconds=60.0):
    """Wait for something, and return how long that took."""
    started = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started < seconds, "it does not happen"
        time.sleep(0.001)
    return time.perf_counter() - started
