"""Wait for another thread or process."""

import time


def wait_for(condition, seconds=60.0):
    """Wait until a condition holds; return the seconds that it took."""
    started = time.perf_counter()
    while not condition():
        assert time.perf_counter() - started < seconds, "timed out"
        time.sleep(0.001)
    return time.perf_counter() - started
